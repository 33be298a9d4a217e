/** `tokens.json`: what is written can be read, and what cannot be used is refused with the place. */
import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync, rmSync, statSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import { isToken, newToken, tokenDigest } from '../../src/access/token.ts';
import { readTokens, TAKE_AT_ONCE } from '../../src/access/tokens/token-file.ts';
import { createToken, listTokens, revokeToken } from '../../src/access/tokens/tokens.ts';
import { temporaryFolder } from '../support/cluster.ts';

const WANTED = { name: 'web', rights: ['read'], prefixes: ['user:'], expiresAt: null };
const NOW = Date.UTC(2026, 0, 1);

test('a token that was mistyped or cut is told from a token without a look-up', () => {
  const { id, text } = newToken();
  assert.match(text, new RegExp(`^psyncd_${id}_[0-9A-Za-z]{32}_[0-9A-Za-z]{6}$`));
  assert.ok(isToken(text));
  for (let index = 0; index < text.length; index += 1) {
    const other = text[index] === 'a' ? 'b' : 'a';
    assert.ok(!isToken(text.slice(0, index) + other + text.slice(index + 1)), `character ${index}`);
    assert.ok(!isToken(text.slice(0, index)));
  }
});

test('a token is kept as its hash only, in a file for its owner alone', async (t) => {
  const path = join(await temporaryFolder(t), 'new', 'tokens.json');
  const { record, text } = await createToken(path, WANTED, NOW);
  assert.ok(!readFileSync(path, 'utf8').includes(text));
  assert.equal(statSync(path).mode & 0o777, 0o600);
  assert.equal(statSync(join(path, '..')).mode & 0o777, 0o700);
  assert.deepEqual(readTokens(path), [{ ...record, sha256: tokenDigest(text) }]);
  assert.deepEqual(await listTokens(path), [record]);
  assert.deepEqual(readdirSync(join(path, '..')), ['tokens.json']);
});

test('tokens that are made at the same time are all in the file', async (t) => {
  const path = join(await temporaryFolder(t), 'tokens.json');
  const made = await Promise.all(
    Array.from({ length: 8 }, (_, index) => createToken(path, { ...WANTED, name: `n${index}` }, NOW)),
  );
  const ids = (await listTokens(path)).map(({ id }) => id);
  assert.deepEqual(new Set(ids), new Set(made.map(({ record }) => record.id)));
});

test('a change that was killed half-way does not stand in the way for ever', async (t) => {
  const path = join(await temporaryFolder(t), 'tokens.json');
  writeFileSync(`${path}.new`, 'half');
  utimesSync(`${path}.new`, 1, 1);
  await createToken(path, WANTED, NOW);
  assert.ok(!existsSync(`${path}.new`));
});

test('a revoked token is gone, and one that is not there is said to be so', async (t) => {
  const path = join(await temporaryFolder(t), 'tokens.json');
  const { record } = await createToken(path, WANTED, NOW);
  assert.equal(await revokeToken(path, 'nothing0'), null);
  assert.deepEqual(await revokeToken(path, record.id), record);
  assert.deepEqual(await listTokens(path), []);
});

test('a token with rights, prefixes or a time that make no sense is not made', async (t) => {
  const path = join(await temporaryFolder(t), 'tokens.json');
  const wrong = [
    [{ name: '' }, /^name: /],
    [{ name: 'x'.repeat(101) }, /^name: /],
    [{ rights: [] }, /^rights: /],
    [{ rights: ['fly'] }, /there is no right "fly"/],
    [{ rights: ['read', 'replicate'] }, /replicate is for the whole node/],
    [{ rights: ['admin'] }, /admin is for the whole node/],
    [{ prefixes: [] }, /^prefixes: /],
    [{ prefixes: [''] }, /^prefixes: /],
    [{ prefixes: ['\ud800'] }, /^prefixes: /],
    [{ expiresAt: NOW }, /^expiresAt: /],
  ] as const;
  for (const [part, message] of wrong) {
    await assert.rejects(createToken(path, { ...WANTED, ...part }, NOW), { message });
  }
  assert.ok(!existsSync(path));
});

test('a list with too many values is refused with the reason, before it takes the place of the old one', async (t) => {
  const path = join(await temporaryFolder(t), 'tokens.json');
  const prefixes = Array.from({ length: 100 }, (_, index) => `prefix-${index}`);
  const tokens = Array.from({ length: 1_845 }, (_, index) => {
    const sha256 = index.toString(16).padStart(64, '0');
    const id = String(index).padStart(8, '0');
    return { id, name: 'n', sha256, rights: ['read'], prefixes, createdAt: '2026-01-01T00:00:00Z' };
  });
  let made = tokens.length;
  writeFileSync(path, JSON.stringify({ tokens }));
  const more = { ...WANTED, prefixes };
  const reason = /the list has more than 200000 values: a token has some seven/;
  await assert.rejects(async () => {
    for (; made < 1_900; made += 1) await createToken(path, more, NOW);
  }, reason);
  assert.equal((await listTokens(path)).length, made);
});

