/** A restore opens no node: what was backed up of a node that needs tokens is served by none without. */
import assert from 'node:assert/strict';
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import { createToken } from '../../src/access/tokens/tokens.ts';
import { timeOfBase } from '../../src/archive/names.ts';
import { until } from '../../src/cli/until.ts';
import { Client } from '../../src/client/rest.ts';
import { failed, json, makeBackup, psyncd } from '../support/backups.ts';
import { Cluster } from '../support/cluster.ts';

const WANTED = { name: 'admin', rights: ['admin'], prefixes: null, expiresAt: null } as const;

test('a backup of a node with tokens, restored into a new folder, does not start without tokens', async (t) => {
  const cluster = await Cluster.create(t);
  const list = join(cluster.data('node'), 'tokens.json');
  const { text } = await createToken(list, WANTED, Date.now());
  const shown = cluster.data('token');
  const node = await cluster.start('node');
  writeFileSync(shown, `${text}\n`, { mode: 0o600 });
  const [remote, local] = [cluster.data('remote.db'), cluster.data('local.db')];
  json(await psyncd(['backup', remote, '--node', node.url, '--token-file', shown, '--json']));
  await node.stop();
  json(await psyncd(['backup', local, '--data', cluster.data('node'), '--json']));
  for (const [index, file] of [remote, local].entries()) {
    const folder = cluster.data(`restored-${index}`);
    const dry = await psyncd(['restore', file, folder, '--dry-run']);
    assert.match(
      dry.stdout,
      /does not start without tokens, because the one that was backed up had some: put /,
    );
    assert.ok(!existsSync(folder));
    const done = json(await psyncd(['restore', file, folder, '--json']));
    assert.deepEqual([done.needsTokens, (done.backup as Record<string, unknown>).guarded], [true, true]);
    failed(
      await psyncd(['serve', '--data', folder, '--port', '0']),
      1,
      /this node needs tokens, and there is no /,
    );
    writeFileSync(join(folder, 'tokens.json'), readFileSync(list), { mode: 0o600 });
    const restored = await cluster.start(`restored-${index}`);
    assert.equal((await fetch(`${restored.url}/v1/keys`)).status, 401);
    const headers = { authorization: `Bearer ${text}` };
    assert.equal((await fetch(`${restored.url}/v1/keys`, { headers })).status, 200);
    await restored.stop();
  }
});

test('a backup of a replica that shows its master a token does not start without tokens, though the replica is open', async (t) => {
  const cluster = await Cluster.create(t);
  const rights = ['replicate', 'write'] as const;
  const wanted = { ...WANTED, rights };
  const { text } = await createToken(join(cluster.data('master'), 'tokens.json'), wanted, Date.now());
  const shown = cluster.data('token');
  const master = await cluster.start('master');
  await new Client(master.url, { token: text }).set('k', 'v');
  writeFileSync(shown, `${text}\n`, { mode: 0o600 });
  const folder = cluster.data('backups');
  mkdirSync(folder);
  const replica = await cluster.start(
    'replica',
    ...['--replica-of', master.url.replace('http', 'ws'), '--upstream-token-file', shown],
    ...['--backup-to', folder, '--backup-every', '1s', '--backup-role', 'any'],
  );
  await until('it says so', () => replica.log.includes('replica-is-open'));
  const names = (): readonly string[] =>
    readdirSync(folder, { recursive: true, encoding: 'utf8' }).filter((each) => each.endsWith('.db'));
  await until('there is a backup', () => names().length > 0);
  const [name = ''] = names();
  const done = json(await psyncd(['restore', join(folder, name), cluster.data('restored'), '--json']));
  assert.deepEqual([done.needsTokens, (done.backup as Record<string, unknown>).guarded], [true, true]);
});

