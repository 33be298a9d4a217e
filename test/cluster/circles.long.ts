/** Nodes that need tokens refuse a circle as nodes without do, and show their token to nobody else for it. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { copyFileSync, mkdirSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import test, { type TestContext } from 'node:test';
import { createToken } from '../../src/access/tokens/tokens.ts';
import type { ChildNode } from '../../src/cli/child-node.ts';
import { until } from '../../src/cli/until.ts';
import { AdminClient } from '../../src/client/admin/admin-client.ts';
import { Cluster } from '../support/cluster.ts';

type Right = 'admin' | 'replicate';

/** Nodes with one list of tokens. */
interface Guarded {
  readonly cluster: Cluster;
  readonly admin: string;
  /** Starts a node with the list, and with a token that has no other right than `replicate`, or with another one. */
  start(name: string, ...flags: string[]): Promise<ChildNode>;
  restart(name: string, before: ChildNode, ...flags: string[]): Promise<ChildNode>;
  client(node: ChildNode): AdminClient;
  /** Makes a file with a token of its own. */
  tokenFile(right: Right): Promise<string>;
  /** Waits until the node follows its master. */
  streams(node: ChildNode): Promise<unknown>;
}

async function guarded(t: TestContext): Promise<Guarded> {
  const cluster = await Cluster.create(t);
  const list = cluster.data('tokens.json');
  let files = 0;
  const make = (right: Right): Promise<string> =>
    createToken(list, { name: right, rights: [right], prefixes: null, expiresAt: null }, Date.now()).then(
      ({ text }) => text,
    );
  const admin = await make('admin');
  const tokenFile: Guarded['tokenFile'] = async (right) => {
    files += 1;
    const file = cluster.data(`token-${files}`);
    writeFileSync(file, await make(right));
    return file;
  };
  const shared = await tokenFile('replicate');
  const prepared = (name: string, flags: readonly string[]): readonly string[] => {
    mkdirSync(cluster.data(name), { recursive: true });
    copyFileSync(list, join(cluster.data(name), 'tokens.json'));
    return flags.includes('--upstream-token-file') ? flags : [...flags, '--upstream-token-file', shared];
  };
  const client = (node: ChildNode): AdminClient => new AdminClient(node.url, { token: admin });
  return {
    cluster,
    admin,
    start: (name, ...flags) => cluster.start(name, ...prepared(name, flags)),
    restart: (name, before, ...flags) => cluster.restart(name, before, ...prepared(name, flags)),
    client,
    tokenFile,
    streams: (node) =>
      until(`${node.url} streams`, async () => {
        const { upstream } = await client(node).replication();
        return upstream?.state === 'streaming';
      }),
  };
}

/** REPLICAOF. @returns the status of the answer, and the problem in words */
async function replicaOf(
  { admin }: Guarded,
  node: ChildNode,
  url: string,
): Promise<{ readonly status: number; readonly code?: string; readonly detail?: string }> {
  const answer = await fetch(`${node.url}/v1/replication/upstream`, {
    method: 'PUT',
    body: JSON.stringify({ url }),
    headers: { 'content-type': 'application/json', authorization: `Bearer ${admin}` },
  });
  const { code = '', detail = '' } = (await answer.json()) as { code?: string; detail?: string };
  return code === '' ? { status: answer.status } : { status: answer.status, code, detail };
}

function circleOf(...path: readonly ChildNode[]): string {
  return `a circle: this node -> ${path.map(({ wsUrl }) => wsUrl).join(' -> ')}, which is this node`;
}

test('a master with tokens refuses to follow its own replica', async (t) => {
  const nodes = await guarded(t);
  const top = await nodes.start('top');
  const below = await nodes.start('below', '--replica-of', top.wsUrl);
  await nodes.streams(below);
  const expected = { status: 409, code: 'CIRCLE', detail: circleOf(below, top) };
  assert.deepEqual(await replicaOf(nodes, top, below.wsUrl), expected);
  const toTop = await nodes.cluster.proxy(top);
  assert.equal((await replicaOf(nodes, top, toTop.wsUrl)).code, 'CIRCLE');
  assert.equal((await nodes.client(top).replication()).role, 'master');
});

