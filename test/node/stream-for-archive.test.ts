/** What an archive hears from a node about its stream. */
import assert from 'node:assert/strict';
import test from 'node:test';
import type { StreamHead } from '../../src/node/head/stream-head.ts';
import type { Archive } from '../../src/node/ports/archived-stream.ts';
import type { StateStore, TimeMark } from '../../src/node/ports/state-store.ts';
import { StreamForArchive } from '../../src/node/upkeep/stream-for-archive.ts';
import { type Offset, offset } from '../../src/replication/position.ts';

function streamOf(head: StreamHead, timeMarks: readonly TimeMark[], clock = { now: 0 }): StreamForArchive {
  return new StreamForArchive({
    head,
    state: { timeMarks } as StateStore,
    isSettled: () => true,
    monotonic: () => clock.now,
    outdated: () => undefined,
    freeBytes: () => Promise.resolve(0),
  });
}

/** @returns the parts that the marks give, as [end, by] */
function partsOf(head: number, marks: readonly TimeMark[]): [number, number][] {
  const { committedParts } = streamOf({ offset: offset(head) } as StreamHead, marks);
  return committedParts.map(({ end, by }) => [end, by]);
}

function mark(at: number, from: number, to: number): TimeMark {
  return { offset: offset(at), from, to };
}

test('each part of the stream was committed before the end of the mark that speaks of it', () => {
  const marks = [mark(0, 1_000, 2_000), mark(40, 5_000, 6_000)];
  assert.deepEqual(partsOf(100, marks), [
    [40, 1_999],
    [100, 5_999],
  ]);
});

test('what comes before the first mark was committed before it begins', () => {
  assert.deepEqual(partsOf(100, [mark(40, 5_000, 6_000)]), [
    [40, 5_000],
    [100, 5_999],
  ]);
});

test('marks of bytes that the node has lost count for nothing', () => {
  assert.deepEqual(partsOf(40, [mark(0, 1_000, 2_000), mark(40, 5_000, 6_000)]), [[40, 1_999]]);
  assert.deepEqual(partsOf(40, []), []);
});

test('a stream is another one if its hash is, or if no write ends where a segment does', () => {
  const head = {
    offset: offset(100),
    chainFrom: offset(10),
    hashAt: (at: number) => (at === 50 ? 7n : null),
    placeAt: (at: number) => ({ kind: at === 60 ? 'inside-command' : 'unknown' }),
  } as unknown as StreamHead;
  const stream = streamOf(head, []);
  assert.deepEqual([stream.differsAt(offset(50), 8n), stream.differsAt(offset(60), null)], [true, true]);
  const unknown = [stream.differsAt(offset(50), null), stream.differsAt(offset(70), 8n)];
  assert.deepEqual([stream.differsAt(offset(50), 7n), ...unknown], [false, false, false]);
  // A chain of hashes begins at byte 10.
  assert.deepEqual([stream.differsAt(offset(10), 8n), stream.differsAt(offset(101), 8n)], [false, false]);
});

test('what an archive proves is waited for a while, and then the node shares nothing', () => {
  const clock = { now: 1_000 };
  const nothing = (): (() => void) => () => undefined;
  const head = { pin: nothing, onCommit: nothing } as Partial<StreamHead> as StreamHead;
  const stream = streamOf(head, [], clock);
  assert.equal(stream.provenShared, null);
  const archive = { proven: null as Offset | null };
  stream.attach(archive as Partial<Archive> as Archive);
  assert.equal(stream.provenShared, 'wait');
  clock.now += 4_999;
  assert.equal(stream.provenShared, 'wait');
  clock.now += 1;
  assert.equal(stream.provenShared, 0);
  archive.proven = offset(40);
  assert.equal(stream.provenShared, 40);
});