test('a backup of a node with tokens does not start without tokens, though everybody may make it', async (t) => {
  const cluster = await Cluster.create(t);
  const rights = ['replicate', 'write'] as const;
  const { text } = await createToken(
    join(cluster.data('node'), 'tokens.json'),
    { ...WANTED, rights },
    Date.now(),
  );
  const shown = cluster.data('token');
  writeFileSync(shown, `${text}\n`, { mode: 0o600 });
  const node = await cluster.start('node', '--anonymous-rights', 'replicate');
  const replica = await cluster.start(
    'replica',
    ...['--replica-of', node.url.replace('http', 'ws'), '--upstream-token-file', shown],
  );
  await new Client(node.url, { token: text }).set('k', 'v');
  for (const [index, { url }] of [node, replica].entries()) {
    const file = cluster.data(`backup-${index}.db`);
    json(await psyncd(['backup', file, '--node', url, '--json']));
    const done = json(await psyncd(['restore', file, cluster.data(`restored-${index}`), '--json']));
    assert.deepEqual([done.needsTokens, (done.backup as Record<string, unknown>).guarded], [true, true]);
  }
});

test('a backup of a node without tokens is restored into one without', async (t) => {
  const cluster = await Cluster.create(t);
  const file = cluster.data('backup.db');
  await makeBackup(file);
  const done = json(await psyncd(['restore', file, cluster.data('restored'), '--json']));
  assert.deepEqual(
    [
      done.needsTokens,
      (done.backup as Record<string, unknown>).guarded,
      (done.backup as Record<string, unknown>).format,
    ],
    [false, false, 1],
  );
  const restored = await cluster.start('restored');
  assert.equal((await fetch(`${restored.url}/v1/keys`)).status, 200);
});

test('a restore of a guarded backup that was killed anywhere leaves no open node, and can be done again', async (t) => {
  const cluster = await Cluster.create(t);
  const file = cluster.data('backup.db');
  await makeBackup(file, [], true);
  for (const point of ['restore-staged', 'restore-file', 'restore-switch', 'restore-switched']) {
    const folder = cluster.data(`at-${point}`);
    const faults = cluster.data(`${point}.json`);
    writeFileSync(faults, JSON.stringify({ [point]: 'kill' }));
    await psyncd(['restore', file, folder], { PSYNCD_FAULTS: faults });
    assert.ok(!existsSync(join(folder, 'psyncd.db')) || existsSync(join(folder, 'guarded')), point);
    const args = existsSync(join(folder, 'psyncd.db')) ? ['--force'] : [];
    json(await psyncd(['restore', file, folder, '--json', ...args]));
    failed(await psyncd(['serve', '--data', folder, '--port', '0']), 1, /this node needs tokens/);
  }
});

test('a restore to a time or a position after the first token makes no open node, though its backup is of before', async (t) => {
  const cluster = await Cluster.create(t);
  const target = cluster.data('archive');
  mkdirSync(target);
  const node = await cluster.start('node', '--cluster', 'shop', '--archive-to', target);
  const put = async (headers: Readonly<Record<string, string>>): Promise<string> => {
    const answer = await fetch(`${node.url}/v1/keys/k`, { method: 'PUT', body: 'v', headers });
    return answer.ok ? String(answer.headers.get('psync-position')) : '';
  };
  await put({});
  const names = (): string[] => readdirSync(target, { recursive: true }).map(String);
  await until('the archive has a backup', () => names().some((name) => name.endsWith('.db')));
  const list = join(cluster.data('node'), 'tokens.json');
  const { text } = await createToken(list, WANTED, Date.now());
  await until('the node needs tokens', async () => (await fetch(`${node.url}/v1/keys/k`)).status === 401);
  const position = await put({ authorization: `Bearer ${text}` });
  assert.notEqual(position, '');
  await node.stop();
  const [base = '', ...others] = names().filter((name) => name.endsWith('.db'));
  assert.deepEqual(others, []);
  // The name of a backup has whole seconds.
  await until('the second of the backup is over', () => Date.now() > Number(timeOfBase(base)));
  assert.ok(names().includes(join('shop', 'guarded')));
  for (const goal of [
    ['--to-position', position],
    ['--to-time', new Date().toISOString()],
  ]) {
    const folder = cluster.data(`restored${goal[0]}`);
    const dry = await psyncd(['restore', target, folder, ...goal, '--dry-run']);
    assert.equal(dry.code, 0, dry.stderr);
    assert.match(dry.stdout, /does not start without tokens, because the one that was backed up had some/);
    const done = json(await psyncd(['restore', target, folder, ...goal, '--json']));
    assert.equal(done.needsTokens, true);
    failed(await psyncd(['serve', '--data', folder, '--port', '0']), 1, /this node needs tokens/);
  }
});
