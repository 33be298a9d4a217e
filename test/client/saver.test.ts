/** Whatever fails while a mirror stores, what is stored is a state that the copy has had, with its position. */
import assert from 'node:assert/strict';
import test, { mock } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import fc from 'fast-check';
import type { Entry } from '../../src/client/entry.ts';
import { SAVE_AGAIN_MS, SAVE_EVERY_MS, Saver } from '../../src/client/mirror/saver.ts';
import { type MirrorStorage, memoryStorage } from '../../src/client/mirror/storage.ts';

type Failure = 'none' | 'before it is stored' | 'after it is stored';
type Action =
  | { readonly kind: 'change'; readonly key: string; readonly value: string | null }
  /** The next update fails. */
  | { readonly kind: 'fail'; readonly how: Failure }
  | { readonly kind: 'wait'; readonly ms: number }
  /** Another tab stores what it had: a state from before. */
  | { readonly kind: 'other'; readonly back: number };

const action: fc.Arbitrary<Action> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      kind: fc.constant('change' as const),
      key: fc.constantFrom('a', 'b', 'c'),
      value: fc.option(fc.string({ maxLength: 3 })),
    }),
  },
  {
    weight: 4,
    arbitrary: fc.record({
      kind: fc.constant('wait' as const),
      ms: fc.constantFrom(SAVE_EVERY_MS, SAVE_AGAIN_MS),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      kind: fc.constant('fail' as const),
      how: fc.constantFrom<Failure>('before it is stored', 'after it is stored'),
    }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('other' as const), back: fc.nat({ max: 5 }) }) },
);

/** A copy that remembers what it has been. */
class Past {
  entries: ReadonlyMap<string, Entry> = new Map();
  readonly states = [this.entries];

  get position(): string {
    return `p${this.states.length - 1}`;
  }

  change(key: string, value: string | null): void {
    const entries = new Map(this.entries);
    if (value === null) entries.delete(key);
    else entries.set(key, { key, value, version: this.states.length, expiresAt: null });
    this.entries = entries;
    this.states.push(entries);
  }

  at(position: string): readonly Entry[] {
    return sorted((this.states[Number(position.slice(1))] as ReadonlyMap<string, Entry>).values());
  }
}

function sorted(entries: Iterable<Entry>): readonly Entry[] {
  return [...entries].sort((left, right) => (left.key < right.key ? -1 : 1));
}

async function check(storage: MirrorStorage, past: Past): Promise<string | null> {
  const stored = await storage.load();
  if (stored !== null) assert.deepEqual(sorted(stored.entries), past.at(stored.position));
  return stored?.position ?? null;
}

test('the stored copy is always a state that the mirror had, and without failures the last one', async (t) => {
  mock.timers.enable({ apis: ['setTimeout'] });
  t.after(() => mock.timers.reset());
  const property = fc.asyncProperty(fc.array(action, { maxLength: 40 }), async (actions) => {
    const inner = memoryStorage();
    const past = new Past();
    let next: Failure = 'none';
    const storage: MirrorStorage = {
      ...inner,
      save: async (update) => {
        const how = next;
        next = 'none';
        if (how === 'before it is stored') throw new Error(how);
        await inner.save(update);
        if (how === 'after it is stored') throw new Error(how);
      },
    };
    const saver = new Saver(
      storage,
      's',
      null,
      () => past,
      () => undefined,
    );
    for (const each of actions) {
      switch (each.kind) {
        case 'change':
          past.change(each.key, each.value);
          saver.changed([each.key]);
          break;
        case 'fail':
          next = each.how;
          break;
        case 'wait':
          mock.timers.tick(each.ms);
          await turn();
          break;
        case 'other': {
          const position = `p${Math.max(0, past.states.length - 1 - each.back)}`;
          await inner.save({ kind: 'replace', scope: 's', position, entries: past.at(position) });
        }
      }
      await check(inner, past);
    }
    next = 'none';
    await saver.close();
    const position = await check(inner, past);
    if (actions.every(({ kind }) => kind !== 'other')) {
      assert.equal(position, past.states.length === 1 && position === null ? null : past.position);
    }
  });
  // The seed is in the message of a failure.
  await fc.assert(property, { numRuns: 300 });
});
