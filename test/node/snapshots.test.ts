/** Which snapshot a session gets: one that others read, a new one, the rest of one, or none before others are done. */
import assert from 'node:assert/strict';
import test from 'node:test';
import type { StreamHead } from '../../src/node/head/stream-head.ts';
import type { World } from '../../src/node/ports/world.ts';
import type { OutputLimits } from '../../src/node/session/session-context.ts';
import { RETURN_MS, type Snapshot, Snapshots } from '../../src/node/session/snapshots.ts';
import { offset, type RunId } from '../../src/replication/position.ts';
import type { PartialSnapshot } from '../../src/replication/snapshot-terms.ts';
import { runId } from '../support/arbitraries.ts';

const BACKLOG_BYTES = 100;
const MAX_HELD_BYTES = 1_000;
const PART_BYTES = 10;
const LENGTH = 35;

interface Timer {
  readonly at: number;
  readonly callback: () => void;
}

/** A head at an offset that the test moves, which counts the frozen files, and a clock that the test moves. */
function stage() {
  const the = {
    offset: 0,
    runId: runId('a') as RunId,
    open: 0,
    walBytes: 0,
    pinned: (): number | null => null,
    now: 0,
  };
  const position = () => ({ runId: the.runId, offset: offset(the.offset) });
  const timers = new Set<Timer>();
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
      return {
        position: at,
        length: LENGTH,
        partBytes: PART_BYTES,
        heldBytes: () => the.walBytes,
        release: () => (the.open -= 1),
      };
    },
  };
  const world = {
    monotonic: () => the.now,
    after: (ms: number, callback: () => void) => {
      const timer = { at: the.now + ms, callback };
      timers.add(timer);
      return () => timers.delete(timer);
    },
  };
  const settings = {
    outputLimitBytes: MAX_HELD_BYTES,
    outputSoftBytes: MAX_HELD_BYTES,
    outputSoftMs: 60_000,
  };
  const snapshots = new Snapshots({
    world: world as unknown as World,
    head: head as unknown as StreamHead,
    settings: settings as OutputLimits,
  });
  /** Lets the time go on, a second at a time. */
  const pass = (ms: number): void => {
    for (const end = the.now + ms; the.now < end; ) {
      the.now = Math.min(end, the.now + 1_000);
      for (const timer of [...timers]) if (timer.at <= the.now && timers.delete(timer)) timer.callback();
    }
  };
  return { the, snapshots, pass, timers };
}

