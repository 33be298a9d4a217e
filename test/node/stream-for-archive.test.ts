/** What an archive hears from a node about its stream. */
import assert from 'node:assert/strict';
import test from 'node:test';
import type { StreamHead } from '../../src/node/head/stream-head.ts';
import type { StateStore, TimeMark } from '../../src/node/ports/state-store.ts';
import { StreamForArchive } from '../../src/node/upkeep/stream-for-archive.ts';
import { offset } from '../../src/replication/position.ts';

/** @returns the parts that the marks give, as [end, by] */
function partsOf(head: number, marks: readonly TimeMark[]): [number, number][] {
  const stream = new StreamForArchive({
    head: { offset: offset(head) } as StreamHead,
    state: { timeMarks: marks } as StateStore,
    isSettled: () => true,
    outdated: () => undefined,
    freeBytes: () => Promise.resolve(0),
  });
  return stream.committedParts.map(({ end, by }) => [end, by]);
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
