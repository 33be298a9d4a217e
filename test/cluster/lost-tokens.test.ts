/** A node whose tokens are lost lets nobody in, instead of everybody. */
import assert from 'node:assert/strict';
import { chmodSync, existsSync, mkdirSync, renameSync, rmSync, statSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import { createToken } from '../../src/access/tokens/tokens.ts';
import { until } from '../../src/cli/until.ts';
import { Client } from '../../src/client/rest.ts';
import { psyncd } from '../support/backups.ts';
import { Cluster } from '../support/cluster.ts';
import { call, trusting } from '../support/trusting.ts';

const WANTED = { name: 'test', prefixes: null, expiresAt: null } as const;

function make(file: string, rights: readonly string[]): Promise<string> {
  return createToken(file, { ...WANTED, rights }, Date.now()).then(({ text }) => text);
}

test('a node whose tokens are lost does not start open, and says what to do', async (t) => {
  const cluster = await Cluster.create(t);
  const folder = cluster.data('node');
  const file = join(folder, 'tokens.json');
  const token = await make(file, ['admin']);
  const node = await cluster.start('node');
  await new Client(node.url, { token }).set('k', 'v');
  await until('it is noted', () => existsSync(join(folder, 'guarded')));
  await node.stop();
  renameSync(file, `${file}.away`);
  await assert.rejects(
    cluster.start('node'),
    /this node needs tokens, and there is no .*tokens\.json: put it back from a copy, .*remove .*guarded/,
  );
  await assert.rejects(cluster.start('node', '--allow-anonymous'), /this node needs tokens/);
  renameSync(`${file}.away`, file);
  const again = await cluster.start('node');
  assert.equal((await call(again, token, 'GET', '/v1/keys/k')).status, 200);
  await again.stop();
  // The way out.
  rmSync(file);
  rmSync(join(folder, 'guarded'));
  const open = await cluster.start('node');
  assert.equal((await call(open, null, 'GET', '/v1/keys/k')).status, 200);
});

test('a node that got its first token while it ran, or took JWTs, does not start open either', async (t) => {
  const { cluster, node, issuer } = await trusting(t);
  assert.equal((await call(node, await issuer.sign(), 'GET', '/v1/keys')).status, 200);
  await until('it is noted', () => existsSync(join(cluster.data('node'), 'guarded')));
  await node.stop();
  await assert.rejects(cluster.start('node'), /this node needs tokens/);
  const open = await cluster.start('open');
  const file = join(cluster.data('open'), 'tokens.json');
  await make(file, ['read']);
  await until('it is noted', () => existsSync(join(cluster.data('open'), 'guarded')));
  await open.stop();
  rmSync(file);
  await assert.rejects(cluster.start('open'), /this node needs tokens/);
});

test('a node without tokens notes nothing', async (t) => {
  const cluster = await Cluster.create(t);
  const node = await cluster.start('node');
  await node.client.set('k', 'v');
  await node.stop();
  assert.ok(!existsSync(join(cluster.data('node'), 'guarded')));
});

test('a node whose list of tokens is a link to a file that is not there does not start open, not even for the first time', async (t) => {
  const cluster = await Cluster.create(t);
  const folder = cluster.data('node');
  mkdirSync(folder, { mode: 0o700 });
  const target = join(folder, '..', 'not-mounted.json');
  symlinkSync(target, join(folder, 'tokens.json'));
  const why = /tokens\.json.*: it is a symbolic link to a file that is not there/;
  await assert.rejects(cluster.start('node'), why);
  await assert.rejects(cluster.start('node', '--allow-anonymous'), why);
  assert.match((await psyncd(['config', 'check', '--data', folder])).stderr, why);
  await make(target, ['read']);
  const node = await cluster.start('node');
  assert.equal((await call(node, null, 'GET', '/v1/keys')).status, 401);
});

test('a node warns of a data folder in which everybody on the machine may write, and leaves its mode', async (t) => {
  const cluster = await Cluster.create(t);
  for (const [mode, warns] of [
    [0o777, true],
    [0o770, false],
  ] as const) {
    const folder = cluster.data(`mode${mode}`);
    mkdirSync(folder);
    chmodSync(folder, mode);
    const node = await cluster.start(`mode${mode}`);
    await until('it has started', () => node.log.includes('"started"'));
    assert.equal(node.log.includes('data-folder-is-open'), warns);
    assert.equal(statSync(folder).mode & 0o777, mode);
    await node.stop();
  }
});
