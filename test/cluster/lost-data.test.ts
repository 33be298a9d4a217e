/** A node whose data are lost does not begin anew, as an empty master, beside what a target still has of them. */
import assert from 'node:assert/strict';
import { existsSync, mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import { createToken } from '../../src/access/tokens/tokens.ts';
import { until } from '../../src/cli/until.ts';
import { Client } from '../../src/client/rest.ts';
import { refuseLostData } from '../../src/lost-data.ts';
import type { BackupTarget, TargetObject } from '../../src/node/ports/backup-target.ts';
import { loadSettings } from '../../src/settings/load.ts';
import { failed, psyncd } from '../support/backups.ts';
import { Cluster } from '../support/cluster.ts';
import { BUCKET, FakeS3 } from '../support/fake-s3.ts';

/** Waits until a target has an object whose name is like this. */
function hasOne(folder: string, name: RegExp): Promise<string> {
  return until(`there is ${name}`, () =>
    readdirSync(folder, { recursive: true })
      .map(String)
      .find((each) => name.test(each)),
  );
}

function serve(...flags: readonly string[]): ReturnType<typeof psyncd> {
  return psyncd(['serve', '--port', '0', ...flags]);
}

/** @returns the arguments of the command that a message advises, as a shell would take them */
function advised(message: string): readonly string[] {
  const [, command = ''] = /: psyncd (restore [^;]+);/.exec(message) ?? [];
  return command.split(' ').map((word) => word.replace(/^'(.*)'$/, '$1'));
}

/** A target whose list never ends. @param names of the objects that it shows before */
function endlessTarget(...names: readonly string[]): BackupTarget {
  async function* list(): AsyncGenerator<TargetObject> {
    yield* names.map((name) => ({ name, size: 1, modified: 1 }));
    await new Promise(() => undefined);
  }
  return { shown: 'endless', list } as unknown as BackupTarget;
}

test('a master whose data folder is gone does not begin anew beside its archive, and the command that it names brings all back', async (t) => {
  const cluster = await Cluster.create(t);
  const [target, data] = [cluster.data('target'), cluster.data('node')];
  mkdirSync(target);
  for (const flags of [['--cluster', 'shop'], []]) {
    const first = await cluster.start('node', ...flags, '--archive-to', target);
    // Without a backup, a stop does not wait for the archive.
    await until('the archive has a backup', async () => {
      return (await first.client.replication()).archive?.hasBase === true;
    });
    await first.client.set('k', 'v');
    await first.stop();
    rmSync(data, { recursive: true });
    const refused = await serve('--data', data, ...flags, '--archive-to', target);
    failed(refused, 1, /no data in .*node, but .*target \(--archive-to\) has some of .*newest backup/);
    assert.match(refused.stderr, /--replica-of ws:.*another --cluster/);
    assert.ok(!existsSync(data));
    failed(
      await serve('--data', data, ...flags, '--archive-to', target, '--replica-of', 'no-one'),
      1,
      /no data/,
    );
    const restored = await psyncd(advised(refused.stderr));
    assert.equal(restored.code, 0, restored.stderr);
    const second = await cluster.start('node', ...flags, '--archive-to', target);
    assert.equal(String(Buffer.from((await second.client.get('k')) ?? [])), 'v');
    await second.stop();
    rmSync(data, { recursive: true });
    rmSync(target, { recursive: true });
    mkdirSync(target);
  }
});

test('a target that has only backups, in a bucket, is found too, and the newest backup is named as restore takes it', async (t) => {
  const cluster = await Cluster.create(t);
  const fake = await FakeS3.start(t);
  const flags = ['--backup-to', `s3://${BUCKET}/prod`, '--backup-every', '1s'];
  const first = await cluster.startWith(fake.env, 'node', ...flags);
  for (const count of [1, 2]) {
    await first.client.set('k', String(count));
    await until('there is a backup', () => fake.objects.size >= count);
  }
  await first.stop();
  const data = cluster.data('node');
  rmSync(data, { recursive: true });
  const refused = await psyncd(['serve', '--port', '0', '--data', data, ...flags], fake.env);
  failed(refused, 1, /no data in .*, but s3:.* \(--backup-to\) has some of/);
  const restored = await psyncd(advised(refused.stderr), fake.env);
  assert.equal(restored.code, 0, restored.stderr);
  const second = await cluster.startWith(fake.env, 'node', ...flags);
  assert.equal(String(Buffer.from((await second.client.get('k')) ?? [])), '2');
});

test('a node whose tokens are lost with its data does not let everybody in, and is told that it needs them', async (t) => {
  const cluster = await Cluster.create(t);
  const [target, data] = [cluster.data('target'), cluster.data('node')];
  mkdirSync(target);
  const wanted = { name: 'admin', rights: ['admin'], prefixes: null, expiresAt: null } as const;
  const { text } = await createToken(join(data, 'tokens.json'), wanted, Date.now());
  const node = await cluster.start('node', '--archive-to', target);
  await new Client(node.url, { token: text }).set('k', 'v');
  await hasOne(target, /guarded$/);
  await node.stop();
  rmSync(data, { recursive: true });
  failed(
    await serve('--data', data, '--archive-to', target),
    1,
    /Its nodes need tokens: .*node\/tokens\.json/,
  );
  const list = cluster.data('tokens.json');
  await createToken(list, wanted, Date.now());
  const { stderr } = await serve('--data', data, '--archive-to', target, '--tokens-file', list);
  assert.match(stderr, /no data in /);
  assert.doesNotMatch(stderr, /tokens/);
});

test('a replica whose tokens are lost with its data does not let everybody in, unless it is to', async (t) => {
  const cluster = await Cluster.create(t);
  const [target, data] = [cluster.data('target'), cluster.data('replica')];
  mkdirSync(target);
  const wanted = { name: 'admin', rights: ['admin'], prefixes: null, expiresAt: null } as const;
  const { text } = await createToken(join(cluster.data('master'), 'tokens.json'), wanted, Date.now());
  const token = cluster.data('token');
  writeFileSync(token, `${text}\n`, { mode: 0o600 });
  const master = await cluster.start('master', '--archive-to', target);
  await new Client(master.url, { token: text }).set('k', 'v');
  await hasOne(target, /guarded$/);
  const flags = ['--archive-to', target, '--replica-of', master.wsUrl, '--upstream-token-file', token];
  const refused = await serve('--data', data, ...flags);
  failed(refused, 1, /nodes of the cluster psyncd need tokens, .*guarded.*there is no .*tokens\.json/);
  assert.ok(!existsSync(data));
  const open = await cluster.start('open', ...flags, '--allow-anonymous');
  assert.equal((await open.client.replication()).role, 'replica');
  await createToken(join(data, 'tokens.json'), wanted, Date.now());
  const replica = await cluster.start('replica', ...flags);
  assert.equal((await fetch(`${replica.url}/v1/keys`)).status, 401);
});

test('replicas, other clusters, unused targets and nodes with data begin as always', async (t) => {
  const cluster = await Cluster.create(t);
  const [target, unused] = [cluster.data('target'), cluster.data('unused')];
  for (const folder of [target, unused]) mkdirSync(folder);
  const to = ['--archive-to', target, '--backup-to', target];
  const master = await cluster.start('master', '--cluster', 'shop', ...to);
  await hasOne(target, /\.db$/);
  const replica = await cluster.start('replica', '--cluster', 'shop', ...to, '--replica-of', master.wsUrl);
  const lost = cluster.data('not-mounted');
  await cluster.start('second', '--archive-to', lost, '--replica-of', master.wsUrl);
  await replica.stop();
  const again = await cluster.start('replica', '--cluster', 'shop', ...to);
  assert.equal((await again.client.replication()).role, 'replica');
  await cluster.start('other-cluster', '--cluster', 'stock', ...to);
  await cluster.start('other-target', '--cluster', 'shop', '--archive-to', unused);
  await master.stop();
  // A target that is away concerns only those who begin anew.
  rmSync(target, { recursive: true });
  const same = await cluster.restart('master', master, '--cluster', 'shop', ...to);
  assert.equal((await same.client.replication()).role, 'master');
});

test('a node without data does not begin before its target says that it has none of them either', async (t) => {
  const cluster = await Cluster.create(t);
  const data = cluster.data('node');
  const away = cluster.data('not-mounted');
  const why =
    /no data in .*node, and .*\(--backup-to\).* cannot be asked .*no such folder.*leave --backup-to out/;
  failed(await serve('--data', data, '--backup-to', away), 1, why);
  assert.ok(!existsSync(data));
  mkdirSync(away);
  await cluster.start('node', '--backup-to', away);
});

test('a data folder that cannot be one is refused in one line, as without a target', async (t) => {
  const cluster = await Cluster.create(t);
  const [target, data] = [cluster.data('target'), cluster.data('node')];
  mkdirSync(target);
  writeFileSync(data, 'Dear');
  failed(await serve('--data', data, '--backup-to', target), 1, /node is not a folder; choose another/);
});

test('a target that never answers is given up in time, and one that never ends is refused for what it has shown', async (t) => {
  const cluster = await Cluster.create(t);
  const settings = loadSettings({ data: cluster.data('node'), archiveTo: cluster.data('target') }, {}, null);
  await assert.rejects(
    refuseLostData(settings, { withinMs: 20, open: async () => endlessTarget() }),
    /cannot be asked .*: it has not answered within 0\.02 s/,
  );
  const name = `psyncd/${'a'.repeat(40)}/1-100.resp.zst`;
  await assert.rejects(
    refuseLostData(settings, { withinMs: 20, open: async () => endlessTarget(name) }),
    /has some of its cluster psyncd: /,
  );
  const backup = `psyncd/${'a'.repeat(40)}/100-20261129T060000Z.db`;
  await assert.rejects(
    refuseLostData(settings, { withinMs: 20, open: async () => endlessTarget(backup) }),
    // Nobody knows whether it is the newest one.
    ({ message }: Error) => /such as the backup psyncd\/aaa/.test(message) && !message.includes('newest'),
  );
});
