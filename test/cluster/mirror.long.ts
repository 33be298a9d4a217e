/** Mirrors of real nodes: what they hold is what the nodes hold, whatever happens in between. */
import assert from 'node:assert/strict';
import test, { type TestContext } from 'node:test';
import type { ChildNode } from '../../src/cli/child-node.ts';
import { type Mirror, mirror } from '../../src/client/mirror/mirror.ts';
import type { MirrorOptions } from '../../src/client/mirror/mirror-options.ts';
import { memoryStorage } from '../../src/client/mirror/storage.ts';
import { byteProxy } from '../support/byte-proxy.ts';
import { Cluster, converged, linkState, writeMany } from '../support/cluster.ts';
import { seeded } from '../support/random.ts';

function open(t: TestContext, options: MirrorOptions): Mirror {
  const opened = mirror({ retryBaseMs: 10, retryMaxMs: 100, ...options });
  t.after(() => opened.close());
  return opened;
}

/** What a copy and a node can be compared by. */
type Plain = readonly (readonly [key: string, value: string, version: number, expiresAt: number | null])[];

function held(copy: Mirror): Plain {
  return [...copy.entries()]
    .map(({ key, value, version, expiresAt }) => [key, base64(value), version, expiresAt] as const)
    .sort(byKey);
}

async function exported(node: ChildNode, prefix = ''): Promise<Plain> {
  const { lines } = await node.client.export(prefix);
  const text = await new Response(lines).text();
  const entries = text.split('\n').filter((line) => line !== '');
  return entries
    .map((line) => JSON.parse(line))
    .map(({ key, value, encoding, version, expiresAt }) => {
      return [key, Buffer.from(value, encoding).toString('base64'), version, expiresAt] as const;
    })
    .sort(byKey);
}

function base64(value: string | Uint8Array): string {
  return Buffer.from(value).toString('base64');
}

function byKey([left]: readonly [string, ...unknown[]], [right]: readonly [string, ...unknown[]]): number {
  return left < right ? -1 : 1;
}

async function batch(node: ChildNode, ops: readonly object[]): Promise<string> {
  const response = await fetch(`${node.url}/v1/batch`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ ops }),
  });
  assert.ok(response.ok, `${response.status}`);
  return ((await response.json()) as { position: string }).position;
}

/** Waits until the mirror is where the node is, and compares. */
async function same(copy: Mirror, node: ChildNode, prefix = ''): Promise<void> {
  const { position } = await node.client.replication();
  await copy.waitFor(position, { signal: AbortSignal.timeout(30_000) });
  assert.deepEqual(held(copy), await exported(node, prefix));
}

test('a mirror of a replica has the entries that are written on the master under its prefixes, and no others', async (t) => {
  const cluster = await Cluster.create(t);
  const master = await cluster.start('master');
  const replica = await cluster.start('replica', '--replica-of', master.wsUrl);
  await linkState(replica, 'streaming');
  await writeMany(master, 'user:', 3);
  const copy = open(t, { url: replica.url, prefix: ['user:', 'user:1', 'order:'] });
  await copy.ready;
  await master.client.set('other', 'x');
  await master.client.set('order:1', new Uint8Array([0, 255]));
  const position = await batch(master, [
    { op: 'set', key: 'order:2', value: 'ü', ttl: 3_600 },
    { op: 'delete', key: 'user:0' },
    { op: 'set', key: 'other', value: 'y' },
    { op: 'expire', key: 'user:1', ttl: 3_600 },
  ]);
  await copy.waitFor(position);
  assert.deepEqual([...copy.keys()].sort(), ['order:1', 'order:2', 'user:1', 'user:2']);
  const [users, orders] = await Promise.all([exported(replica, 'user:'), exported(replica, 'order:')]);
  assert.deepEqual(held(copy), [...orders, ...users]);
  // Something that is not of its prefixes moves it on all the same.
  const written = await master.client.set('other', 'z');
  await copy.waitFor(written.position, { signal: AbortSignal.timeout(30_000) });
  assert.equal(copy.has('other'), false);
});

test('a mirror sees each change once, however often its connection is cut', async (t) => {
  const node = await (await Cluster.create(t)).start('node', '--backlog-size', '16kb');
  const { seed, random } = seeded();
  t.diagnostic(`PSYNCD_SEED=${seed}`);
  const chance = (below: number): number => Math.floor(random() * below);
  const proxy = await byteProxy(t, node.port, () => (proxy.breaks < 30 ? 200 + chance(3_000) : null));
  await writeMany(node, 'old', 40);
  const told: string[] = [];
  const copy = open(t, {
    url: proxy.wsUrl,
    onChange: ({ changes }) => told.push(...changes.map(({ key, entry }) => `${key} ${entry?.version}`)),
  });
  for (let round = 0; proxy.breaks < 30; round += 1) {
    await node.client.set(`k${chance(10)}`, `${round}`.padEnd(chance(300), '.'));
    if (chance(40) === 0) await node.client.delete(`k${chance(10)}`);
    if (chance(40) === 0)
      await batch(
        node,
        [0, 1, 2].map((index) => ({ op: 'set', key: `k${index}`, value: `${round}` })),
      );
  }
  await same(copy, node);
  const sets = told.filter((line) => !line.endsWith('undefined'));
  assert.equal(new Set(sets).size, sets.length, 'a change was told twice');
});