test('a list that cannot be used is refused with the token and the member', async (t) => {
  const path = join(await temporaryFolder(t), 'tokens.json');
  const sha256 = 'a'.repeat(64);
  const good = { id: 'aaaaaaaa', name: 'n', sha256, rights: ['read'], createdAt: '2026-01-01T00:00:00Z' };
  const { sha256: _, ...certified } = good;
  const lists: readonly (readonly [unknown, RegExp])[] = [
    ['{', /it is not JSON/],
    ['', /it is not JSON/],
    [[], /expected \{"tokens"/],
    [{}, /expected \{"tokens"/],
    [{ tokens: {} }, /expected \{"tokens"/],
    [{ tokens: [1] }, /token 1: expected an object/],
    [{ tokens: [good, { ...good, sha256: 'b'.repeat(64) }] }, /token 2: aaaaaaaa is in the list twice/],
    [{ tokens: [good, { ...good, id: 'bbbbbbbb' }] }, /token 2: a{64} is in the list twice/],
    [{ tokens: [{ ...good, rights: ['fly'] }] }, /token 1: rights: there is no right "fly"/],
    [{ tokens: [{ ...good, rights: 'read' }] }, /token 1: "rights" is no list/],
    [{ tokens: [{ ...good, expiresAt: 'soon' }] }, /token 1: "expiresAt" is no date/],
    [{ tokens: [{ ...good, expiresAt: 5 }] }, /token 1: "expiresAt" is no date/],
    ...['2027-01-31T00:00:00', '2027-01-31', '31 Jan 2027', '1900000000000', '2027-02-30T00:00:00Z', 'Z'].map(
      (expiresAt) =>
        [
          { tokens: [{ ...good, expiresAt }] },
          /token 1: "expiresAt" is no date with Z or an offset/,
        ] as const,
    ),
    [{ tokens: [{ ...good, createdAt: '2027-01-31T00:00:00' }] }, /token 1: "createdAt" is no date with Z/],
    [{ tokens: [{ ...good, sha256: 'A'.repeat(64) }] }, /token 1: "sha256"/],
    [{ tokens: [{ ...good, certificate: { san: 'a' } }] }, /token 1: "sha256" and "certificate" exclude/],
    [{ tokens: [{ ...certified, certificate: 'a' }] }, /token 1: "certificate": expected \{"san": NAME\}/],
    [{ tokens: [{ ...certified, certificate: { san: '' } }] }, /token 1: "certificate": expected/],
    [{ tokens: [{ ...certified, certificate: { san: 'a\n' } }] }, /token 1: "certificate": expected/],
    [{ tokens: [{ ...certified, certificate: { san: 'a', dns: 'b' } }] }, /token 1: "certificate": expected/],
    [
      { tokens: [{ ...certified, certificate: { san: 'x'.repeat(1_001) } }] },
      /token 1: "certificate": expected/,
    ],
    [
      {
        tokens: [
          { ...certified, certificate: { san: 'A.example' } },
          { ...certified, id: 'bbbbbbbb', certificate: { san: 'a.example' } },
        ],
      },
      /token 2: certificate a\.example is in the list twice/,
    ],
    [{ tokens: [{ ...good, id: '__proto__' }] }, /token 1: "id"/],
    [{ tokens: [{ ...good, right: 1 }] }, /token 1: there is no member "right"/],
    ['{"tokens":[{"__proto__":{"id":"aaaaaaaa"}}]}', /token 1: there is no member "__proto__"/],
  ];
  for (const [list, message] of lists) {
    writeFileSync(path, typeof list === 'string' ? list : JSON.stringify(list));
    assert.throws(() => readTokens(path), { message });
  }
  writeFileSync(path, JSON.stringify({ tokens: [{ ...good, expiresAt: '2027-01-31T01:00+01:00' }] }));
  assert.equal(readTokens(path)?.[0]?.expiresAt, Date.UTC(2027, 0, 31));
});

test('a change of the list asks whether it may be made when no other process has the list any more', async (t) => {
  const path = join(await temporaryFolder(t), 'tokens.json');
  const wanted = { name: 'a', rights: ['read'], prefixes: null, expiresAt: null } as const;
  const { record } = await createToken(path, wanted, NOW);
  writeFileSync(`${path}.new`, '');
  let isAllowed = true;
  const decide = (): void => {
    if (!isAllowed) throw new Error('the sender has lost its token');
  };
  const onNode = { decide, take: TAKE_AT_ONCE };
  const changes = [createToken(path, wanted, NOW, onNode), revokeToken(path, record.id, onNode)];
  isAllowed = false;
  rmSync(`${path}.new`);
  await Promise.all(changes.map((change) => assert.rejects(change, /lost its token/)));
  assert.deepEqual(await listTokens(path), [record]);
});
