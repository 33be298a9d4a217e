/** Which objects of an archive make up a history, by their names alone, and what times say of the stream. */
import assert from 'node:assert/strict';
import test from 'node:test';
import fc from 'fast-check';
import { CommitTimes, MAX_SEGMENT_MARKS, reachedAt } from '../../src/archive/commit-times.ts';
import { Coverage, type UsableSegment } from '../../src/archive/coverage.ts';
import { type BaseName, parseArchived, type SegmentName, segmentName } from '../../src/archive/names.ts';
import type { History } from '../../src/replication/history.ts';
import { type Offset, offset, type RunId } from '../../src/replication/position.ts';
import { runId } from '../support/arbitraries.ts';

const [A, B] = [runId('a'), runId('b')];
/** The history of B, which shares 50 bytes with A. */
const HISTORY: History = {
  runId: B,
  lineage: [{ runId: A, validTo: offset(50), reason: 'promoted', at: 1 }],
};

function segment(run: RunId, after: number, end: number): SegmentName {
  return parseArchived(segmentName('shop', run, offset(after), offset(end))) as SegmentName;
}

function base(run: RunId, at: number): BaseName {
  return parseArchived(`shop/${run}/${at}-20261129T050000Z.db`) as BaseName;
}

test('names of segments and bases say what they are, and other names are none', () => {
  assert.deepEqual(segment(A, 0, 128), {
    kind: 'segment',
    name: `shop/${A}/1-128.resp.zst`,
    cluster: 'shop',
    runId: A,
    after: 0,
    end: 128,
  });
  assert.equal(parseArchived(`${A}/1-5.resp.zst`)?.cluster, null);
  const { offset: at, at: time } = base(A, 128);
  assert.deepEqual([at, new Date(time).toISOString()], [128, '2026-11-29T05:00:00.999Z']);
  for (const name of [
    `shop/${A}/0-5.resp.zst`,
    `shop/${A}/6-5.resp.zst`,
    `shop/${A}/01-5.resp.zst`,
    `shop/${A}/1-99999999999999999.resp.zst`,
    `shop/${A}/1-5.resp.zst.old`,
    `shop/${A.slice(1)}/1-5.resp.zst`,
    `.shop/${A}/1-5.resp.zst`,
    `x/shop/${A}/1-5.resp.zst`,
    `shop/${A}/5-20261329T050000Z.db`,
    `shop/${A}/5-now.db`,
    `shop/${A}/5.db`,
  ]) {
    assert.equal(parseArchived(name), null, name);
  }
});

test('a history has the bytes of its ancestors up to where they share them, and no base beyond', () => {
  const coverage = new Coverage(
    HISTORY,
    [segment(A, 0, 40), segment(A, 40, 80), segment(B, 50, 90), segment(runId('c'), 0, 900)],
    [base(A, 10), base(A, 60), base(B, 70), base(runId('c'), 20)],
  );
  assert.deepEqual(
    coverage.bases.map(({ offset: at }) => at),
    [70, 10],
  );
  assert.deepEqual(
    [...coverage.chain(10)].map(({ segment: { after }, usableTo }) => [after, usableTo]),
    [
      [0, 40],
      [40, 50],
      [50, 90],
    ],
  );
  assert.equal(coverage.reach(10), 90);
  assert.ok(coverage.hasAfter(89) && !coverage.hasAfter(90));
});

test('the chain of segments reaches exactly as far as there is a byte after each byte', () => {
  const anySegment = fc
    .tuple(fc.constantFrom(A, B), fc.nat(100), fc.integer({ min: 1, max: 30 }))
    .chain(([run, after, length]) =>
      fc.nat(3).map((modified) => ({ ...segment(run, after, after + length), modified })),
    );
  fc.assert(
    fc.property(fc.array(anySegment, { maxLength: 12 }), fc.nat(110), (segments, from) => {
      const has = (byte: number): boolean =>
        segments.some((each) => each.after < byte && byte <= each.end && (each.runId === B || byte <= 50));
      let expected = from;
      while (has(expected + 1)) expected += 1;
      const coverage = new Coverage(HISTORY, segments, []);
      assert.equal(coverage.reach(from), expected);
      let at = from;
      for (const { segment: each, usableTo } of coverage.chain(from)) {
        assert.ok(each.after <= at && usableTo > at);
        at = usableTo;
      }
    }),
  );
});

