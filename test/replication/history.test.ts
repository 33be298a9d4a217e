import assert from 'node:assert/strict';
import test from 'node:test';
import fc from 'fast-check';
import {
  areRelated,
  continued,
  formatLineage,
  type History,
  LINEAGE_REASONS,
  MAX_ANCESTORS,
  newHistory,
  parseLineage,
  renamed,
  restoredHistory,
  standing,
} from '../../src/replication/history.ts';
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

const AB = on(newHistory(A), B, 80);

for (const [id, at, expected] of [
  [B, 0, 'shared'],
  [B, 1_000_000, 'shared'],
  [A, 80, 'shared'],
  [A, 81, 'past-shared-history'],
  [C, 0, 'unknown-run-id'],
] as const) {
  test(`of history B, whose ancestor A is valid to 80, ${id[0]}:${at} is ${expected}`, () => {
    assert.equal(standing(AB, { runId: id, offset: offset(at) }), expected);
  });
}

test('histories are related if one run ID is in both', () => {
  assert.equal(areRelated(AB, newHistory(A)), true);
  assert.equal(areRelated(on(newHistory(A), C, 5), AB), true);
  assert.equal(areRelated(AB, newHistory(C)), false);
});

test('a replica that continues has its master’s history, also what it never heard of itself', () => {
  const master = on(on(newHistory(A), C, 50), B, 80);
  assert.deepEqual(continued(newHistory(A), master, offset(40), 7), master);
});

test('a run ID and ancestors that the master does not know any more are kept, up to where the replica stands', () => {
  const D = runId('d');
  const own = on(on(newHistory(D), A, 30), C, 90);
  const forgetful = {
    runId: B,
    lineage: [{ runId: C, validTo: offset(95), reason: 'promoted', at: 1 }],
  } as const;
  assert.deepEqual(bounds(continued(own, forgetful, offset(70), 7)), [
    [C, 95],
    [A, 70],
    [D, 30],
  ]);
  assert.deepEqual(bounds(continued(newHistory(A), newHistory(B), offset(70), 7)), [[A, 70]]);
});

test('a lineage is one word of a line, and comes back as it was', () => {
  const digit = fc.constantFrom(...'0123456789abcdef');
  const ancestor = fc.record(
    {
      runId: digit.map(runId),
      validTo: fc.maxSafeNat().map(offset),
      reason: fc.constantFrom(...LINEAGE_REASONS),
      at: fc.maxSafeNat(),
    },
    { noNullPrototype: true },
  );
  fc.assert(
    fc.property(
      fc.uniqueArray(ancestor, { maxLength: MAX_ANCESTORS, selector: (each) => each.runId }),
      (lineage) => {
        const word = formatLineage(lineage);
        assert.match(word, /^[!-~]+$/);
        assert.deepEqual(parseLineage(word), lineage);
      },
    ),
  );
});

for (const word of [
  '',
  'x',
  `${A}:80`,
  `${A}:80:promoted:1:2`,
  `${A}:-1:promoted:1`,
  `${A}:80:promoted:1,`,
]) {
  test(`${JSON.stringify(word)} is no lineage`, () => {
    assert.equal(parseLineage(word), null);
  });
}

test('a restored node shares its old history up to the backup, under a run ID of its own', () => {
  const backup: History = {
    runId: A,
    lineage: [{ runId: B, validTo: offset(50), reason: 'promoted', at: 1 }],
  };
  const restored = restoredHistory(backup, { runId: C, validTo: offset(80), hash: 7n, at: 2 });
  assert.deepEqual(restored, {
    runId: C,
    lineage: [{ runId: A, validTo: 80, reason: 'restored', at: 2 }, ...backup.lineage],
  });
});

test('a node that was restored from a backup without a history hash shares nothing', () => {
  const backup: History = { runId: A, lineage: [] };
  assert.deepEqual(
    restoredHistory(backup, { runId: C, validTo: offset(80), hash: null, at: 2 }),
    newHistory(C),
  );
});
