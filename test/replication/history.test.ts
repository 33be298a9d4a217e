import assert from 'node:assert/strict';
import test from 'node:test';
import fc from 'fast-check';
import { type History, MAX_ANCESTORS, newHistory, renamed } from '../../src/replication/history.ts';
import { offset } from '../../src/replication/position.ts';
import { runId } from '../support/arbitraries.ts';

const [A, B, C] = [runId('a'), runId('b'), runId('c')];

function on(history: History, id: string, validTo: number): History {
  return renamed(history, {
    runId: id as History['runId'],
    validTo: offset(validTo),
    reason: 'promoted',
    at: validTo,
  });
}

function bounds({ lineage }: History): readonly (readonly [string, number])[] {
  return lineage.map((ancestor) => [ancestor.runId, ancestor.validTo]);
}

test('a new history has no ancestors', () => {
  assert.deepEqual(newHistory(A), { runId: A, lineage: [] });
});

test('a history that goes on under another run ID keeps the old one, with bound, reason and time', () => {
  const change = { runId: B, validTo: offset(50), reason: 'unclean-stop', at: 7 } as const;
  assert.deepEqual(renamed(newHistory(A), change), {
    runId: B,
    lineage: [{ runId: A, validTo: 50, reason: 'unclean-stop', at: 7 }],
  });
});

test('ancestors stand newest first', () => {
  assert.deepEqual(bounds(on(on(newHistory(A), B, 50), C, 80)), [
    [B, 80],
    [A, 50],
  ]);
});

test('left at byte 30, it shares with an ancestor that was valid to 50 only the first 30 bytes', () => {
  assert.deepEqual(bounds(on(on(newHistory(A), B, 50), C, 30)), [
    [B, 30],
    [A, 30],
  ]);
});

test('the same run ID again changes nothing', () => {
  const history = on(newHistory(A), B, 50);
  assert.equal(on(history, B, 80), history);
});

test('a run ID that comes back is no ancestor of itself', () => {
  const history = on(on(newHistory(A), B, 50), A, 80);
  assert.deepEqual([history.runId, bounds(history)], [A, [[B, 80]]]);
});

test('the oldest ancestor is forgotten after 64', () => {
  let history = newHistory(A);
  for (let index = 0; index <= MAX_ANCESTORS; index += 1)
    history = on(history, `${index}`.padStart(40, '0'), index);
  assert.equal(history.lineage.length, 64);
  assert.equal(history.lineage.at(-1)?.runId, '0'.repeat(40));
});

test('whatever happened: no run ID twice, bounds that only shrink with age, and no history is changed in place', () => {
  const anyId = fc.nat(70).map((index) => `${index}`.padStart(40, '0'));
  fc.assert(
    fc.property(fc.array(fc.tuple(anyId, fc.nat(100)), { maxLength: 90 }), (changes) => {
      let history = newHistory(A);
      for (const [id, validTo] of changes) {
        const before = structuredClone(history);
        const next = on(history, id, validTo);
        assert.deepEqual(history, before);
        history = next;
      }
      const ids = [history.runId, ...history.lineage.map((ancestor) => ancestor.runId)];
      assert.equal(new Set(ids).size, ids.length);
      const shared = history.lineage.map((ancestor) => ancestor.validTo);
      assert.deepEqual(
        shared,
        shared.toSorted((a, b) => b - a),
      );
      assert.ok(shared.length <= MAX_ANCESTORS);
    }),
  );
});
