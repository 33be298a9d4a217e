/** Keys for JWTs that are exchanged at their URL. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import test, { type TestContext } from 'node:test';
import type { JWK } from 'jose';
import { LimitProblem } from '../../src/access/access-problem.ts';
import { Jwts } from '../../src/access/jwt/jwts.ts';
import { COOL_DOWN_MS } from '../../src/access/jwt/key-source.ts';
import { Principal } from '../../src/access/principal.ts';
import { until } from '../../src/cli/until.ts';
import { systemWorld } from '../../src/runtime/system-world.ts';
import { AUDIENCE, Issuer } from '../support/jwt-issuer.ts';
import { openAccess } from '../support/open-access.ts';
import { SILENT } from '../support/silent-log.ts';

interface Served {
  /** The URL no longer answers. */
  hang(): void;
  readonly jwts: Jwts;
  /** Lets the time pass in which the URL is not asked again. */
  later(): void;
  answer(...keys: readonly JWK[]): void;
  readonly asked: () => number;
}

async function served(t: TestContext, ...keys: readonly JWK[]): Promise<Served> {
  let present = keys;
  let asked = 0;
  let shift = 0;
  let hangs = false;
  const server = createServer((_request, response) => {
    asked += 1;
    if (hangs) return;
    response.end(JSON.stringify({ keys: present }));
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => {
    server.close();
    server.closeAllConnections();
  });
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const settings = {
    jwtJwks: url,
    jwtKeyFile: null,
    jwtAudience: AUDIENCE,
    jwtIssuer: null,
    jwtMaxAge: 86_400_000,
  };
  const world = { ...systemWorld, monotonic: () => systemWorld.monotonic() + shift };
  const jwts = await Jwts.start({ settings, access: openAccess(), world, log: SILENT });
  t.after(() => jwts.stop());
  await until('the keys are fetched', () => asked === 1);
  await jwts.reload();
  return {
    jwts,
    later: () => {
      shift += COOL_DOWN_MS + 1;
    },
    answer: (...next) => {
      present = next;
    },
    asked: () => asked,
    hang: () => {
      hangs = true;
    },
  };
}

for (const [what, header] of [
  ['without an ID', { kid: undefined }],
  ['under the same ID', {}],
] as const) {
  test(`a key that is exchanged at its URL ${what} is fetched when a token is signed by the new one`, async (t) => {
    const [before, after] = [await Issuer.create(), await Issuer.create()];
    const withoutId = async (issuer: Issuer): Promise<JWK> => {
      const { kid, ...jwk } = await issuer.jwk();
      return 'kid' in header ? jwk : { ...jwk, kid: kid as string };
    };
    const { jwts, later, answer, asked } = await served(t, await withoutId(before));
    assert.ok((await jwts.verify(await before.sign({}, header))) instanceof Principal);
    answer(await withoutId(after));
    assert.equal(await jwts.verify(await after.sign({}, header)), 'its signature is wrong', 'a moment ago');
    const count = asked();
    later();
    assert.ok((await jwts.verify(await after.sign({}, header))) instanceof Principal);
    assert.equal(await jwts.verify(await before.sign({ jti: 'new' }, header)), 'its signature is wrong');
    assert.equal(asked(), count + 1, 'it does not ask for each token');
  });
}

test('tokens with unknown keys keep no others away while the URL hangs, and are few', async (t) => {
  const issuer = await Issuer.create();
  const stranger = await Issuer.create();
  const { jwts, later, hang, asked } = await served(t, await issuer.jwk());
  const before = asked();
  hang();
  later();
  const refused = Array.from({ length: 600 }, async (_, index) => {
    const token = await stranger.sign({ jti: String(index) }, { kid: `unknown-${index}` });
    return jwts.verify(token).then(
      () => 'verified',
      (error: unknown) => (error instanceof LimitProblem ? 'limited' : error),
    );
  });
  await until('the URL is asked', () => asked() > before);
  // Those beyond the limit are refused at once; the others wait until the test ends.
  const first = await Promise.race(refused);
  assert.equal(first, 'limited');
  for (let index = 0; index < 20; index += 1)
    assert.ok((await jwts.verify(await issuer.sign({ jti: `new-${index}` }))) instanceof Principal);
  jwts.stop();
  const ends = await Promise.all(refused);
  assert.ok(ends.every((end) => end === 'limited' || end === 'verified'));
  assert.ok(ends.filter((end) => end === 'verified').length <= 256);
});

const BASE64URL = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_';
const ORDER_OF_P256 = 0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551n;

test('a signature has one spelling, although base64url ignores its last bits', async (t) => {
  for (const algorithm of ['EdDSA', 'ES256', 'RS256'] as const) {
    const issuer = await Issuer.create(algorithm);
    const { jwts } = await served(t, await issuer.jwk());
    const token = await issuer.sign({ sub: undefined });
    // Of 64 and of 256 bytes, the last digit has two bits of the signature; the other four are 0.
    const last = BASE64URL.indexOf(token.at(-1) ?? '');
    for (let rest = 1; rest < 16; rest += 1) {
      const other = `${token.slice(0, -1)}${BASE64URL[last + rest]}`;
      assert.equal(await jwts.verify(other), 'its signature is no canonical base64url', algorithm);
      assert.equal(jwts.known(other), null);
    }
    for (const other of [`${token}A`, token.slice(0, -1)])
      assert.equal(typeof (await jwts.verify(other)), 'string', algorithm);
    assert.ok((await jwts.verify(token)) instanceof Principal, algorithm);
  }
});

test('a token without a subject is one client whichever of its two ES256 signatures it has', async (t) => {
  const issuer = await Issuer.create('ES256');
  const { jwts } = await served(t, await issuer.jwk());
  const clientOf = async (token: string): Promise<string> => {
    const owner = await jwts.verify(token);
    assert.ok(owner instanceof Principal, String(owner));
    return owner.client;
  };
  const token = await issuer.sign({ sub: undefined });
  const [header, payload, signature = ''] = token.split('.');
  const bytes = Buffer.from(signature, 'base64url');
  const second = ORDER_OF_P256 - BigInt(`0x${bytes.toString('hex', 32)}`);
  bytes.write(second.toString(16).padStart(64, '0'), 32, 'hex');
  const other = `${header}.${payload}.${bytes.toString('base64url')}`;
  assert.notEqual(other, token);
  assert.equal(await clientOf(other), await clientOf(token));
  assert.notEqual(await clientOf(await issuer.sign({ sub: undefined, jti: '2' })), await clientOf(token));
});

test('a token is refused whose header or claims two readers could understand differently', async (t) => {
  const issuer = await Issuer.create();
  const { jwts } = await served(t, await issuer.jwk());
  const exp = Math.floor(Date.now() / 1_000) + 600;
  const header = '{"alg":"EdDSA","kid":"k1"}';
  const claims = `{"aud":"${AUDIENCE}","exp":${exp},"psyncd":{"rights":["read"]}}`;
  const verified = (first: string, second: string, encoding: 'utf8' | 'latin1' = 'utf8'): Promise<unknown> =>
    jwts.verify(issuer.signBytes(Buffer.from(first, encoding), Buffer.from(second, encoding)));
  assert.ok((await verified(header, claims)) instanceof Principal);
  assert.ok((await verified(` ${header}`, `${claims}\n`)) instanceof Principal);
  const with_ = (more: string): string => claims.replace('{', `{${more},`);
  for (const [name, first, second, encoding] of [
    ['a claim twice', header, with_('"psyncd":{"rights":["read"],"prefixes":["a:"]}')],
    ['a claim twice, once with an escape', header, with_('"aud":"other","\\u0061ud":"x"')],
    ['a member of a claim twice', header, claims.replace('["read"]', '["read"],"rights":["write"]')],
    ['a member of an unknown claim twice', header, with_('"x":{"y":1,"y":2}')],
    ['a member of the header twice', header.replace('{', '{"kid":"other",'), claims],
    ['a byte order mark before the claims', header, `\ufeff${claims}`],
    ['a byte order mark before the header', `\ufeff${header}`, claims],
    ['claims that are not UTF-8', header, with_('"name":"\u00fc"'), 'latin1'],
    ['a header that is not UTF-8', header.replace('}', ',"typ":"\u00fc"}'), claims, 'latin1'],
    ['a header that is a list', `[${header}]`, claims],
    ['claims that are a list', header, `[${claims}]`],
  ] as const) {
    const found = await verified(first, second, encoding);
    assert.equal(typeof found, 'string', name);
    assert.match(String(found), /twice|byte order mark|UTF-8|object/, name);
  }
});
