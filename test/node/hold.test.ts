/** What a reader of a snapshot may keep on the disk, and when it has to go. */
import assert from 'node:assert/strict';
import test from 'node:test';
import fc from 'fast-check';
import { countedGrowth, Hold } from '../../src/node/hold.ts';
import type { World } from '../../src/node/ports/world.ts';
import { CloseCode } from '../../src/replication/close-code.ts';

const MIB = 2 ** 20;

interface Stage {
  held: number;
  taken: number;
  othersWait: boolean;
  readonly ended: [CloseCode, string][];
  /** Lets so many seconds pass; in each the reader takes so many bytes, and so many more are held. */
  pass(seconds: number, taken?: number, held?: number): void;
}

function stage(soft?: { bytes: number; ms: number }): Stage {
  let next: (() => void) | null = null;
  const after = (_: number, callback: () => void): (() => void) => {
    next = callback;
    return () => {
      next = null;
    };
  };
  const the: Stage = {
    held: 0,
    taken: 0,
    othersWait: false,
    ended: [],
    pass: (seconds, taken = 0, held = 0) => {
      for (let second = 0; second < seconds; second += 1) {
        the.taken += taken;
        the.held += held;
        const due = next;
        next = null;
        due?.();
      }
    },
  };
  new Hold({
    world: { after } as unknown as World,
    held: () => the.held,
    taken: () => the.taken,
    limits: { hard: () => 10 * MIB, ...(soft === undefined ? {} : { soft: () => soft }) },
    othersWait: () => the.othersWait,
    end: (code, detail) => the.ended.push([code, detail]),
  });
  return the;
}

test('a reader that reads nothing is disconnected once, when it holds more than the limit', () => {
  const the = stage();
  the.pass(10, 0, MIB);
  assert.deepEqual(the.ended, []);
  the.pass(5, 0, MIB);
  assert.deepEqual(the.ended, [
    [CloseCode.tooFarBehind, `its snapshot holds ${11 * MIB} bytes on the disk, and 0 of it were taken`],
  ]);
});

test('a reader as fast as the writers is never disconnected, whatever it holds and even if others wait', () => {
  const the = stage({ bytes: MIB, ms: 0 });
  the.othersWait = true;
  the.pass(1_000, MIB, MIB);
  assert.deepEqual(the.ended, []);
});

test('a reader above the soft limit for the whole time is disconnected', () => {
  const the = stage({ bytes: MIB, ms: 5_000 });
  the.held = 2 * MIB;
  the.pass(5);
  // In between it is below it.
  the.taken += MIB;
  the.pass(1);
  the.held += 2 * MIB;
  the.pass(5);
  assert.deepEqual(the.ended, []);
  the.pass(1);
  assert.equal(the.ended[0]?.[0], CloseCode.tooFarBehind);
});

test('a slow reader is disconnected only if others wait, and only after it has been slow for a while', () => {
  const the = stage();
  the.othersWait = true;
  the.pass(9, 1_000);
  assert.deepEqual(the.ended, []);
  the.othersWait = false;
  the.pass(100, 1_000);
  assert.deepEqual(the.ended, []);
  the.othersWait = true;
  the.pass(1, 1_000);
  assert.deepEqual(the.ended, [[CloseCode.timedOut, 'its snapshot is taken too slowly, and others wait']]);
});

test('as much written of other contents ends a reader at the same place, but for a few multiples of what was written', () => {
  /** @returns bytes of the stream at which a reader that takes nothing ends */
  const cutAt = (walPerByte: number): number => {
    let written = 0;
    while (countedGrowth(written, walPerByte * written) <= 256 * MIB) written += MIB;
    return written;
  };
  assert.equal(cutAt(0), cutAt(1.5));
  assert.equal(cutAt(1.6), cutAt(3));
  assert.equal(cutAt(12.1), cutAt(24));
  assert.equal(new Set(Array.from({ length: 230 }, (_, tenths) => cutAt(1 + tenths / 10))).size, 5);
});

test('growth of the WAL counts as no less than it is, and no more than twice that or a little of what was written', () => {
  fc.assert(
    fc.property(fc.nat(1_024 * MIB), fc.nat(1_024 * MIB), (written, grown) => {
      const counted = countedGrowth(written, grown);
      assert.ok(counted >= grown);
      assert.ok(counted <= Math.max(2 * grown, 1.5 * written, 1.5 * 64 * 1_024));
    }),
  );
  assert.equal(countedGrowth(0, 0), 0);
});
