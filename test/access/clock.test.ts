/** Tokens expire by the wall clock, whatever happens to it. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { Access } from '../../src/access/access.ts';
import { newToken, tokenDigest } from '../../src/access/token.ts';
import { atOnce } from '../../src/keyspace/json/json.ts';

const DAY_MS = 86_400_000;

test('a clock that is set back makes a token good again, and ends nothing else', () => {
  const silent = (): void => undefined;
  const log = { debug: silent, info: silent, warn: silent, error: silent };
  let now = 10 * DAY_MS;
  const settings = { anonymousRights: [], authFailures: 10 };
  const access = new Access(log, settings, { now: () => now, monotonic: () => 0 });
  const { id, text } = newToken();
  const record = {
    id,
    name: 'x',
    sha256: tokenDigest(text),
    rights: ['read' as const],
    prefixes: null,
    expiresAt: now + 1_000,
    createdAt: now,
    note: null,
  };
  atOnce(access.replaceSteps([record]));
  const header = `Bearer ${text}`;
  const principal = access.find(header, {});
  assert.ok(principal !== null);
  assert.ok(principal.covers('read', 'k'));
  const ends: unknown[] = [];
  const opened = { may: () => true, revoked: (problem: unknown) => ends.push(problem) };
  access.watch(principal, opened);
  now -= DAY_MS;
  access.tick();
  assert.deepEqual([access.find(header, {}) !== null, ends.length], [true, 0]);
  now += DAY_MS + 2_000;
  access.tick();
  assert.deepEqual([access.find(header, {}) !== null, ends.length], [false, 1]);
  assert.ok(!principal.covers('read', 'k'));
  now -= DAY_MS;
  access.tick();
  assert.deepEqual([access.find(header, {}) !== null, ends.length], [true, 1]);
});