test('of two segments with the same byte the chain has the one that was archived first', () => {
  const at = (modified: number, ...[after, end]: [number, number]) => ({
    ...segment(A, after, end),
    modified,
  });
  const coverage = new Coverage(
    { runId: A, lineage: [] },
    [at(1, 0, 40), at(2, 0, 60), at(3, 40, 80), at(4, 60, 100), at(3, 40, 70), at(9, 120, 130)],
    [],
  );
  const cuts = (segments: Iterable<UsableSegment>) =>
    [...segments].map(({ segment: { after, end } }) => [after, end]);
  assert.deepEqual(cuts(coverage.chain(0)), [
    [0, 40],
    [0, 60],
    [40, 80],
    [60, 100],
  ]);
  assert.deepEqual(cuts(coverage.before(61)), [
    [40, 80],
    [0, 60],
    [0, 40],
  ]);
  assert.deepEqual(cuts(coverage.before(130))[0], [120, 130]);
});

test('the marks of a segment never say that bytes were there before they were', () => {
  const commit = fc.tuple(fc.integer({ min: 1, max: 50 }), fc.integer({ min: 0, max: 40 }));
  fc.assert(
    fc.property(fc.array(commit, { minLength: 1, maxLength: 60 }), fc.nat(2_500), (commits, at) => {
      const times = new CommitTimes(offset(0), 0);
      const ends: [end: number, ms: number][] = [];
      let [end, ms] = [0, 0];
      for (const [bytes, waited] of commits) {
        [end, ms] = [end + bytes, ms + waited];
        times.committed(offset(end), ms);
        ends.push([end, ms]);
      }
      const marks = times.between(offset(0), offset(end));
      assert.equal(marks.at(-1)?.[0], end);
      const { offset: reached } = reachedAt(marks, offset(0), at);
      const truth = ends.findLast(([, committed]) => committed <= at)?.[0] ?? 0;
      assert.ok(reached <= truth);
      const late = ends.findLast(([, committed]) => committed <= at - 10)?.[0] ?? 0;
      assert.ok(reached >= late, 'a mark is at most ten milliseconds late');
    }),
  );
});

test('marks of two segments say the same as those of one', () => {
  const times = new CommitTimes(offset(0), 0);
  for (let at = 1; at <= 100; at += 1) times.committed(offset(at), at * 3);
  const cut = offset(42);
  const [first, second] = [times.between(offset(0), cut), times.between(cut, offset(100))];
  assert.equal(first.at(-1)?.[0], 42);
  // What was committed within the same hundredth of a second shares a mark.
  assert.equal(second[0]?.[0], 43);
  times.forget(cut);
  assert.deepEqual(times.between(cut, offset(100)), second);
});

test('a clock that was set back does not bring later writes into a restore of an earlier time', () => {
  const times = new CommitTimes(offset(0), 1_000);
  times.committed(offset(10), 2_000);
  times.committed(offset(20), 3_000);
  // From here the clock is wrong by decades.
  times.committed(offset(30), 5);
  const marks = times.between(offset(0), offset(30));
  assert.deepEqual(reachedAt(marks, offset(0), 2_500), { offset: 10, isOver: true });
  assert.deepEqual(reachedAt(marks, offset(0), 3_500), { offset: 30, isOver: false });
});

test('old marks get no coarser than new ones', () => {
  const times = new CommitTimes(offset(0), 0);
  const count = 400_000;
  for (let at = 1; at <= count; at += 1) times.committed(at as Offset, at * 10);
  for (const wanted of [100_000, 900_000, 2_000_000, 3_900_000]) {
    const from = offset(Math.floor(wanted / 10) - 1_000);
    const { offset: reached } = reachedAt(times.between(from, offset(count)), from, wanted);
    assert.ok(reached * 10 <= wanted && reached * 10 >= wanted - 640, `${wanted} gives ${reached * 10}`);
  }
});

test('commits from before a start keep their times', () => {
  const times = new CommitTimes(offset(30), 9_000, [
    [10, 1_000],
    [30, 2_000],
  ]);
  times.committed(offset(40), 9_500);
  assert.deepEqual(times.between(offset(5), offset(40)), [
    [10, 1_000],
    [30, 2_000],
    [40, 9_500],
  ]);
  assert.deepEqual(times.between(offset(12), offset(25)), [[25, 2_000]]);
});

test('marks take bounded memory, and a segment has a bounded number of them', () => {
  const times = new CommitTimes(offset(0), 0);
  for (let at = 1; at <= 200_000; at += 1) times.committed(at as Offset, at * 10);
  const marks = times.between(offset(0), offset(200_000));
  assert.ok(marks.length <= MAX_SEGMENT_MARKS && marks.length > MAX_SEGMENT_MARKS / 4);
  assert.deepEqual(marks.at(-1), [200_000, 2_000_000]);
  for (const [at, ms] of marks) assert.equal(ms, at * 10);
});
