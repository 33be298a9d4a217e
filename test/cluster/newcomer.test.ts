/** What somebody is told who has set up a token or TLS on one side only: the cause, and what to do. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { copyFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import { createToken } from '../../src/access/tokens/tokens.ts';
import type { ChildNode } from '../../src/cli/child-node.ts';
import { until } from '../../src/cli/until.ts';
import { Client } from '../../src/client/rest.ts';
import { Certificates, LOCAL_NAMES, tlsFlags } from '../support/certificates.ts';
import { Cluster } from '../support/cluster.ts';
import { MAIN } from '../support/main-file.ts';

const WANTED = { name: 'test', prefixes: null, expiresAt: null } as const;

/** @returns what the command writes to standard error */
function complaintOf(words: readonly string[], environment: Record<string, string> = {}): Promise<string> {
  const env = { ...process.env, ...environment };
  return new Promise((resolve) => {
    execFile(process.execPath, [MAIN, ...words], { env }, (_error, _stdout, stderr) => resolve(stderr));
  });
}

/** @returns the detail of the link, once its state is `tls` */
async function tlsDetailOf(replica: ChildNode): Promise<string> {
  return until('the state of the link is tls', async () => {
    const { upstream } = await replica.client.replication();
    return upstream?.state === 'tls' && upstream.detail;
  });
}

test('an import at a replica that does not tell its master says to name the master', async (t) => {
  const cluster = await Cluster.create(t);
  const file = join(cluster.data('master'), 'tokens.json');
  const make = async (...rights: readonly string[]): Promise<string> =>
    (await createToken(file, { ...WANTED, rights }, Date.now())).text;
  const [admin, writer, replicate] = [await make('admin'), await make('write'), await make('replicate')];
  const master = await cluster.start('master');
  const folder = join(cluster.data('master'), '..');
  writeFileSync(join(folder, 'token'), replicate);
  const flags = ['--replica-of', master.wsUrl, '--upstream-token-file', join(folder, 'token')];
  const replica = await cluster.start('replica', ...flags);
  copyFileSync(file, join(cluster.data('replica'), 'tokens.json'));
  const client = new Client(replica.url, { token: admin });
  const isReplica = async (): Promise<boolean> =>
    (await client.replication()).role === 'replica' && (await fetch(`${replica.url}/v1/keys`)).status === 401;
  await until('it needs tokens', isReplica);
  writeFileSync(join(folder, 'in'), '{"key":"a","value":"b"}\n');
  const words = ['import', join(folder, 'in'), '--node'];
  const complaint = await complaintOf([...words, replica.url], { PSYNCD_TOKEN: writer });
  assert.match(
    complaint,
    /is a replica, and this token may not ask it for its master .*--node names the master/,
  );
  assert.equal(await complaintOf([...words, master.url], { PSYNCD_TOKEN: writer }), '');
});

test('a command and a replica that go to a port with TLS without it say so', async (t) => {
  const [cluster, certificates] = [await Cluster.create(t), await Certificates.create(t)];
  const master = await cluster.start('master', ...tlsFlags(certificates.make('master')));
  const plain = master.url.replace('https:', 'http:');
  assert.match(
    await complaintOf(['get', 'a', '--node', plain]),
    /is a port with TLS: .* begins with https:\/\//,
  );
  const replica = await cluster.start('replica', '--replica-of', plain.replace('http:', 'ws:'));
  assert.equal(await tlsDetailOf(replica), 'the upstream speaks TLS: its URL begins with wss://');
});

test('a replica whose certificate the master does not trust says so', async (t) => {
  const [cluster, certificates] = [await Cluster.create(t), await Certificates.create(t)];
  const ca = certificates.path('ca.crt');
  certificates.ca('foreign');
  const required = ['--tls-client-ca', ca, '--tls-client-auth', 'required'];
  const master = await cluster.start(
    'master',
    ...tlsFlags(certificates.make('master', { san: LOCAL_NAMES })),
    ...required,
  );
  const { cert, key } = certificates.make('stranger', { ca: 'foreign', san: null });
  const flags = ['--upstream-ca', ca, '--upstream-cert', cert, '--upstream-key', key];
  const replica = await cluster.start('replica', '--replica-of', master.wsUrl, ...flags);
  assert.match(
    await tlsDetailOf(replica),
    /(?:the upstream may not trust|this node shows) the certificate of --upstream-cert$/,
  );
});
