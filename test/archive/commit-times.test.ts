/** Which times the bytes of a segment have in the history under whose run ID they are archived. */
import assert from 'node:assert/strict';
import test from 'node:test';
import fc from 'fast-check';
import { committedAt, type Mark, sinceRename } from '../../src/archive/commit-times.ts';
import { newHistory, renamed } from '../../src/replication/history.ts';
import { type Offset, offset } from '../../src/replication/position.ts';
import { runId } from '../support/arbitraries.ts';

const RENAMED_MS = 5_000;

function dated(
  marks: readonly Mark[],
  segment: { readonly after: number; readonly end: number },
  validTo: number,
  renamedAt: number | null,
): readonly Mark[] {
  const history = renamed(newHistory(runId('a')), {
    runId: runId('b'),
    validTo: offset(validTo),
    reason: 'rolled-back',
    at: RENAMED_MS,
  });
  return sinceRename(marks, segment, { history, renamedAt: renamedAt as Offset | null });
}

test('what a node had beyond what a new run ID shares is of the time at which it took that', () => {
  const marks: readonly Mark[] = [
    [20, 1_000],
    [40, 2_000],
    [60, 9_000],
  ];
  const segment = { after: 10, end: 60 };
  assert.deepEqual(dated(marks, segment, 20, 40), [
    [20, 1_000],
    [40, RENAMED_MS],
    [60, 9_000],
  ]);
  assert.deepEqual(dated(marks, segment, 30, 60), [
    [20, 1_000],
    [30, 2_000],
    [60, RENAMED_MS],
  ]);
  for (const [validTo, renamedAt] of [
    [40, 40],
    [60, 60],
    [5, 10],
    [20, null],
  ] as const) {
    assert.deepEqual(dated(marks, segment, validTo, renamedAt), marks, `${validTo} to ${renamedAt}`);
  }
  const history = newHistory(runId('a'));
  assert.deepEqual(sinceRename(marks, segment, { history, renamedAt: offset(60) }), marks);
});

test('what was written since a node took a run ID keeps its time, also if that is an earlier one', () => {
  const marks: readonly Mark[] = [
    [40, 2_000],
    [60, 3_000],
  ];
  assert.deepEqual(dated(marks, { after: 10, end: 60 }, 10, 50), [
    [50, RENAMED_MS],
    [60, 3_000],
  ]);
});

test('each byte of a segment has its time, or that at which the node took its run ID', () => {
  const upTo60 = fc.integer({ min: 0, max: 60 });
  const ends = fc.uniqueArray(fc.integer({ min: 11, max: 49 }), { maxLength: 6 });
  fc.assert(
    fc.property(ends, fc.array(fc.nat(9_999), { minLength: 7, maxLength: 7 }), upTo60, upTo60, (...drawn) => {
      const [given, times, validTo, renamedAt] = drawn;
      const [after, end] = [10, 50];
      const offsets = [...given.sort((one, other) => one - other), end];
      const marks = offsets.map((at, index): Mark => [at, times[index] as number]);
      const found = dated(marks, { after, end }, validTo, renamedAt);
      assert.equal(found.at(-1)?.[0], end);
      for (let byte = after + 1; byte <= end; byte += 1) {
        const isBefore = byte > validTo && byte <= renamedAt;
        assert.equal(committedAt(found, byte), isBefore ? RENAMED_MS : committedAt(marks, byte), `${byte}`);
      }
      const sorted = found.every(([at], index) => at > (found[index - 1]?.[0] ?? after));
      assert.ok(sorted, JSON.stringify(found));
    }),
  );
});
