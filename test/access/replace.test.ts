/** A reload of many tokens: it takes place in steps, and nobody sees half of it. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { newToken, tokenDigest } from '../../src/access/token.ts';
import type { TokenRecord } from '../../src/access/tokens/token-list.ts';
import { openAccess } from '../support/open-access.ts';

function tokens(count: number): {
  readonly texts: readonly string[];
  readonly records: readonly TokenRecord[];
} {
  const made = Array.from({ length: count }, newToken);
  return {
    texts: made.map(({ text }) => text),
    records: made.map(({ id, text }) => ({
      ...{ id, name: 'test', rights: ['read'] as const, prefixes: null, expiresAt: null },
      ...{ createdAt: 0, note: null, sha256: tokenDigest(text) },
    })),
  };
}

test('until the last step of a reload the tokens are as they were, and then all are exchanged', () => {
  const access = openAccess();
  const valid = (texts: readonly string[]): number =>
    texts.filter((text) => access.find(`Bearer ${text}`, {}) !== null).length;
  const [before, after] = [tokens(500), tokens(500)];
  for (const records of [before.records, [...before.records.slice(0, 100), ...after.records]]) {
    let steps = 0;
    const wasOpen = access.isOpen;
    for (const _ of access.replaceSteps(records)) {
      steps += 1;
      assert.equal(access.isOpen, wasOpen);
      if (!wasOpen && steps % 100 === 0)
        assert.deepEqual([valid(before.texts), valid(after.texts)], [500, 0]);
    }
    assert.equal(steps, records.length);
  }
  assert.deepEqual([valid(before.texts), valid(after.texts)], [100, 500]);
});
