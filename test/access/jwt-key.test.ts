/** Which keys verify JWTs, and with which algorithm: the key decides, never the token. */
import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import test from 'node:test';
import { KeyError, keysOfFile, keysOfSet, MAX_KEYS } from '../../src/access/jwt/jwt-key.ts';
import { Issuer } from '../support/jwt-issuer.ts';

const SECRET = { kty: 'oct', k: Buffer.alloc(32, 7).toString('base64url') };

test('a key is good for one algorithm, which its kind decides', async () => {
  for (const algorithm of ['EdDSA', 'ES256', 'RS256'] as const) {
    const issuer = await Issuer.create(algorithm);
    const [pem] = keysOfFile(await issuer.pem());
    assert.deepEqual([pem?.algorithm, pem?.kid], [algorithm, null]);
    const [jwk] = keysOfFile(JSON.stringify(await issuer.jwk()));
    assert.deepEqual([jwk?.algorithm, jwk?.kid], [algorithm, 'k1']);
  }
  assert.equal(keysOfFile(JSON.stringify(SECRET))[0]?.algorithm, 'HS256');
});

test('a file may hold several keys, so that one can take the place of another', async () => {
  const [one, two] = [await Issuer.create(), await Issuer.create('ES256', 'k2')];
  assert.equal(keysOfFile(`${await one.pem()}\n# two\n${await two.pem()}`).length, 2);
  assert.equal(keysOfFile(JSON.stringify({ keys: [await one.jwk(), await two.jwk()] })).length, 2);
});

test('a file with a key that cannot be used is refused as a whole', async () => {
  const issuer = await Issuer.create();
  const pem = await issuer.pem();
  const jwk = await issuer.jwk();
  const small = generateKeyPairSync('rsa', { modulusLength: 1_024 });
  const curve = generateKeyPairSync('ec', { namedCurve: 'secp384r1' });
  const text = (value: unknown): string => JSON.stringify(value);
  const spki = { type: 'spki', format: 'pem' } as const;
  const pkcs8 = { type: 'pkcs8', format: 'pem' } as const;
  for (const [content, expected] of [
    ['', /expected PEM/],
    ['{', /expected PEM/],
    ['null', /expected a JWK/],
    [text(jwk).replace('{', '{"kid":"other",'), /"kid" stands twice/],
    ['{}', /no public key/],
    [pem.slice(0, 40), /no whole PEM/],
    [pem.replace(/^M/m, '!'), /no public key|no whole PEM/],
    [String(small.publicKey.export(spki)), /2048 bits/],
    [String(curve.publicKey.export(spki)), /EdDSA, ES256 or RS256/],
    [String(small.privateKey.export(pkcs8)), /PRIVATE KEY/],
    [text(await issuer.privateJwk()), /private key/],
    [text({ ...SECRET, k: 'c2hvcnQ' }), /256 bits/],
    [text({ ...SECRET, k: '' }), /no secret/],
    [text({ ...SECRET, k: 'not base64!' }), /no secret/],
    [text({ ...jwk, use: 'enc' }), /not for signatures/],
    [text({ ...jwk, key_ops: ['sign'] }), /not for verifying/],
    [text({ ...jwk, alg: 'HS256' }), /"alg" is not EdDSA/],
    [text({ ...jwk, kid: 7 }), /"kid"/],
    [text({ keys: [jwk, {}] }), /no public key/],
    [text({ keys: Array(MAX_KEYS + 1).fill(jwk) }), /more than/],
  ] as const) {
    assert.throws(() => keysOfFile(content), { name: 'Error', message: expected }, content);
  }
});

test('a JWKS may hold keys for others, but never a secret', async () => {
  const jwk = await (await Issuer.create()).jwk();
  const others = [SECRET, { kty: 'new' }, { ...jwk, use: 'enc' }, 7, null];
  const keys = keysOfSet(JSON.stringify({ keys: [...others, jwk] }));
  assert.deepEqual(
    keys.map(({ algorithm }) => algorithm),
    ['EdDSA'],
  );
  // None that can be used is no error: whoever has taken the last one away wants its tokens to end.
  for (const text of ['{"keys":[]}', JSON.stringify({ keys: others })]) assert.deepEqual(keysOfSet(text), []);
  for (const text of ['', '[]', '{}', JSON.stringify(jwk)]) {
    assert.throws(() => keysOfSet(text), KeyError, text);
  }
  assert.throws(() => keysOfSet(JSON.stringify({ keys: Array(MAX_KEYS + 1).fill(jwk) })), /more than/);
});
