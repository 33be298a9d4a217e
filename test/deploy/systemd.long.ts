/**
 * examples/deploy/psyncd.service: systemd's own checks of it, and its command where nothing but its folders can be written, with its
 * signals. There is no systemd that runs in the tests.
 */
import assert from 'node:assert/strict';
import { execFile, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import test from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { until } from '../../src/cli/until.ts';
import { RUNNING } from '../../src/settings/entries/running.ts';
import { parseTime } from '../../src/settings/parse.ts';
import { temporaryFolder } from '../support/cluster.ts';
import { keptPort } from '../support/kept-port.ts';
import { MAIN } from '../support/main-file.ts';
import { replaced } from '../support/program.ts';

const UNIT = fileURLToPath(new URL('../../examples/deploy/psyncd.service', import.meta.url));
const run = promisify(execFile);

/** Time that a node needs after the wait for its replicas, in milliseconds (docs/deploy.md). */
const NEEDED_MS = 5_000;
/** Time within which a node refuses to start on a slow machine, and for which it waits for a silent target, in milliseconds (docs/limits.md). */
const SLOW_REFUSAL_MS = 5_000;
const TARGET_WAIT_MS = 10_000;
/** Largest exposure that `systemd-analyze security` may find: 100 is none of its protections. */
const MAX_EXPOSURE = 20;

const NAMESPACE = ['--user', '--map-root-user', '--mount'];
/** Makes the folders in its arguments up to `--` the only ones that can be written, and becomes the command behind that. */
const ONLY_THESE = `
while [ "$1" != -- ]; do mount --bind "$1" "$1"; shift; done
shift
mountpoint -q /tmp && mount -o remount,bind,ro /tmp
mount -o remount,bind,ro / || exit 1
exec "$@"`;

const noAnalysis =
  spawnSync('systemd-analyze', ['security', '--help']).status !== 0 && 'systemd-analyze is not installed';
const noNamespaces =
  spawnSync('unshare', [...NAMESPACE, 'mount', '-o', 'remount,bind,ro', '/']).status !== 0 &&
  'this system allows no namespaces to its users';

/** @returns the value of this line of the unit */
function settingOf(unit: string, name: string): string {
  const value = new RegExp(`^${name}=(.+)$`, 'm').exec(unit)?.[1];
  assert.ok(value !== undefined, name);
  return value;
}

test('systemd finds no fault in the unit, and little that a service like this could do without', {
  skip: noAnalysis,
}, async (t) => {
  const copy = join(await temporaryFolder(t), 'psyncd.service');
  await writeFile(copy, replaced(await readFile(UNIT, 'utf8'), [['/usr/bin/node', process.execPath]]));
  const { stdout, stderr } = await run('systemd-analyze', ['verify', '--man=no', copy]);
  // Units of the system may have faults too, which are shown as well.
  assert.doesNotMatch(stdout + stderr, /psyncd/);
  await run('systemd-analyze', ['security', '--offline=true', `--threshold=${MAX_EXPOSURE}`, copy]);
});

test('a node that refuses to start is started a few times, and one that waits for its target again and again', async () => {
  const unit = await readFile(UNIT, 'utf8');
  const [interval, pause] = ['StartLimitIntervalSec', 'RestartSec'].map((name) =>
    parseTime(settingOf(unit, name)),
  ) as [number, number];
  const starts = Number(settingOf(unit, 'StartLimitBurst'));
  assert.ok(interval >= starts * (pause + SLOW_REFUSAL_MS));
  assert.ok(interval < (starts - 1) * (pause + TARGET_WAIT_MS));
});

test('the service writes only into its folders, reads its settings again on SIGHUP, and stops cleanly in time', {
  skip: noNamespaces,
}, async (t) => {
  const unit = await readFile(UNIT, 'utf8');
  const timeout = parseTime(settingOf(unit, 'TimeoutStopSec'));
  assert.ok(timeout >= parseTime(RUNNING.shutdownTimeout.initial) + NEEDED_MS);

  const folder = await temporaryFolder(t);
  const [state, cache, config] = ['state', 'cache', 'psyncd.json'].map((name) => join(folder, name)) as [
    string,
    string,
    string,
  ];
  await Promise.all([mkdir(state), mkdir(cache)]);
  const kept = await keptPort();
  t.after(() => kept.release());
  const configure = (maxReplicas: number): Promise<void> =>
    writeFile(config, JSON.stringify({ port: kept.port, maxReplicas }));
  await configure(3);
  const command = replaced(settingOf(unit, 'ExecStart'), [
    ['/usr/bin/node', process.execPath],
    ['/opt/psyncd/node_modules/psyncd/dist/main.js', MAIN],
    ['/etc/psyncd.json', config],
  ]);
  const variables = replaced(settingOf(unit, 'Environment'), [
    [`/var/lib/${settingOf(unit, 'StateDirectory')}`, state],
    [`/var/cache/${settingOf(unit, 'CacheDirectory')}`, cache],
  ]);
  const child = spawn(
    'unshare',
    [...NAMESPACE, 'sh', '-c', ONLY_THESE, 'sh', state, cache, '--', ...command.split(' ')],
    {
      cwd: '/',
      env: {
        PATH: '/usr/bin:/bin:/usr/sbin:/sbin',
        ...Object.fromEntries(variables.split(' ').map((each) => each.split('='))),
      },
      stdio: ['ignore', 'pipe', 'pipe'],
    },
  );
  t.after(async () => {
    if (child.exitCode !== null || child.signalCode !== null) return;
    const exited = once(child, 'exit');
    child.kill('SIGKILL');
    await exited;
  });
  let log = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    log += text;
  });
  const ended = once(child, 'close').then(() => assert.fail(log));
  ended.catch(() => undefined);
  const [line] = (await Promise.race([once(createInterface({ input: child.stdout }), 'line'), ended])) as [
    string,
  ];
  const url = /^psyncd listening on (\S+)/.exec(line)?.[1];
  assert.ok(url !== undefined, line);
  const put = await fetch(`${url}/v1/keys/k`, { method: 'PUT', body: 'v' });
  assert.equal(put.status, 201);
  assert.ok((await readdir(cache)).length > 0, 'compiled code is kept for the next start');

  await configure(5);
  const env = { ...process.env, MAINPID: String(child.pid) };
  await run('sh', ['-c', settingOf(unit, 'ExecReload')], { env });
  await until('the setting is in use', async () => {
    const { maxReplicas } = (await (await fetch(`${url}/v1/config`)).json()) as { maxReplicas: number };
    return maxReplicas === 5;
  });

  const exited = once(child, 'exit');
  child.kill('SIGTERM');
  assert.deepEqual(await exited, [0, null]);
  // Nothing is left to be done at the next start.
  assert.deepEqual((await readdir(join(state, 'data'))).sort(), ['keyspace-1.db', 'psyncd.db']);
});