test('a mirror behind the backlog gets a snapshot, and serves its old copy until then', async (t) => {
  const cluster = await Cluster.create(t);
  const node = await cluster.start('node', '--backlog-size', '16kb');
  const proxy = await cluster.proxy(node);
  await writeMany(node, 'k', 5);
  const copy = open(t, { url: proxy.wsUrl });
  await copy.ready;
  const resets: string[] = [];
  copy.on('reset', ({ reason }) => {
    resets.push(reason);
    assert.equal(copy.get('k0'), 'v0');
  });
  proxy.cut();
  await node.client.delete('k0');
  await node.client.set('k1', 'x'.repeat(20_000));
  proxy.restore();
  await same(copy, node);
  assert.deepEqual(resets, ['behind-backlog']);
});

test('a mirror continues on the promoted node, and waits for the writes from before the promotion', async (t) => {
  const cluster = await Cluster.create(t);
  const master = await cluster.start('master');
  const replica = await cluster.start('replica', '--replica-of', master.wsUrl);
  await writeMany(master, 'k', 5);
  await converged(master, replica);
  const copy = open(t, { urls: [master.url, replica.url] });
  await copy.ready;
  const resets: string[] = [];
  copy.on('reset', ({ reason }) => resets.push(reason));
  const written = await master.client.set('before', 'promotion');
  await converged(master, replica);
  await master.stop('SIGKILL');
  await replica.client.promote();
  await replica.client.set('after', 'promotion');
  await same(copy, replica);
  await copy.waitFor(written.position, { signal: AbortSignal.timeout(30_000) });
  const [runId, offset] = written.position.split(':');
  const lost = `${runId}:${Number(offset) + 1_000}`;
  await assert.rejects(copy.waitFor(lost, { signal: AbortSignal.timeout(30_000) }), {
    name: 'LostPositionError',
  });
  assert.deepEqual(resets, []);
});

test('the followers of a replica that gets a full resync get a snapshot too, on the same connection', async (t) => {
  const cluster = await Cluster.create(t);
  const [master, other] = [await cluster.start('master'), await cluster.start('other')];
  await writeMany(master, 'k', 3);
  await writeMany(other, 'other', 2);
  const replica = await cluster.start('replica', '--replica-of', master.wsUrl);
  await converged(master, replica);
  const copy = open(t, { url: replica.url });
  await copy.ready;
  const told: string[] = [];
  copy.on('reset', ({ reason }) => told.push(reason));
  copy.on('state', ({ kind }) => told.push(kind));
  await replica.client.replicaOf(other.wsUrl);
  await converged(other, replica);
  await same(copy, replica);
  assert.deepEqual([...copy.keys()].sort(), ['other0', 'other1']);
  assert.deepEqual(told, ['unknown-run-id', 'syncing', 'live']);
});

test('a mirror that was closed and stored continues from its position without a reset', async (t) => {
  const node = await (await Cluster.create(t)).start('node');
  await writeMany(node, 'k', 50);
  const storage = memoryStorage();
  const first = open(t, { url: node.url, storage });
  await first.ready;
  await first.close();
  await node.client.set('k0', 'while it was away');
  const second = open(t, { url: node.url, storage });
  let resets = 0;
  second.on('reset', () => {
    resets += 1;
  });
  await same(second, node);
  assert.equal(resets, 0);
});

test('a mirror that resumes is ready once it has the writes from the time when it was away', async (t) => {
  const node = await (await Cluster.create(t)).start('node');
  const storage = memoryStorage();
  const first = open(t, { url: node.url, prefix: 'k', storage });
  await first.ready;
  await first.close();
  await writeMany(node, 'k', 300);
  // The last thing that it lacks is a change of its own, or not.
  for (const key of ['k0', 'other']) {
    const { position } = await node.client.set(key, 'last');
    const copy = open(t, { url: node.url, prefix: 'k', storage });
    await copy.ready;
    assert.deepEqual([copy.position, copy.state.kind, copy.get('k0')], [position, 'live', 'last']);
    assert.deepEqual(held(copy), await exported(node, 'k'));
    await copy.close();
  }
});

test('an expired entry vanishes from the mirror at once, and on the node by the master’s DEL', async (t) => {
  const node = await (await Cluster.create(t)).start('node');
  const copy = open(t, { url: node.url });
  await copy.ready;
  const gone = new Promise<string>((resolve) => {
    copy.on('change', ({ changes }) => {
      for (const { key, entry } of changes) if (entry === null) resolve(key);
    });
  });
  assert.equal((await fetch(`${node.url}/v1/keys/short?ttl=0.2`, { method: 'PUT', body: 'v' })).status, 201);
  assert.equal(await gone, 'short');
  assert.equal(copy.has('short'), false);
});
