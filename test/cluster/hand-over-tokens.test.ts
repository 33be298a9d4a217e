/** A hand-over that fails for want of a token says which token. */
import assert from 'node:assert/strict';
import { copyFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test, { type TestContext } from 'node:test';
import { createToken } from '../../src/access/tokens.ts';
import type { ChildNode } from '../../src/cli/child-node.ts';
import { until } from '../../src/cli/until.ts';
import { Client } from '../../src/client/rest.ts';
import { Cluster } from '../support/cluster.ts';
import { call } from '../support/trusting.ts';

const WANTED = { name: 'test', prefixes: null, expiresAt: null } as const;

function make(file: string, rights: readonly string[]): Promise<string> {
  return createToken(file, { ...WANTED, rights }, Date.now()).then(({ text }) => text);
}

/** A master and a replica that both need tokens. */
async function pair(t: TestContext, ...flags: string[]) {
  const cluster = await Cluster.create(t);
  const file = join(cluster.data('master'), 'tokens.json');
  const admin = await make(file, ['admin']);
  const tokenFile = join(cluster.data('master'), '..', 'token');
  writeFileSync(tokenFile, await make(file, ['replicate']));
  const master = await cluster.start('master', ...flags);
  const replica = await cluster.start(
    'replica',
    '--replica-of',
    master.wsUrl,
    '--upstream-token-file',
    tokenFile,
  );
  copyFileSync(file, join(cluster.data('replica'), 'tokens.json'));
  const hasAcknowledged = async (): Promise<boolean> => {
    const { replicas } = await new Client(master.url, { token: admin }).replication();
    return replicas.some(({ ackAgeMs }) => typeof ackAgeMs === 'number');
  };
  await until('the replica has acknowledged', hasAcknowledged);
  await until('it needs tokens', async () => (await call(replica, null, 'GET', '/v1/keys')).status === 401);
  return { cluster, master, replica, admin };
}

async function refusal(master: ChildNode, admin: string): Promise<Record<string, unknown>> {
  const answer = await fetch(`${master.url}/v1/replication/failover`, {
    method: 'POST',
    headers: { authorization: `Bearer ${admin}`, 'content-type': 'application/json' },
    body: '{}',
  });
  return (await answer.json()) as Record<string, unknown>;
}

test('a hand-over that lacks a token says which one', async (t) => {
  const { master, admin } = await pair(t);
  const { code, detail } = await refusal(master, admin);
  assert.equal(code, 'FAILOVER_REFUSED');
  assert.match(String(detail), /needs a token, and this node has none .*--upstream-token-file/);
});

test('a hand-over with a token that the target refuses says so', async (t) => {
  const cluster = await Cluster.create(t);
  const wrong = join(cluster.data('x'), '..', 'wrong');
  writeFileSync(wrong, await make(join(cluster.data('x'), 'tokens.json'), ['replicate']));
  const { master, admin } = await pair(t, '--upstream-token-file', wrong);
  const { code, detail } = await refusal(master, admin);
  assert.equal(code, 'FAILOVER_REFUSED');
  assert.match(String(detail), /refuses the token of this node/);
});
