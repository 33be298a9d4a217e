/** Which snapshot a session gets: one that others read, a new one, or none before others are done. */
import assert from 'node:assert/strict';
import test from 'node:test';
import type { StreamHead } from '../../src/node/head/stream-head.ts';
import { Snapshots } from '../../src/node/session/snapshots.ts';
import { runId } from '../support/arbitraries.ts';

const BACKLOG_BYTES = 100;
const MAX_HELD_BYTES = 1_000;

/** A head at an offset that the test moves, which counts the frozen files. */
function stage() {
  const the = { offset: 0, open: 0, pinned: (): number | null => null };
  const position = () => ({ runId: runId('a'), offset: the.offset });
  const head = {
    get offset() {
      return the.offset;
    },
    get position() {
      return position();
    },
    backlog: { size: BACKLOG_BYTES },
    pin: (pin: () => number | null) => {
      the.pinned = pin;
    },
    freeze: async () => {
      const at = position();
      the.open += 1;
      return { position: at, release: () => (the.open -= 1) };
    },
  };
  return { the, snapshots: new Snapshots(head as unknown as StreamHead, () => MAX_HELD_BYTES) };
}

test('replicas that come within one backlog share a snapshot; later ones get another, up to four at a time', async () => {
  const { the, snapshots } = stage();
  const taken = [await snapshots.acquire()];
  the.offset = BACKLOG_BYTES;
  taken.push(await snapshots.acquire());
  assert.equal(the.open, 1);
  for (const offset of [201, 302, 403]) {
    the.offset = offset;
    taken.push(await snapshots.acquire());
  }
  assert.equal(the.open, 4);
  assert.equal(the.pinned(), 0);
  the.offset = 504;
  const fifth = snapshots.acquire();
  await new Promise((resolve) => setImmediate(resolve));
  assert.ok(snapshots.awaited);
  taken[0]?.release();
  await new Promise((resolve) => setImmediate(resolve));
  assert.ok(snapshots.awaited);
  taken[1]?.release();
  const { file, release } = await fifth;
  assert.equal(file.position.offset, 504);
  assert.equal(the.pinned(), 201);
  assert.ok(!snapshots.awaited);
  for (const each of taken.slice(2)) each.release();
  release();
  assert.deepEqual([the.open, the.pinned()], [0, null]);
});

test('the file is thawed for a moment once enough was written, however many replicas come in a row', async () => {
  const { the, snapshots } = stage();
  let before = await snapshots.acquire();
  while (the.offset + 101 <= MAX_HELD_BYTES) {
    the.offset += 101;
    const next = await snapshots.acquire();
    before.release();
    before = next;
  }
  the.offset += 101;
  const waits = snapshots.acquire();
  await new Promise((resolve) => setImmediate(resolve));
  assert.equal(the.open, 1);
  before.release();
  assert.equal((await waits).file.position.offset, the.offset);
});
