/** TLS between nodes: whom a replica trusts, what it shows, and what it says when that does not fit. */
import assert from 'node:assert/strict';
import { mkdirSync, readFileSync, rmdirSync, rmSync } from 'node:fs';
import test, { type TestContext } from 'node:test';
import type { ChildNode } from '../../src/cli/child-node.ts';
import { until } from '../../src/cli/until.ts';
import { Client, type ReplicationAnswer } from '../../src/client/rest.ts';
import { nodeTransport } from '../../src/client-node/transport.ts';
import { Certificates, LOCAL_NAMES, replaceFile, tlsFlags } from '../support/certificates.ts';
import { Cluster, linkState, textOf } from '../support/cluster.ts';
import { type Identity, tlsCall } from '../support/tls-call.ts';

interface Stage {
  readonly cluster: Cluster;
  readonly certificates: Certificates;
  /** Path of the CA of all nodes. */
  readonly ca: string;
}

async function staged(t: TestContext): Promise<Stage> {
  const [cluster, certificates] = [await Cluster.create(t), await Certificates.create(t)];
  return { cluster, certificates, ca: certificates.path('ca.crt') };
}

/** Starts a master with TLS that holds one entry. */
async function master(
  { cluster, certificates, ca }: Stage,
  san = LOCAL_NAMES,
  ...flags: string[]
): Promise<ChildNode> {
  const node = await cluster.start('master', ...tlsFlags(certificates.make('master', { san })), ...flags);
  const identity = { ca, pair: certificates.make('writer', { san: null }) };
  // The name in the certificate is not what this client is about.
  if (san === LOCAL_NAMES) await tlsCall(`${node.url}/v1/keys/greeting`, identity, 'PUT', 'hello');
  return node;
}

function replicationOf(node: ChildNode, identity: Identity): Promise<ReplicationAnswer> {
  return tlsCall(`${node.url}/v1/replication`, identity).then(({ body }) => JSON.parse(body));
}

/** @returns the detail of the link, once its state is `tls` and the detail fits */
async function refusedTls(node: ChildNode, detail: RegExp): Promise<string> {
  return until(`the link says ${detail}`, async () => {
    const { upstream } = await node.client.replication();
    return upstream?.state === 'tls' && detail.test(upstream.detail ?? '') && upstream.detail;
  });
}

test('a replica follows a master with TLS whose CA it knows, and redirects writes to https', async (t) => {
  const stage = await staged(t);
  const node = await master(stage);
  const replica = await stage.cluster.start('replica', '--replica-of', node.wsUrl, '--upstream-ca', stage.ca);
  await linkState(replica, 'streaming');
  await until('the entry has come', async () => (await textOf(replica, 'greeting')) === 'hello');
  const refused = await fetch(`${replica.url}/v1/keys/a`, { method: 'PUT', body: 'x', redirect: 'manual' });
  assert.equal(refused.status, 307);
  assert.equal(refused.headers.get('location'), `${node.url}/v1/keys/a`);
  const digest = await fetch(`${replica.url}/v1/digest?against=${encodeURIComponent(node.wsUrl)}`);
  assert.equal(digest.status, 200);
});

test('a master that requires certificates takes the replica that shows one', async (t) => {
  const stage = await staged(t);
  const required = ['--tls-client-ca', stage.ca, '--tls-client-auth', 'required'];
  const node = await master(stage, LOCAL_NAMES, ...required);
  const { cert, key } = stage.certificates.make('replica', { san: null });
  const following = ['--replica-of', node.wsUrl, '--upstream-ca', stage.ca, '--upstream-ca-only'];
  const without = await stage.cluster.start('without', ...following);
  await refusedTls(without, /certificate required.*--upstream-cert FILE shows one$/);
  const shown = ['--upstream-cert', cert, '--upstream-key', key];
  const replica = await stage.cluster.start('replica', ...following, ...shown);
  await linkState(replica, 'streaming');
});

test('a replica that does not know the CA says so, names its file in the log only, serves its data, and recovers', async (t) => {
  const stage = await staged(t);
  const node = await master(stage);
  stage.certificates.ca('foreign');
  const trusted = stage.certificates.bundle('trusted', stage.ca);
  const flags = ['--replica-of', node.wsUrl, '--upstream-ca', trusted, '--upstream-ca-only'];
  const before = await stage.cluster.start('replica', ...flags);
  await linkState(before, 'streaming');
  await before.stop();
  replaceFile(trusted, 'garbage');
  const replica = await stage.cluster.restart('replica', before, ...flags);
  await refusedTls(replica, /^--upstream-ca: it has no certificate in PEM/);
  stage.certificates.bundle('trusted', stage.certificates.path('foreign.crt'));
  const detail = await refusedTls(replica, /not trusted/);
  assert.match(detail, /; the file of --upstream-ca does not have its CA$/);
  rmSync(trusted);
  await refusedTls(replica, /^--upstream-ca: there is no such file$/);
  mkdirSync(trusted);
  await refusedTls(replica, /^--upstream-ca: it is a folder$/);
  rmdirSync(trusted);
  assert.ok(replica.log.includes(`--upstream-ca ${trusted}: there is no such file`));
  assert.equal(await textOf(replica, 'greeting'), 'hello');
  stage.certificates.bundle('trusted', stage.certificates.path('foreign.crt'), stage.ca);
  await linkState(replica, 'streaming');
  const { counters } = await replicationOf(node, stage);
  assert.deepEqual([counters.syncFull, counters.syncPartialOk], [1, 1]);
});