test('in a chain of nodes with tokens every circle is refused, also if each node has a token of its own', async (t) => {
  const nodes = await guarded(t);
  const own = async (): Promise<string[]> => ['--upstream-token-file', await nodes.tokenFile('replicate')];
  // A list is complete when its node starts.
  const flags = [await own(), await own(), await own(), await own()] as const;
  const top = await nodes.start('top', ...flags[0]);
  const link = await nodes.cluster.proxy(top);
  const second = await nodes.start('second', '--replica-of', link.wsUrl, ...flags[1]);
  const third = await nodes.start('third', '--replica-of', second.wsUrl, ...flags[2]);
  const leaf = await nodes.start('leaf', '--replica-of', third.wsUrl, ...flags[3]);
  for (const node of [second, third, leaf]) await nodes.streams(node);
  const throughLink = `${third.wsUrl} -> ${second.wsUrl} -> ${link.wsUrl}, which is this node`;
  for (const [node, url, detail] of [
    [top, leaf.wsUrl, `a circle: this node -> ${leaf.wsUrl} -> ${throughLink}`],
    [top, third.wsUrl, `a circle: this node -> ${throughLink}`],
    [second, leaf.wsUrl, circleOf(leaf, third, second)],
    [third, leaf.wsUrl, circleOf(leaf, third)],
  ] as const) {
    assert.deepEqual(await replicaOf(nodes, node, url), { status: 409, code: 'CIRCLE', detail });
  }
  assert.equal((await nodes.client(top).replication()).role, 'master');
  assert.equal((await replicaOf(nodes, leaf, second.wsUrl)).status, 202);
});

test('a node with tokens that --replica-of would put into a circle does not start, and says what to do', async (t) => {
  const nodes = await guarded(t);
  const first = await nodes.start('first');
  const second = await nodes.start('second', '--replica-of', first.wsUrl);
  const third = await nodes.start('third', '--replica-of', second.wsUrl);
  for (const node of [second, third]) await nodes.streams(node);
  await first.stop();
  for (const master of [second, third]) {
    await assert.rejects(
      nodes.restart('first', first, '--replica-of', master.wsUrl),
      /--replica-of: a circle: this node -> .*; leave --replica-of \(PSYNCD_REPLICA_OF\) out: the node remembers its role/,
    );
  }
  await nodes.restart('first', first);
  await nodes.streams(second);
});

test('a circle of nodes with tokens that was made while one was down shows in the links that begin after that', async (t) => {
  const nodes = await guarded(t);
  const first = await nodes.start('first');
  const second = await nodes.start('second', '--replica-of', first.wsUrl);
  const third = await nodes.start('third', '--replica-of', second.wsUrl);
  for (const node of [second, third]) await nodes.streams(node);
  await third.stop();
  assert.equal((await replicaOf(nodes, first, third.wsUrl)).status, 202);
  const again = await nodes.restart('third', third);
  // The second one's connection was open before, and stays open.
  for (const [node, ...path] of [
    [first, again, second, first],
    [again, second, first, again],
  ] as const) {
    await until(`${node.url} names the circle`, async () => {
      const { upstream } = await nodes.client(node).replication();
      return upstream?.detail === circleOf(...path);
    });
  }
  await nodes.client(first).promote();
  for (const node of [second, again]) await nodes.streams(node);
});

test('a link warns when a node above its master does not say whom it follows', async (t) => {
  const nodes = await guarded(t);
  const mute = createServer((_request, response) => response.writeHead(401).end()).listen(0, '127.0.0.1');
  await once(mute, 'listening');
  t.after(() => mute.close());
  const top = `ws://127.0.0.1:${(mute.address() as AddressInfo).port}`;
  const middle = await nodes.start('middle', '--replica-of', top);
  const leaf = await nodes.start('leaf');
  assert.equal((await replicaOf(nodes, leaf, middle.wsUrl)).status, 202);
  await until('the log warns', () => leaf.log.includes('"chain-unknown"'));
  assert.match(leaf.log, new RegExp(`${top} does not say whom it follows`));
});

test('a node that looks for a circle shows its token to no node that others have named', async (t) => {
  const nodes = await guarded(t);
  const seen: (string | undefined)[] = [];
  const stranger = createServer((request, response) => {
    seen.push(request.headers.authorization);
    response.writeHead(401).end();
  }).listen(0, '127.0.0.1');
  await once(stranger, 'listening');
  const liar = createServer((_request, response) => {
    const upstream = { url: `ws://127.0.0.1:${(stranger.address() as AddressInfo).port}` };
    response.end(
      JSON.stringify({ nodeId: 'f'.repeat(40), upstream, masters: [{ ...upstream, nodeId: null }] }),
    );
  }).listen(0, '127.0.0.1');
  await once(liar, 'listening');
  t.after(() => [stranger, liar].map((server) => server.close()));
  const node = await nodes.start('node');
  const { status } = await replicaOf(nodes, node, `ws://127.0.0.1:${(liar.address() as AddressInfo).port}`);
  assert.equal(status, 202);
  assert.ok(seen.length > 0);
  assert.deepEqual(new Set(seen), new Set([undefined]));
});