function settle(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

/** The replica takes so many whole parts of the snapshot, and its connection breaks. @returns its part */
function cut({ file, sums, leave }: Snapshot, parts: number): PartialSnapshot {
  const bytes = parts * PART_BYTES;
  for (let each = 1; each <= parts; each += 1) sums.note(each * PART_BYTES, 1_000 + each);
  leave(bytes + 3);
  return { position: file.position, length: LENGTH, bytes, crc32: 1_000 + parts };
}

test('a replica that would get the rest of a snapshot is known before it comes, and the question changes nothing', async () => {
  const { the, snapshots, pass, timers } = stage();
  const part = cut(await snapshots.acquire(), 2);
  const before = timers.size;
  for (let count = 0; count < 3; count += 1) assert.ok(snapshots.wouldResume(part));
  assert.deepEqual([the.open, timers.size], [1, before]);
  assert.ok(!snapshots.wouldResume({ ...part, crc32: 7 }));
  assert.ok(!snapshots.wouldResume({ ...part, length: LENGTH + 1 }));
  assert.ok(!snapshots.wouldResume({ ...part, bytes: PART_BYTES - 1 }));
  assert.ok(!snapshots.wouldResume({ ...part, position: { ...part.position, offset: offset(9) } }));
  const { from, release } = await snapshots.acquire(part);
  assert.equal(from, part.bytes);
  release();
  pass(RETURN_MS);
  assert.ok(!snapshots.wouldResume(part));
});

test('replicas that come within one backlog share a snapshot; later ones get another, up to four at a time', async () => {
  const { the, snapshots } = stage();
  const taken = [await snapshots.acquire()];
  the.offset = BACKLOG_BYTES;
  taken.push(await snapshots.acquire());
  assert.equal(the.open, 1);
  for (const at of [201, 302, 403]) {
    the.offset = at;
    taken.push(await snapshots.acquire());
  }
  assert.equal(the.open, 4);
  assert.equal(the.pinned(), 0);
  the.offset = 504;
  const fifth = snapshots.acquire();
  await settle();
  assert.ok(snapshots.awaited);
  taken[0]?.release();
  await settle();
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
  await settle();
  assert.equal(the.open, 1);
  before.release();
  assert.equal((await waits).file.position.offset, the.offset);
});

test('a replica whose connection broke gets the rest of its snapshot, and the journal behind it stays', async () => {
  const { the, snapshots, timers } = stage();
  const has = cut(await snapshots.acquire(), 2);
  // Much more than a newcomer could join with.
  the.offset = 5 * BACKLOG_BYTES;
  assert.deepEqual([the.open, the.pinned()], [1, 0]);
  const rest = await snapshots.acquire(has);
  assert.deepEqual([rest.from, rest.file.position.offset, timers.size], [20, 0, 0]);
  rest.release();
  assert.deepEqual([the.open, the.pinned()], [0, null]);
});

test('a replica that comes back before its old session has ended is waited for once', async () => {
  const { the, snapshots } = stage();
  const old = await snapshots.acquire();
  old.sums.note(10, 1_001);
  const rest = await snapshots.acquire({
    position: old.file.position,
    length: LENGTH,
    bytes: 10,
    crc32: 1_001,
  });
  old.leave(15);
  assert.deepEqual([rest.from, the.open], [10, 1]);
  rest.release();
  assert.equal(the.open, 0);
});

for (const [what, change] of [
  ['another checksum', (has: PartialSnapshot) => ({ ...has, crc32: 7 })],
  ['more than was sent', (has: PartialSnapshot) => ({ ...has, bytes: 30 })],
  ['half a part', (has: PartialSnapshot) => ({ ...has, bytes: 15 })],
  ['another length', (has: PartialSnapshot) => ({ ...has, length: LENGTH + 1 })],
  [
    'another offset',
    (has: PartialSnapshot) => ({ ...has, position: { ...has.position, offset: offset(1) } }),
  ],
  [
    'another history',
    (has: PartialSnapshot) => ({ ...has, position: { ...has.position, runId: runId('b') } }),
  ],
] as const) {
  test(`a replica that claims ${what} gets a whole snapshot`, async () => {
    const { snapshots } = stage();
    const has = cut(await snapshots.acquire(), 2);
    assert.equal((await snapshots.acquire(change(has))).from, 0);
  });
}

test('a replica that never comes back holds its snapshot for the named time only', async () => {
  const { the, snapshots, pass, timers } = stage();
  cut(await snapshots.acquire(), 1);
  pass(RETURN_MS - 1_000);
  assert.equal(the.open, 1);
  pass(1_000);
  assert.deepEqual([the.open, the.pinned(), timers.size], [0, null, 0]);
});

test('a replica that never comes back holds no more of the WAL and the journal than one that reads slowly', async () => {
  const { the, snapshots, pass } = stage();
  cut(await snapshots.acquire(), 1);
  // 13 bytes were sent, and each gives room for two more.
  [the.offset, the.walBytes] = [500, MAX_HELD_BYTES - 500 + 26];
  pass(1_000);
  assert.equal(the.open, 1);
  the.walBytes += 1;
  pass(1_000);
  assert.deepEqual([the.open, the.pinned()], [0, null]);
});

test('a replica that comes back and takes nothing gets no more time', async () => {
  const { the, snapshots, pass } = stage();
  const has = cut(await snapshots.acquire(), 1);
  pass(RETURN_MS / 2);
  (await snapshots.acquire(has)).leave(has.bytes + 1);
  pass(RETURN_MS / 2);
  assert.equal(the.open, 0);
});

test('a snapshot whose last bytes are on their way is kept until the replica says that it has them', async () => {
  const { the, snapshots, timers } = stage();
  const sent = (await snapshots.acquire()).leave(LENGTH);
  assert.equal(the.open, 1);
  sent.arrived();
  assert.deepEqual([the.open, timers.size], [0, 0]);
});

test('a replica that has its whole snapshot does not end the wait for another one', async () => {
  const { the, snapshots } = stage();
  const [one, other] = [await snapshots.acquire(), await snapshots.acquire()];
  const has = cut(one, 2);
  other.leave(LENGTH).arrived();
  assert.equal((await snapshots.acquire(has)).from, 20);
  assert.equal(the.open, 1);
});

test('a snapshot that a replica has found damaged is not kept for others, and nobody joins it', async () => {
  const { the, snapshots } = stage();
  const [one, other, third] = [
    await snapshots.acquire(),
    await snapshots.acquire(),
    await snapshots.acquire(),
  ];
  const has = cut(one, 2);
  other.leave(LENGTH).damaged();
  assert.equal((await snapshots.acquire(has)).from, 0);
  assert.equal(the.open, 2);
  cut(third, 1);
  assert.equal(the.open, 1);
});

test('a snapshot of which no whole part was sent is not kept', async () => {
  const { the, snapshots } = stage();
  (await snapshots.acquire()).leave(PART_BYTES - 1);
  assert.equal(the.open, 0);
});

test('snapshots that wait for replicas make room at once for one that another replica needs', async () => {
  const { the, snapshots } = stage();
  for (const at of [0, 101, 202, 303]) {
    the.offset = at;
    cut(await snapshots.acquire(), 1);
  }
  assert.equal(the.open, 4);
  the.offset = 404;
  const fifth = await snapshots.acquire();
  assert.deepEqual([the.open, the.pinned(), fifth.file.position.offset], [4, 101, 404]);
});

test('a snapshot is not kept while another replica waits for one', async () => {
  const { the, snapshots } = stage();
  const taken: Snapshot[] = [];
  for (const at of [0, 101, 202, 303]) {
    the.offset = at;
    taken.push(await snapshots.acquire());
  }
  the.offset = 404;
  const fifth = snapshots.acquire();
  await settle();
  cut(taken[0] as Snapshot, 2);
  assert.equal((await fifth).file.position.offset, 404);
});

test('a newcomer joins a snapshot that waits for a replica, which gets the rest of it all the same', async () => {
  const { the, snapshots, pass } = stage();
  const has = cut(await snapshots.acquire(), 2);
  const newcomer = await snapshots.acquire();
  assert.deepEqual([newcomer.from, the.open], [0, 1]);
  pass(1_000);
  newcomer.release();
  assert.equal(the.open, 1);
  const rest = await snapshots.acquire(has);
  assert.equal(rest.from, 20);
  rest.release();
  assert.equal(the.open, 0);
});

test('a snapshot of another run ID is neither kept nor sent, and a full resync of the node ends those that wait', async () => {
  const { the, snapshots, timers } = stage();
  const has = cut(await snapshots.acquire(), 2);
  the.runId = runId('b');
  assert.equal((await snapshots.acquire(has)).from, 0);
  cut(await snapshots.acquire(), 2);
  the.runId = runId('c');
  snapshots.releaseKept();
  assert.equal(the.open, 1);
  cut(await snapshots.acquire(), 1);
  snapshots.forget();
  assert.deepEqual([the.open, the.pinned(), timers.size], [1, null, 0]);
});
