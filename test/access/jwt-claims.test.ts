/** What a JWT grants follows from its claims alone, and a claim that is not understood grants nothing. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { ClaimError, ownerOf } from '../../src/access/jwt/claims.ts';

const NOW = 1_800_000_000_000;
const SECONDS = NOW / 1_000;
const DAY_MS = 86_400_000;
const GOOD = {
  exp: SECONDS + 60,
  iat: SECONDS,
  sub: 'user 1',
  psyncd: { rights: ['read'], prefixes: ['a/'] },
};

test('the owner has the rights and prefixes of the claim, and half a minute longer than exp', () => {
  assert.deepEqual(ownerOf(GOOD, NOW, DAY_MS), {
    id: 'jwt:user?1',
    name: 'jwt:user?1',
    rights: ['read'],
    prefixes: ['a/'],
    expiresAt: NOW + 90_000,
  });
});

test('the ID of an owner is printable, short and never that of somebody without a token', () => {
  for (const [sub, jti, id] of [
    ['anonymous', undefined, 'jwt:anonymous'],
    ['\u001b[31m\n', 'j', 'jwt:?[31m?/j'],
    ['x'.repeat(1_000), undefined, `jwt:${'x'.repeat(60)}`],
    [undefined, undefined, 'jwt:'],
    [{ toString: 'x' }, 7, 'jwt:'],
  ] as const) {
    assert.equal(ownerOf({ ...GOOD, sub, jti }, NOW, DAY_MS).id, id);
  }
});

for (const [what, claims] of [
  ['no claim psyncd', { psyncd: undefined }],
  ['a list as claim', { psyncd: ['read'] }],
  ['no rights', { psyncd: {} }],
  ['an empty list of rights', { psyncd: { rights: [] } }],
  ['a right that there is not', { psyncd: { rights: ['read', 'fly'] } }],
  ['a right in other letters', { psyncd: { rights: ['READ'] } }],
  ['rights as text', { psyncd: { rights: 'read' } }],
  ['a right that is no text', { psyncd: { rights: [['read']] } }],
  ['another member', { psyncd: { rights: ['read'], deny: ['a'] } }],
  ['an empty list of prefixes', { psyncd: { rights: ['read'], prefixes: [] } }],
  ['an empty prefix', { psyncd: { rights: ['read'], prefixes: [''] } }],
  ['a prefix that is no text', { psyncd: { rights: ['read'], prefixes: [1] } }],
  ['prefixes as text', { psyncd: { rights: ['read'], prefixes: 'a/' } }],
  ['admin with prefixes', { psyncd: { rights: ['admin'], prefixes: ['a/'] } }],
  ['replicate with prefixes', { psyncd: { rights: ['replicate'], prefixes: ['a/'] } }],
  ['no exp', { exp: undefined }],
  ['an exp that is no number', { exp: '1900000000' }],
  ['an exp that is no time', { exp: Number.NaN }],
  ['too long a life', { exp: SECONDS + 86_401 }],
  ['too long a life, of which most is over', { iat: SECONDS - 86_400, exp: SECONDS + 1 }],
  ['too long a life and no iat', { iat: undefined, exp: SECONDS + 86_401 }],
  ['an iat to come', { iat: SECONDS + 31 }],
  ['an iat that is no number', { iat: 'now' }],
] as const) {
  test(`a JWT with ${what} grants nothing`, () => {
    assert.throws(() => ownerOf({ ...GOOD, ...claims }, NOW, DAY_MS), ClaimError);
  });
}
