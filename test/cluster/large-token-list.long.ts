/** A list of tokens that is nearly as large as it may be: who lists or changes it does not stall the others. */
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import { newToken, tokenDigest } from '../../src/access/token.ts';
import { Cluster } from '../support/cluster.ts';
import { longestStall } from '../support/stalls.ts';
import { call } from '../support/trusting.ts';

const TOKENS = 12_000;
/** Beginnings of keys for each token, and their length: a list of some 12 MiB. */
const PREFIXES = 3;
const PREFIX_LENGTH = 300;
/** The longest time for which others wait, in milliseconds: less than a tenth of what the work takes. */
const STALL_MS = 150;

test('listing and changing a list of tokens of twelve MiB stalls nobody, and keeps each token as it was', async (t) => {
  const cluster = await Cluster.create(t);
  const file = join(cluster.data('node'), 'tokens.json');
  const { id, text: admin } = newToken();
  const common = { name: 'test', createdAt: '2027-01-31T00:00:00.000Z' };
  const first = { id, ...common, rights: ['admin'], sha256: tokenDigest(admin) };
  const others = Array.from({ length: TOKENS }, () => {
    const { id, text } = newToken();
    const prefixes = Array.from({ length: PREFIXES }, (_, index) =>
      `${id}${index}`.padEnd(PREFIX_LENGTH, '-'),
    );
    return { id, ...common, rights: ['read'], sha256: tokenDigest(text), prefixes };
  });
  const stub = await cluster.start('node');
  await stub.stop();
  writeFileSync(file, JSON.stringify({ tokens: [first, ...others] }), { mode: 0o600 });
  const node = await cluster.restart('node', stub);
  const listed = async (): Promise<{ id: string }[]> =>
    ((await (await call(node, admin, 'GET', '/v1/tokens')).json()) as { tokens: { id: string }[] }).tokens;
  const stallMs = await longestStall(node, async () => {
    assert.deepEqual(
      (await listed()).map((each) => each.id),
      [id, ...others.map((each) => each.id)],
    );
    const gone = others.shift();
    assert.equal((await call(node, admin, 'DELETE', `/v1/tokens/${gone?.id}`)).status, 200);
  });
  t.diagnostic(`${Math.round(stallMs)} ms`);
  assert.ok(stallMs < STALL_MS, `${stallMs} ms`);
  const kept = JSON.parse(readFileSync(file, 'utf8')) as { tokens: object[] };
  assert.deepEqual(kept.tokens, [first, ...others]);
});