test('a master whose certificate is for another name is refused, and the link names both', async (t) => {
  const stage = await staged(t);
  const node = await master(stage, 'DNS:other.example');
  const replica = await stage.cluster.start('replica', '--replica-of', node.wsUrl, '--upstream-ca', stage.ca);
  await refusedTls(replica, /^the certificate of the upstream is for another name: .*127\.0\.0\.1/);
});

test('a master whose certificate no CA has signed is trusted by that certificate', async (t) => {
  const stage = await staged(t);
  const pair = stage.certificates.make('self', { ca: 'self' });
  const node = await stage.cluster.start('master', ...tlsFlags(pair));
  const flags = ['--replica-of', node.wsUrl, '--upstream-ca'];
  const without = await stage.cluster.start('without', ...flags, stage.ca);
  await refusedTls(without, /not trusted: .*SELF_SIGNED/);
  const replica = await stage.cluster.start('replica', ...flags, pair.cert);
  await linkState(replica, 'streaming');
});

test('no variable of Node turns the check of the master off', async (t) => {
  const stage = await staged(t);
  const node = await master(stage);
  const pair = stage.certificates.make('self', { ca: 'self' });
  const replica = await stage.cluster.startWith(
    { NODE_TLS_REJECT_UNAUTHORIZED: '0' },
    'replica',
    ...['--replica-of', node.wsUrl, '--upstream-ca', pair.cert],
  );
  await refusedTls(replica, /not trusted/);
  assert.match(replica.log, /"name":"NODE_TLS_REJECT_UNAUTHORIZED".*variable-ignored/);
});

test('psyncd/client with certificates checks the node whatever the variables of Node say', async (t) => {
  const stage = await staged(t);
  const node = await master(stage);
  const self = stage.certificates.make('self', { ca: 'self' });
  const before = process.env.NODE_TLS_REJECT_UNAUTHORIZED;
  t.after(() => {
    if (before === undefined) delete process.env.NODE_TLS_REJECT_UNAUTHORIZED;
    else process.env.NODE_TLS_REJECT_UNAUTHORIZED = before;
  });
  process.env.NODE_TLS_REJECT_UNAUTHORIZED = '0';
  const transport = nodeTransport({ ca: readFileSync(self.cert) });
  await assert.rejects(new Client(node.url, { transport }).replication(), TypeError);
});

test('a replica does not show a certificate that has expired, and says so', async (t) => {
  const stage = await staged(t);
  const node = await master(stage);
  const { cert, key } = stage.certificates.make('old', { fromDays: -2, toDays: -1 });
  const shown = ['--upstream-cert', cert, '--upstream-key', key, '--upstream-ca', stage.ca];
  const replica = await stage.cluster.start('replica', '--replica-of', node.wsUrl, ...shown);
  await refusedTls(replica, /^--upstream-cert: the certificate has expired at /);
});

test('a wss URL to a node without TLS: the upstream does not speak TLS', async (t) => {
  const stage = await staged(t);
  const plain = await stage.cluster.start('plain');
  const url = `wss://127.0.0.1:${plain.port}`;
  const replica = await stage.cluster.start('replica', '--replica-of', url, '--upstream-ca', stage.ca);
  await refusedTls(replica, /^the upstream does not speak TLS: its URL begins with ws:\/\/$/);
});

test('a ws URL to a node with TLS is a link that says so', async (t) => {
  const stage = await staged(t);
  const node = await master(stage);
  const replica = await stage.cluster.start('replica', '--replica-of', `ws://127.0.0.1:${node.port}`);
  await refusedTls(replica, /^the upstream speaks TLS: its URL begins with wss:\/\/$/);
});

test('the role of the master is handed over between nodes with TLS', async (t) => {
  const stage = await staged(t);
  const upstream = ['--upstream-ca', stage.ca];
  const node = await master(stage, LOCAL_NAMES, ...upstream);
  const flags = [...tlsFlags(stage.certificates.make('replica')), ...upstream, '--replica-of', node.wsUrl];
  const replica = await stage.cluster.start('replica', ...flags);
  await until('the link streams', async () => {
    const answer = await replicationOf(replica, stage);
    return answer.upstream?.state === 'streaming';
  });
  const answer = await tlsCall(`${node.url}/v1/replication/failover`, stage, 'POST', '{}', {
    'content-type': 'application/json',
  });
  assert.equal(JSON.parse(answer.body).master, replica.wsUrl);
  await until('the old master follows', async () => {
    const { upstream } = await replicationOf(node, stage);
    return upstream?.url === replica.wsUrl && upstream.state === 'streaming';
  });
  assert.equal((await tlsCall(`${replica.url}/v1/keys/greeting`, stage)).body, 'hello');
});
