/** A reload of many tokens: it takes place in steps, and nobody sees half of it. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { Access } from '../../src/access/access.ts';
import { Principal } from '../../src/access/principal.ts';
import { newToken, tokenDigest } from '../../src/access/token.ts';
import type { TokenMembers, TokenRecord } from '../../src/access/tokens/token-list.ts';
import { atOnce } from '../../src/keyspace/json/json.ts';
import { openAccess } from '../support/open-access.ts';
import { SILENT } from '../support/silent-log.ts';

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

test('a token that loses nothing by a change keeps what was begun with it, and one that loses something does not', () => {
  const access = openAccess();
  const [text = ''] = tokens(1).texts;
  const record = (change: Partial<TokenMembers>): TokenRecord => ({
    ...{ id: 'aaaaaaaa', name: 'test', rights: ['read'], prefixes: ['a/'], expiresAt: null },
    ...{ createdAt: 0, note: null, sha256: tokenDigest(text), ...change },
  });
  const replace = (change: Partial<TokenMembers>): void => atOnce(access.replaceSteps([record(change)]));
  const find = (): Principal => access.find(`Bearer ${text}`, {}) ?? assert.fail('it is not known');
  const soon = Date.now() + 600_000;
  for (const change of [
    { note: 'x' },
    { name: 'other' },
    { expiresAt: soon },
    { rights: ['read', 'write'] as const },
    { rights: ['admin'] as const, prefixes: null },
    { prefixes: ['a'] },
    { prefixes: ['b/', 'a/'] },
    { prefixes: null },
  ]) {
    replace({});
    const begun = find();
    replace(change);
    const what = JSON.stringify(change);
    assert.equal(begun.over, null, what);
    assert.equal(find(), begun, what);
    for (const right of ['read', 'write'] as const) {
      const next = new Principal(record(change), Date.now);
      for (const prefix of ['', 'a', 'a/b', 'b/c'])
        assert.equal(begun.covers(right, prefix), next.covers(right, prefix), `${what} ${right} ${prefix}`);
    }
    assert.equal(begun.expiresAt, record(change).expiresAt);
    replace({ prefixes: ['a/b'] });
    assert.equal((begun as Principal).over?.code, 'UNAUTHORIZED', what);
    replace({ rights: ['write'] });
    assert.equal(find().covers('read', 'a/b'), false);
  }
});

test('a stream is told again when a change gives its token another end', () => {
  let now = 0;
  const access = new Access(
    SILENT,
    { anonymousRights: [], authFailures: 10 },
    { now: () => now, monotonic: () => now },
  );
  const [text = ''] = tokens(1).texts;
  const until = (expiresAt: number): void => {
    const parts = { id: 'aaaaaaaa', name: 'test', rights: ['read'] as const, prefixes: null, createdAt: 0 };
    atOnce(access.replaceSteps([{ ...parts, expiresAt, note: null, sha256: tokenDigest(text) }]));
  };
  until(20_000);
  const told: number[] = [];
  const principal = access.find(`Bearer ${text}`, {}) ?? assert.fail('it is not known');
  access.watch(principal, { may: () => true, revoked: () => told.push(-1), expiring: (at) => told.push(at) });
  access.tick();
  access.tick();
  until(60_000);
  access.tick();
  now = 40_000;
  access.tick();
  now = 60_000;
  access.tick();
  assert.deepEqual(told, [20_000, 60_000, -1]);
});
