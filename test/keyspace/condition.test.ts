/** Conditions on the state of an entry: when they hold, and what a refusal tells. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { ALWAYS, type Condition, isConditional, requireCondition } from '../../src/keyspace/condition.ts';
import type { Entry } from '../../src/keyspace/entry.ts';
import { Refusal } from '../../src/keyspace/refusal.ts';

const ENTRY: Entry = { value: Buffer.from('v'), version: 27, expiresAt: null };

/** Condition; whether it holds with version 27; whether it holds without an entry. */
const TABLE: readonly (readonly [Condition, boolean, boolean])[] = [
  [ALWAYS, true, true],
  [{ match: '*' }, true, false],
  [{ match: [27] }, true, false],
  [{ match: [1, 27] }, true, false],
  [{ match: [1] }, false, false],
  [{ match: [] }, false, false],
  [{ noneMatch: '*' }, false, true],
  [{ noneMatch: [27] }, false, true],
  [{ noneMatch: [1] }, true, true],
  [{ noneMatch: [] }, true, true],
  [{ match: '*', noneMatch: [27] }, false, false],
  [{ match: [27], noneMatch: [1] }, true, false],
];

test('each condition, with the entry and without it', () => {
  for (const [condition, withEntry, without] of TABLE) {
    const text = JSON.stringify(condition);
    assert.equal(holds(condition, ENTRY), withEntry, text);
    assert.equal(holds(condition, null), without, `${text} without an entry`);
    // What is not conditional is not looked at: it has to hold always.
    if (!isConditional(condition)) assert.ok(withEntry && without);
  }
});

test('a condition that hides the version is refused without it, with the entry and without', () => {
  for (const entry of [ENTRY, null]) {
    assert.throws(
      () => requireCondition({ match: [1], hidesVersion: true }, 'k', entry),
      (error) =>
        error instanceof Refusal && !error.message.includes('27') && !('currentVersion' in error.extra),
    );
  }
});

test('a refusal tells the current version, or null', () => {
  for (const [entry, currentVersion] of [
    [ENTRY, 27],
    [null, null],
  ] as const) {
    assert.throws(
      () => requireCondition({ match: [1] }, 'k', entry),
      (error) =>
        error instanceof Refusal &&
        error.code === 'PRECONDITION_FAILED' &&
        error.extra.currentVersion === currentVersion,
    );
  }
});

function holds(condition: Condition, entry: Entry | null): boolean {
  try {
    requireCondition(condition, 'k', entry);
    return true;
  } catch (error) {
    assert.ok(error instanceof Refusal);
    return false;
  }
}
