/** What a JWT grants follows from its claims alone, and a claim that is not understood grants nothing. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { ClaimError, ownerOf } from '../../src/access/jwt/claims.ts';
import type { PrincipalParts } from '../../src/access/principal.ts';

const NOW = 1_800_000_000_000;
const SECONDS = NOW / 1_000;
const DAY_MS = 86_400_000;
const GOOD = {
  exp: SECONDS + 60,
  iat: SECONDS,
  sub: 'user 1',
  psyncd: { rights: ['read'], prefixes: ['a/'] },
};

const TWICE = '{"rights": ["read"], "prefixes": ["a/"], "prefixes": null}';

const owned = (claims: object, digest = 'd'): PrincipalParts =>
  ownerOf({ ...GOOD, ...claims }, digest, NOW, DAY_MS);

test('the owner has the rights and prefixes of the claim, and half a minute longer than exp', () => {
  const { client, ...owner } = owned({});
  assert.match(client ?? '', /^jwt [0-9a-f]{64}$/);
  assert.deepEqual(owner, {
    id: 'jwt:user?1~853db21b',
    name: 'jwt:user?1~853db21b',
    rights: ['read'],
    prefixes: ['a/'],
    expiresAt: NOW + 90_000,
  });
});

test('the ID of an owner is printable, short and never that of somebody without a token', () => {
  for (const [sub, jti, shown] of [
    ['anonymous', undefined, 'jwt:anonymous'],
    ['\u001b[31m\n', 'j', 'jwt:?[31m?/j'],
    ['x'.repeat(1_000), undefined, `jwt:${'x'.repeat(51)}`],
    [undefined, undefined, 'jwt:'],
    [{ toString: 'x' }, 7, 'jwt:'],
  ] as const) {
    const { id } = owned({ sub, jti });
    assert.match(id, /~[0-9a-f]{8}$/);
    assert.equal(id.slice(0, -9), shown);
    assert.ok(id.length <= 64);
  }
});

test('each subject of each issuer is one client whatever its tokens are, and no two look the same in the log', () => {
  const long = 'spiffe://cluster.local/ns/production-eu-west-1/sa/payments/instance/';
  const owners = [
    { sub: `${long}A` },
    { sub: `${long}B` },
    { sub: '\u30e6\u30fc' },
    { sub: '\u7ba1\u7406' },
    { sub: 'a/b' },
    { sub: 'a', jti: 'b' },
    { sub: 'a', iss: 'https://one' },
    { sub: 'a', iss: 'https://two' },
  ].map((claims) => owned(claims));
  assert.equal(new Set(owners.map(({ client }) => client)).size, owners.length);
  assert.equal(new Set(owners.map(({ id }) => id)).size, owners.length);
  const again = owned({ sub: 'a', jti: 'c', iss: 'https://one' }, 'another token');
  assert.equal(again.client, owners[6]?.client);
  assert.notEqual(again.id, owners[6]?.id);
});

test('a JWT without a subject is a client of its own', () => {
  for (const sub of [undefined, '', 7]) {
    assert.equal(owned({ sub, jti: 'a' }, 'one').client, owned({ sub }, 'one').client);
    assert.notEqual(owned({ sub }, 'one').client, owned({ sub }, 'other').client);
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
  ['null as prefixes', { psyncd: { rights: ['read'], prefixes: null } }],
  ['a list of prefixes and then null', { psyncd: JSON.parse(TWICE) }],
  ['null as rights', { psyncd: { rights: null } }],
  ['null as claim', { psyncd: null }],
  ['null as exp', { exp: null }],
  ['null as iat', { iat: null }],
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
    assert.throws(() => ownerOf({ ...GOOD, ...claims }, 'd', NOW, DAY_MS), ClaimError);
  });
}
