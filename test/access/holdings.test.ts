/** What clients have open: nobody has more than allowed, and nothing stays behind. */
import assert from 'node:assert/strict';
import test from 'node:test';
import fc from 'fast-check';
import { Holdings } from '../../src/access/holdings.ts';

const clients = fc.constantFrom('a', 'b', 'c');
const steps = fc.array(
  fc.oneof(
    fc.record({ kind: fc.constant('take' as const), client: clients }),
    // Releases an earlier one, maybe once more.
    fc.record({ kind: fc.constant('release' as const), which: fc.nat() }),
  ),
  { maxLength: 60 },
);

test('nobody has more than allowed, ends count once, and whoever has nothing open is forgotten', () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 4 }), steps, (most, script) => {
      const holdings = new Holdings(most);
      const open: { client: string; release: () => void; isOpen: boolean }[] = [];
      const count = (client: string): number =>
        open.filter((each) => each.client === client && each.isOpen).length;
      for (const step of script) {
        if (step.kind === 'take') {
          const before = count(step.client);
          const release = holdings.take(step.client);
          assert.equal(release !== null, before < most);
          if (release !== null) open.push({ client: step.client, release, isOpen: true });
        } else if (open.length > 0) {
          const held = open[step.which % open.length];
          held?.release();
          if (held !== undefined) held.isOpen = false;
        }
        for (const client of ['a', 'b', 'c']) assert.equal(holdings.of(client), count(client));
        assert.equal(
          holdings.clients,
          new Set(open.filter(({ isOpen }) => isOpen).map((each) => each.client)).size,
        );
      }
      for (const { release } of open) release();
      assert.equal(holdings.clients, 0);
    }),
  );
});
