/** What the operating system does to a process: signals, a log that cannot be written, who may read its files. */
import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { openSync, writeFileSync } from 'node:fs';
import { readdir, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import test from 'node:test';
import { until } from '../../src/cli/until.ts';
import { Cluster, temporaryFolder } from '../support/cluster.ts';
import { Connection } from '../support/contract.ts';
import { keptPort } from '../support/kept-port.ts';
import { MAIN } from '../support/main-file.ts';

/** What is written there fails with ENOSPC. */
const FULL = '/dev/full';

test('SIGHUP reads the config file again, a bad file changes nothing, and SIGUSR1 opens no debugger', async (t) => {
  const cluster = await Cluster.create(t);
  const config = join(await temporaryFolder(t), 'config.json');
  await writeFile(config, '{"backlogSize": "2mb", "maxReplicas": 5}');
  const node = await cluster.start('node', '--config', config);
  const http = new Connection(t, node);
  const setting = async (name: string): Promise<unknown> =>
    (JSON.parse((await http.send('GET', '/v1/config')).body.toString()) as Record<string, unknown>)[name];
  assert.equal(await setting('maxReplicas'), 5);

  await writeFile(config, '{"backlogSize": "2mb", "maxReplicas": 7, "fsync": "always"}');
  node.process.kill('SIGHUP');
  await until('the setting has changed', async () => (await setting('maxReplicas')) === 7);
  await until('the log says it', () => node.log.includes('settings-reloaded'));
  assert.match(node.log, /"level":40,.*"changed":\["maxReplicas"\],"needRestart":\["fsync"\]/);
  assert.equal(await setting('fsync'), 'everysec');

  // What was changed in between stays, as long as the file says nothing new of it.
  await http.sendJson('PATCH', '/v1/config', { maxFollowers: 9 });
  await writeFile(config, '{"backlogSize": "2mb", "maxReplicas": 8}');
  node.process.kill('SIGHUP');
  await until('the setting has changed', async () => (await setting('maxReplicas')) === 8);
  assert.equal(await setting('maxFollowers'), 9);

  // A change of the level does not hide the line that tells of it.
  const told = (level: string): Promise<unknown> => {
    const said = /"level":30,.*"changed":\["logLevel"\],"needRestart":\[\].*"settings-reloaded"/g;
    return until(
      `the log tells of ${level}`,
      () => (node.log.match(said) ?? []).length === (level === 'error' ? 1 : 2),
    );
  };
  for (const [level, text] of [
    ['error', '{"backlogSize": "2mb", "maxReplicas": 8, "logLevel": "error"}'],
    ['info', '{"backlogSize": "2mb", "maxReplicas": 8}'],
  ] as const) {
    await writeFile(config, text);
    node.process.kill('SIGHUP');
    await told(level);
  }

  await writeFile(config, '{"maxReplicas": "many"}');
  node.process.kill('SIGHUP');
  await until('the log says why not', () => node.log.includes('settings-not-reloaded'));
  assert.equal(await setting('maxReplicas'), 8);

  node.process.kill('SIGUSR1');
  assert.equal((await http.send('PUT', '/v1/keys/k', 'v')).status, 201);
  assert.doesNotMatch(node.log, /Debugger listening/);
  assert.equal(await node.stop(), 0);
});

test('data folder and files are readable by their owner only', async (t) => {
  const cluster = await Cluster.create(t);
  const node = await cluster.start('node');
  await node.client.set('k', 'v');
  const folder = cluster.data('node');
  assert.equal((await stat(folder)).mode & 0o777, 0o700);
  for (const name of await readdir(folder)) {
    assert.equal((await stat(join(folder, name))).mode & 0o777, 0o600, name);
  }
});

test('a node serves on when neither its log nor its output can be written', async (t) => {
  const data = join(await temporaryFolder(t), 'data');
  const full = openSync(FULL, 'w');
  const kept = await keptPort();
  t.after(kept.release);
  const port = String(kept.port);
  const withoutLog = spawn(process.execPath, [MAIN, 'serve', '--data', data, '--port', port], {
    stdio: ['ignore', 'pipe', full],
  });
  t.after(() => withoutLog.kill('SIGKILL'));
  assert.ok(withoutLog.stdout !== null);
  const [line] = (await once(createInterface({ input: withoutLog.stdout }), 'line')) as [string];
  const url = /http:\/\/\S+/.exec(line)?.[0] ?? '';
  // Each foreign REPLICAOF is a line of the log.
  for (let round = 0; round < 20; round += 1) {
    await fetch(`${url}/v1/replication/upstream`, {
      method: 'PUT',
      headers: { 'content-type': 'application/json' },
      body: '{"url":"ws://127.0.0.1:1"}',
    });
    await fetch(`${url}/v1/replication/upstream`, { method: 'DELETE' });
  }
  assert.equal((await fetch(`${url}/v1/keys/k`, { method: 'PUT', body: 'v' })).status, 201);
  withoutLog.kill('SIGTERM');
  assert.deepEqual(await once(withoutLog, 'exit'), [0, null]);

  const withoutOutput = spawn(process.execPath, [MAIN, 'serve', '--data', data, '--port', port], {
    stdio: ['ignore', full, 'pipe'],
  });
  t.after(() => withoutOutput.kill('SIGKILL'));
  // Nobody is told when it serves; before it does, it listens for a moment to see whether the port is free.
  await until('it serves', async () => (await fetch(`${url}/healthz`)).ok);
  assert.equal(await (await fetch(`${url}/v1/keys/k`)).text(), 'v');
  withoutOutput.kill('SIGTERM');
  assert.deepEqual(await once(withoutOutput, 'exit'), [0, null]);
});

test('an empty variable counts as not set, and a misspelt one is named in the log', async (t) => {
  const cluster = await Cluster.create(t);
  const environment = { PSYNCD_BACKLOG_SIZE: '', PSYNCD_MAX_REPLICA: '3' };
  const node = await cluster.startWith(environment, 'node');
  await until('the log names it', () => node.log.includes('unknown-variables'));
  assert.match(node.log, /"names":\["PSYNCD_MAX_REPLICA"\]/);
});

test('a wrong master or time on the command line is wrong usage, and the message names what was meant', async () => {
  const outcome = (args: readonly string[]): Promise<{ code: number | null; stderr: string }> =>
    new Promise((resolve) => {
      const child = execFile(process.execPath, [MAIN, ...args], (_error, _stdout, stderr) =>
        resolve({ code: child.exitCode, stderr }),
      );
    });
  const [none, time, bare] = await Promise.all([
    outcome(['replicaof', 'none']),
    outcome(['failover', '--timeout', '5x']),
    outcome(['failover', '--timeout', '5']),
  ]);
  assert.deepEqual(none, {
    code: 2,
    stderr: 'psyncd: expected ws://HOST:PORT or wss://HOST:PORT, or no-one to be a master, got "none"\n',
  });
  assert.equal(time.code, 2);
  assert.match(time.stderr, /--timeout/);
  assert.equal(bare.code, 2);
  assert.match(
    bare.stderr,
    /--timeout: allowed are 100ms to 1h \(a number without a unit is .*milliseconds\)/,
  );
});

test('SIGHUP during the start does not end the node, which reads its config file again once it serves', async (t) => {
  const folder = await temporaryFolder(t);
  const config = join(folder, 'config.json');
  await writeFile(config, '{"maxReplicas": 5}');
  const flags = ['--data', join(folder, 'data'), '--port', '0', '--config', config];
  const node = spawn(process.execPath, [MAIN, 'serve', ...flags], {
    stdio: ['ignore', 'pipe', 'pipe'],
    // The node says that it does not know it, before it opens its files.
    env: { ...process.env, PSYNCD_UNKNOWN: '1' },
  });
  t.after(() => node.kill('SIGKILL'));
  const exited = once(node, 'exit');
  let log = '';
  node.stderr.on('data', (chunk: Buffer) => {
    log += chunk;
  });
  await until('the node starts', () => log.includes('unknown-variables'));
  writeFileSync(config, '{"maxReplicas": 7}');
  node.kill('SIGHUP');
  await until('the settings are read again, or it has ended', () => {
    return log.includes('"changed":["maxReplicas"]') || node.exitCode !== null || node.signalCode !== null;
  });
  assert.equal(node.signalCode, null);
  node.kill('SIGTERM');
  assert.deepEqual(await exited, [0, null]);
});
