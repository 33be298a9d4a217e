/** `GET /v1/diff`: which keys were added, changed and removed between two positions, told by real nodes. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import test from 'node:test';
import { createToken } from '../../src/access/tokens/tokens.ts';
import type { ChildNode } from '../../src/cli/child-node.ts';
import { Client } from '../../src/client/full/client.ts';
import { Cluster, converged, linkState, writeMany } from '../support/cluster.ts';

async function positionOf(node: ChildNode): Promise<string> {
  return (await node.client.replication()).position;
}

function told(changes: readonly { readonly key: string; readonly change: string }[]): string[] {
  return changes.map(({ key, change }) => `${change} ${key}`);
}

test('masters and replicas tell the same difference, also after a promotion', async (t) => {
  const cluster = await Cluster.create(t);
  const { master, replica } = await cluster.linked();
  await linkState(replica, 'streaming');
  for (const key of ['a/1', 'a/2', 'a/3', 'b/1']) await master.client.set(key, 'x');
  const from = await positionOf(master);
  await master.client.set('a/1', 'y');
  await master.client.delete('a/2');
  await master.client.set('a/4', 'x');
  await master.client.set('b/2', 'x');
  const to = await positionOf(master);
  await master.client.delete('a/1');
  const expected = ['changed a/1', 'removed a/2', 'added a/4'];
  const clients = [new Client(master.url), new Client(replica.url)];
  for (const client of clients) {
    const { changes, next, flushed, ...ends } = await client.diff({ from, to, prefix: 'a/' });
    assert.deepEqual([told(changes), next, flushed, ends], [expected, null, null, { from, to }]);
  }
  await converged(master, replica);
  await replica.client.promote();
  const client = clients[1] as Client;
  assert.deepEqual(told((await client.diff({ from, to, prefix: 'a/' })).changes), expected);
  const until = await client.diff({ from });
  assert.notEqual(until.to.split(':')[0], from.split(':')[0]);
  assert.deepEqual(told(until.changes), ['removed a/1', 'removed a/2', 'added a/4', 'added b/2']);
});

test('pages of a difference together have each key once, in order, while clients write', async (t) => {
  const cluster = await Cluster.create(t);
  const master = await cluster.start('master', '--backlog-size', '16kb', '--journal-keep', '100mb');
  const client = new Client(master.url);
  await writeMany(master, 'k', 2_000, 'x'.repeat(100));
  const from = await positionOf(master);
  await writeMany(master, 'k', 1_500, 'y'.repeat(100));
  const keys: string[] = [];
  let to: string | undefined;
  let after: string | null = null;
  do {
    const page = await client.diff({ from, to, limit: 400, after: after ?? undefined });
    keys.push(...page.changes.map(({ key }) => key));
    assert.ok(page.changes.every(({ change }) => change === 'changed'));
    ({ to, next: after } = page);
    await client.set('other', 'x');
  } while (after !== null);
  const expected = Array.from({ length: 1_500 }, (_, index) => `k${index}`).sort();
  assert.deepEqual(keys, expected);
});

test('a position that the journal lost is told with the window that there is', async (t) => {
  const cluster = await Cluster.create(t);
  const master = await cluster.start('master', '--backlog-size', '16kb', '--apply-interval', '10ms');
  const from = await positionOf(master);
  await writeMany(master, 'k', 60, 'x'.repeat(1_000));
  const answer = await fetch(`${master.url}/v1/diff?from=${from}`);
  const { code, reason, window } = (await answer.json()) as {
    code: string;
    reason: string;
    window: { from: string; to: string };
  };
  assert.deepEqual([answer.status, code, reason], [410, 'POSITION_LOST', 'behind-backlog']);
  assert.equal(window.to, await positionOf(master));
  const { backlog } = await master.client.replication();
  assert.equal(window.from, `${master.ready.runId}:${backlog.firstOffset - 1}`);
});

test('a difference that is asked for wrongly is refused', async (t) => {
  const cluster = await Cluster.create(t);
  const master = await cluster.start('master');
  const { runId } = master.ready;
  await master.client.set('k', 'x');
  const to = await positionOf(master);
  for (const query of [
    '',
    'from=',
    'from=now',
    `from=${runId}:-1`,
    `from=${runId}:0&to=`,
    `from=${runId}:0&to=now`,
    `from=${to}&to=${runId}:0`,
    `from=${runId}:0&after=k`,
    `from=${runId}:0&limit=0`,
    `from=${runId}:0&limit=1001`,
    `from=${runId}:0&from=${runId}:0`,
    `from=${runId}:0&values=true`,
  ]) {
    const answer = await fetch(`${master.url}/v1/diff?${query}`);
    const { code } = (await answer.json()) as { code: string };
    assert.deepEqual([answer.status, code], [400, 'BAD_REQUEST'], query);
  }
});

test('a token with prefixes sees the differences of its keys only', async (t) => {
  const cluster = await Cluster.create(t);
  const tokens = join(cluster.data('master'), 'tokens.json');
  const make = async (prefixes: readonly string[] | null): Promise<string> => {
    const wanted = { name: 'test', rights: ['read', 'write'], prefixes, expiresAt: null } as const;
    return (await createToken(tokens, wanted, Date.now())).text;
  };
  const [all, mine] = [await make(null), await make(['mine/'])];
  const master = await cluster.start('master');
  const client = new Client(master.url, { token: all });
  await client.set('mine/1', 'x');
  await client.set('theirs/1', 'x');
  const from = `${master.ready.runId}:0`;
  const limited = new Client(master.url, { token: mine });
  assert.deepEqual(told((await limited.diff({ from, prefix: 'mine/' })).changes), ['added mine/1']);
  for (const prefix of ['', 'm', 'theirs/', 'mine']) {
    await assert.rejects(limited.diff({ from, prefix }), { code: 'FORBIDDEN' });
  }
  const head = await fetch(`${master.url}/v1/diff?from=${from}&prefix=mine/&prefix=theirs/`, {
    headers: { authorization: `Bearer ${mine}` },
  });
  assert.ok([400, 403].includes(head.status), await head.text());
});
