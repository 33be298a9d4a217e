/**
 * Disks that fail: each place where the store touches the disk fails by itself, or the process ends there. What was
 * answered stays, nothing half is left, and when the disk works again so does the node, without a restart.
 */
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { copyFile, readdir, rename, stat } from 'node:fs/promises';
import { join } from 'node:path';
import test, { type TestContext } from 'node:test';
import type { ChildNode } from '../../src/cli/child-node.ts';
import { until } from '../../src/cli/until.ts';
import type { FaultPoint } from '../../src/store/fault-point.ts';
import {
  Cluster,
  converged,
  counters,
  linkState,
  samePosition,
  textOf,
  writeMany,
} from '../support/cluster.ts';
import { Connection, isProblem, json } from '../support/contract.ts';
import { FaultyDisk } from '../support/faulty-disk.ts';
import { MAIN } from '../support/main-file.ts';

async function faulty(
  t: TestContext,
  name: string,
  ...flags: string[]
): Promise<{ cluster: Cluster; disk: FaultyDisk; node: ChildNode }> {
  const cluster = await Cluster.create(t);
  const disk = await FaultyDisk.create(cluster, name);
  return { cluster, disk, node: await disk.start(cluster, name, ...flags) };
}

for (const [code, status, problem] of [
  ['SQLITE_FULL', 507, 'DISK_FULL'],
  ['SQLITE_IOERR_SHMSIZE', 507, 'DISK_FULL'],
  ['SQLITE_IOERR_WRITE', 503, 'STORAGE_FAILED'],
] as const) {
  test(`when the journal cannot be written (${code}), writes get ${status} and change nothing, and everything else goes on`, async (t) => {
    const { cluster, disk, node } = await faulty(t, 'master');
    const replica = await cluster.start('replica', '--replica-of', node.wsUrl);
    await writeMany(node, 'k', 20);
    await converged(node, replica);
    const before = await node.client.replication();
    const http = new Connection(t, node);
    await disk.fail({ 'journal-append': code });
    for (const [method, path, body] of [
      ['PUT', '/v1/keys/k1', 'new'],
      ['DELETE', '/v1/keys/k1', undefined],
      ['POST', '/v1/keys/n/increment', undefined],
      ['POST', '/v1/import', '{"key":"k1","value":"new"}\n'],
      ['DELETE', '/v1/keys?all=true', undefined],
    ] as const) {
      isProblem(await http.send(method, path, body), status, problem, /nothing was written/);
    }
    assert.equal((await node.client.replication()).position, before.position);
    assert.equal((await http.send('GET', '/v1/keys/k1')).body.toString(), 'v1');
    assert.deepEqual(json(await http.send('GET', '/healthz')), { status: 'ok' });
    // Replication of what there is goes on: also a full resync.
    const late = await cluster.start('late', '--replica-of', node.wsUrl);
    await converged(node, replica, late);
    await disk.mend();
    assert.equal((await http.send('PUT', '/v1/keys/k1', 'new')).status, 200);
    await converged(node, replica, late);
    assert.equal(await textOf(late, 'k1'), 'new');
  });
}

for (const code of ['ERR_OUT_OF_RANGE', 'SQLITE_CONSTRAINT_PRIMARYKEY']) {
  test(`when the applier fails for another reason than the disk (${code}), the node says so and ends, and nothing is lost`, async (t) => {
    const { cluster, disk, node } = await faulty(t, 'master', '--apply-interval', '10ms');
    await node.client.set('before', '1');
    await node.client.digest();
    await disk.fail({ 'applier-commit': code });
    const exited = once(node.process, 'exit');
    await node.client.set('k', 'answered');
    assert.deepEqual(await exited, [1, null]);
    assert.match(node.log, /the applier cannot go on: injected at applier-commit/);
    const again = await cluster.start('master');
    assert.equal(await textOf(again, 'k'), 'answered');
    assert.equal(await textOf(again, 'before'), '1');
  });
}

test('when the keyspace file cannot be written, writes go on until the overlay is full, wait, and go on when there is room', async (t) => {
  const { disk, node } = await faulty(t, 'master', '--overlay-size', '1mb', '--apply-interval', '10ms');
  await disk.fail({ 'applier-commit': 'SQLITE_FULL' });
  const value = 'x'.repeat(10_000);
  let written = 0;
  const writing = (async () => {
    for (; written < 150; written += 1) await node.client.set(`k${written}`, value);
  })();
  await until('the applier has failed', () => /apply-failed/.test(node.log));
  await until('writers wait', async () => {
    const before = written;
    await node.client.replication();
    return before > 50 && before < 150 && before === written;
  });
  assert.equal(await textOf(node, 'k5'), value);
  assert.equal((await fetch(`${node.url}/healthz`)).status, 200);
  await disk.mend();
  await writing;
  assert.equal((await node.client.digest()).keys, 150);
});

test('when the keyspace file cannot be written, a page and a deletion by prefix go on, however many keys others have written', async (t) => {
  const { disk, node } = await faulty(t, 'master', '--apply-interval', '60s');
  await node.client.set('own:1', 'v');
  await disk.fail({ 'applier-commit': 'SQLITE_FULL' });
  // More than a deletion by prefix looks at without a flush.
  const lines = Array.from({ length: 10_500 }, (_, index) => `{"key":"for:${index}","value":"v"}\n`);
  const http = new Connection(t, node);
  assert.equal((await http.send('POST', '/v1/import', lines.join(''))).status, 200);
  assert.equal((await http.send('GET', '/v1/keys?prefix=own:')).status, 200);
  const deleted = await http.send('DELETE', '/v1/keys?prefix=own:');
  assert.deepEqual([deleted.status, (json(deleted) as { readonly deleted: number }).deleted], [200, 1]);
});

test('a replica whose journal cannot be written stops acknowledging, says so, and resumes by itself', async (t) => {
  const cluster = await Cluster.create(t);
  const master = await cluster.start('master');
  const disk = await FaultyDisk.create(cluster, 'replica');
  const replica = await disk.start(cluster, 'replica', '--replica-of', master.wsUrl);
  await master.client.set('a', '1');
  await converged(master, replica);
  const before = await replica.client.replication();
  await disk.fail({ 'journal-append': 'SQLITE_FULL' });
  const answer = await fetch(`${master.url}/v1/keys/a?acks=1&timeout=300`, { method: 'PUT', body: '2' });
  assert.deepEqual([answer.status, ((await answer.json()) as { acks: number }).acks], [202, 0]);
  const { upstream, position } = await until('it says so', async () => {
    const state = await replica.client.replication();
    return /no space left/.test(state.upstream?.detail ?? '') ? state : null;
  });
  assert.match(upstream?.detail ?? '', /cannot keep the stream/);
  assert.equal(position, before.position);
  assert.equal(await textOf(replica, 'a'), '1');
  await disk.mend();
  await converged(master, replica);
  assert.equal((await counters(master)).syncFull, 1);
});

for (const point of [
  'snapshot-create',
  'snapshot-write',
  'snapshot-sync',
  'snapshot-check',
  'keyspace-switch',
] as const) {
  test(`a replica whose disk fails at ${point} keeps serving its old data, and gets the new data once the disk works`, async (t) => {
    const { cluster, disk, node } = await faulty(t, 'node');
    await node.client.set('old', 'data');
    const master = await cluster.start('master');
    await master.client.set('new', 'data');
    await disk.fail({ [point]: 'ENOSPC' });
    await node.client.replicaOf(master.wsUrl);
    await until('it has tried twice', async () => {
      const { upstream } = await node.client.replication();
      return (upstream?.detail ?? '') !== '' && (await counters(master)).syncFull >= 2;
    });
    assert.equal(await textOf(node, 'old'), 'data');
    const files = await readdir(cluster.data('node'));
    assert.ok(files.filter((name) => /^keyspace-\d+\.db$/.test(name)).length <= 2, files.join());
    await disk.mend();
    await converged(master, node);
    assert.equal(await textOf(node, 'old'), null);
    const { kept } = await node.client.replication();
    assert.equal(kept.length, 1);
  });
}

test('a refused snapshot that cannot be removed hides no error; a disk failure right after the switch needs no second snapshot', async (t) => {
  const { cluster, disk, node } = await faulty(t, 'node');
  await node.client.set('old', 'data');
  const { position: old } = await node.client.replication();
  const master = await cluster.start('master');
  await master.client.set('new', 'data');
  await disk.fail({ 'snapshot-check': 'ENOSPC', 'snapshot-discard': 'EIO' });
  await node.client.replicaOf(master.wsUrl);
  await until('it says what failed first', async () => {
    return /injected at snapshot-check/.test((await node.client.replication()).upstream?.detail ?? '');
  });
  assert.match(node.log, /injected at snapshot-discard.*snapshot-left/);
  assert.equal(await textOf(node, 'old'), 'data');

  // The snapshot takes over, and what comes next fails: what follows it in the stream, and putting the old file away.
  await disk.fail({ 'keyspace-switched': 'EIO', 'journal-append': 'SQLITE_FULL', 'file-keep': 'EIO' });
  await samePosition(master, node);
  assert.deepEqual([await textOf(node, 'new'), await textOf(node, 'old')], ['data', null]);
  const { syncFull } = await counters(master);
  await master.client.set('after', 'the switch');
  await until('it says that it cannot go on', async () => {
    return /cannot keep the stream: no space/.test((await node.client.replication()).upstream?.detail ?? '');
  });
  assert.deepEqual([await textOf(node, 'new'), await textOf(node, 'after')], ['data', null]);
  assert.match(node.log, /injected at keyspace-switched.*switched-all-the-same/);
  assert.match(node.log, /injected at file-keep.*old-keyspace-left/);
  await disk.mend();
  await converged(master, node);
  assert.equal((await counters(master)).syncFull, syncFull);

  assert.equal(await node.stop(), 0);
  const again = await disk.start(cluster, 'node');
  await converged(master, again);
  assert.deepEqual(
    (await again.client.replication()).kept.map(({ position }) => position),
    [old],
  );
  const files = (await readdir(cluster.data('node'))).filter((name) => name.endsWith('.db')).sort();
  assert.deepEqual(
    files.map((name) => name.replace(/-.*/, '')),
    ['keyspace', 'psyncd.db', 'replaced'],
    files.join(),
  );
});

test('a journal that cannot be fsynced in the background says so until it can; writes go on', async (t) => {
  const { disk, node } = await faulty(t, 'node');
  await disk.fail({ 'journal-fsync': 'EIO' });
  await node.client.set('k', 'v');
  const failures = (): number => node.log.match(/injected at journal-fsync.*fsync-failed/g)?.length ?? 0;
  // The second time there is nothing new to be synced: what failed is tried again.
  await until('it was tried twice', () => failures() >= 2);
  await node.client.set('k', 'w');
  assert.equal(await textOf(node, 'k'), 'w');
  await disk.mend();
  assert.equal(await node.stop(), 0);
});

test('a node notices that a file or the folder was removed or replaced, and writes nothing until it is back', async (t) => {
  const cluster = await Cluster.create(t);
  const master = await cluster.start('master', '--apply-interval', '10ms');
  const replica = await cluster.start('replica', '--replica-of', master.wsUrl);
  await master.client.set('k', 'v');
  await converged(master, replica);
  const http = new Connection(t, master);
  const elsewhere = cluster.data('elsewhere');
  const put = async (): Promise<number> => (await http.send('PUT', '/v1/keys/k', 'v')).status;
  const lost = async (what: string): Promise<void> => {
    await until(`${what} is missed`, async () => (await put()) === 503);
    isProblem(
      await http.send('PUT', '/v1/keys/k', 'v'),
      503,
      'STORAGE_FAILED',
      // It names no path: the token of a writer may be for some keys only.
      /^nothing was written: a file of the node is not in its place; the log names it$/,
    );
    isProblem(
      await http.send('GET', '/readyz'),
      503,
      'STORAGE_FAILED',
      // Everybody may ask: it names no path.
      /^a file of the node is not in its place; the log names it$/,
    );
    assert.match(
      master.log,
      /"error":"[^"]* was removed, renamed or replaced[^"]*restore[^"]*","msg":"files-lost"/,
    );
    assert.equal((await http.send('GET', '/v1/keys/k')).status, 200);
  };
  const isBack = (what: string): Promise<unknown> =>
    until(
      `${what} is back`,
      async () => (await put()) === 200 && (await http.send('GET', '/readyz')).status === 200,
    );
  const names = ['psyncd.db', 'psyncd.db-wal', 'keyspace-1.db', 'keyspace-1.db-shm'];
  for (const name of ['', ...names]) {
    const path = join(cluster.data('master'), name);
    await rename(path, elsewhere);
    await lost(path);
    if (name === 'keyspace-1.db') {
      for (const call of ['export', 'digest'])
        isProblem(await http.send('GET', `/v1/${call}`), 503, 'STORAGE_FAILED', /./);
    }
    if (name === 'psyncd.db') {
      await copyFile(elsewhere, path);
      await master.client.replication();
      await lost(`${path}, replaced by a copy,`);
    }
    await rename(elsewhere, path);
    await isBack(path);
  }
  assert.equal(master.log.match(/"msg":"files-lost"/g)?.length, names.length + 1);
  assert.equal(master.log.match(/"msg":"files-back"/g)?.length, names.length + 1);
  await converged(master, replica);

  // A replica takes nothing of the stream meanwhile, and continues afterwards.
  const { position } = await replica.client.replication();
  await rename(cluster.data('replica'), elsewhere);
  await until('it is missed', async () => (await fetch(`${replica.url}/readyz`)).status === 503);
  await master.client.set('k', 'meanwhile');
  await until('it says so', async () =>
    /cannot keep the stream: a file of the node is not in its place; the log names it/.test(
      (await replica.client.replication()).upstream?.detail ?? '',
    ),
  );
  assert.equal((await replica.client.replication()).position, position);
  await rename(elsewhere, cluster.data('replica'));
  await converged(master, replica);
  assert.equal(await replica.stop(), 0);

  await rename(cluster.data('master'), elsewhere);
  await lost('the folder');
  await master.stop();
  await rename(elsewhere, cluster.data('master'));
  assert.equal(await textOf(await cluster.start('master'), 'k'), 'v');
});

/** What a file may have in the process, in bytes, as a quota or the file system may say. */
function limitFiles(node: ChildNode, bytes: number | 'unlimited'): void {
  execFileSync('prlimit', [`--pid=${node.process.pid}`, `--fsize=${bytes}:`]);
}

const hasPrlimit = spawnSync('prlimit', ['--version']).status === 0;

test("at the limit of a file's size writes get 507, requests that need no room go on, and a start says why it fails", {
  skip: !hasPrlimit && 'prlimit is not installed',
}, async (t) => {
  const cluster = await Cluster.create(t);
  const node = await cluster.start('node', '--apply-interval', '10ms');
  await writeMany(node, 'k', 20);
  const { position } = await node.client.digest();
  const http = new Connection(t, node);
  const wal = await stat(join(cluster.data('node'), 'psyncd.db-wal'));
  limitFiles(node, wal.size);
  isProblem(
    await http.send('PUT', '/v1/keys/k1', 'new'),
    507,
    'DISK_FULL',
    /nothing was written: no space left/,
  );
  assert.equal((await http.send('GET', '/v1/keys/k1')).body.toString(), 'v1');
  // Nothing is in the journal only.
  assert.equal((await http.send('GET', '/v1/export')).body.toString().trim().split('\n').length, 20);
  assert.equal((await node.client.digest()).position, position);
  limitFiles(node, 'unlimited');
  await node.client.set('small', 'y');
  await node.stop('SIGKILL');

  const serve = [process.execPath, MAIN, 'serve', '--port', '0', '--data', cluster.data('node')];
  const start = spawnSync('prlimit', ['--fsize=0', ...serve], { encoding: 'utf8', timeout: 30_000 });
  assert.equal(start.status, 1, start.stderr);
  assert.match(start.stderr, /cannot be (?:opened|written): .*no space left/);
  assert.doesNotMatch(start.stderr, /damaged| at .*\.[jt]s:/);
  assert.equal(await textOf(await cluster.start('node'), 'small'), 'y');
});

test('on a full disk an export and a digest get 507, which says for what they need room', async (t) => {
  const { disk, node } = await faulty(t, 'node', '--apply-interval', '1h');
  await disk.fail({ 'applier-commit': 'SQLITE_FULL' });
  await node.client.set('k', 'v');
  const http = new Connection(t, node);
  const why = /the newest writes .* have to be in the keyspace file before it is read: no space left/;
  for (const call of ['export', 'digest'])
    isProblem(await http.send('GET', `/v1/${call}`), 507, 'DISK_FULL', why);
  assert.equal((await http.send('GET', '/v1/keys/k')).body.toString(), 'v');
  await disk.mend();
  assert.equal((await node.client.digest()).keys, 1);
});

test('on a full disk REPLICAOF and a promotion get 507 and change nothing', async (t) => {
  const { cluster, disk, node } = await faulty(t, 'node');
  const master = await cluster.start('master');
  const http = new Connection(t, node);
  await disk.fail({ 'state-save': 'SQLITE_FULL' });
  isProblem(await http.sendJson('PUT', '/v1/replication/upstream', { url: master.wsUrl }), 507, 'DISK_FULL');
  assert.equal((await node.client.replication()).role, 'master');
  assert.equal((await http.send('PUT', '/v1/keys/k', 'v')).status, 201);
  await disk.mend();
  // Else the node, which has an entry, may come to a master that has none, and the guard keeps it from that history.
  await master.client.set('m', '1');
  await node.client.replicaOf(master.wsUrl);
  await node.client.promote();
  await node.client.replicaOf(master.wsUrl);
  await samePosition(master, node);
  const before = await node.client.replication();
  await disk.fail({ 'state-save': 'SQLITE_FULL' });
  isProblem(await http.send('DELETE', '/v1/replication/upstream'), 507, 'DISK_FULL');
  await linkState(node, 'streaming');
  assert.equal((await node.client.replication()).position, before.position);
  await disk.mend();
  await node.client.promote();
});

test('a failed checkpoint of the journal is logged, loses nothing, and is made later', async (t) => {
  const { cluster, disk, node } = await faulty(t, 'node');
  const replica = await cluster.start('replica', '--replica-of', node.wsUrl);
  const value = 'x'.repeat(500_000);
  let written = 0;
  const writeUntil = (what: string, done: () => boolean | Promise<boolean>) =>
    until(what, async () => {
      await node.client.set(`k${written % 7}`, value + written);
      written += 1;
      return done();
    });
  const file = cluster.data('node/psyncd.db');
  const { size } = await stat(file);
  await disk.fail({ 'journal-checkpoint': 'SQLITE_IOERR_WRITE' });
  await writeUntil('it has failed', () => /journal-checkpoint-failed/.test(node.log));
  assert.equal((await stat(file)).size, size);
  await disk.mend();
  await writeUntil('it was made', async () => (await stat(file)).size > size);
  assert.equal(await textOf(node, `k${(written - 1) % 7}`), `${value}${written - 1}`);
  await converged(node, replica);
});

test('a node that cannot read its keyspace file answers 503, never a wrong value, and recovers', async (t) => {
  const { cluster, disk, node: before } = await faulty(t, 'node');
  await before.client.set('k', 'v');
  await before.stop();
  // Now the entry is in the file only.
  const node = await disk.start(cluster, 'node');
  const http = new Connection(t, node);
  await disk.fail({ 'keyspace-read': 'SQLITE_IOERR_READ', 'keyspace-scan': 'SQLITE_IOERR_READ' });
  isProblem(await http.send('GET', '/v1/keys/k'), 503, 'STORAGE_FAILED');
  isProblem(await http.send('GET', '/v1/keys?values=true'), 503, 'STORAGE_FAILED');
  isProblem(await http.send('POST', '/v1/keys/k/append', 'w'), 503, 'STORAGE_FAILED');
  isProblem(
    await http.sendJson('POST', '/v1/batch', { ops: [{ op: 'get', key: 'k' }] }),
    503,
    'STORAGE_FAILED',
  );
  await disk.mend();
  assert.equal((await http.send('GET', '/v1/keys/k')).body.toString(), 'v');
});

test('a keyspace file that cannot be migrated on a full disk is not called damaged, and stays unchanged', async (t) => {
  const { cluster, disk, node } = await faulty(t, 'node');
  await node.client.set('k', 'v');
  await node.stop();
  await disk.fail({ 'keyspace-migrate': 'SQLITE_FULL' });
  await assert.rejects(
    disk.start(cluster, 'node', '--on-damage', 'resync', '--replica-of', 'ws://127.0.0.1:1'),
    (error: Error) => /cannot be opened: SQLITE_FULL/.test(error.message) && !/damaged/.test(error.message),
  );
  await disk.mend();
  assert.equal(await textOf(await disk.start(cluster, 'node'), 'k'), 'v');
});

test('a scrub that cannot read says so, and the node goes on; damage ends it', async (t) => {
  const { disk, node } = await faulty(t, 'node', '--scrub-interval', '20ms');
  await node.client.set('k', 'v');
  await disk.fail({ 'keyspace-scrub': 'SQLITE_IOERR_READ' });
  await until('it has failed', () => /injected at keyspace-scrub.*scrub-failed/.test(node.log));
  assert.equal(await textOf(node, 'k'), 'v');
  await disk.fail({ 'keyspace-scrub': 'SQLITE_CORRUPT' });
  await until('it has ended', () => node.process.exitCode !== null);
  assert.equal(node.process.exitCode, 1);
  assert.match(node.log, /keyspace-1\.db is damaged: .*restore the folder from a copy/);
});

test('a keyspace file that turns out to be damaged ends the node with one line that names it and the ways out', async (t) => {
  const { disk, node } = await faulty(t, 'node', '--apply-interval', '1ms');
  await node.client.set('k', 'v');
  await node.client.digest();
  await disk.fail({ 'keyspace-read': 'SQLITE_CORRUPT' });
  await fetch(`${node.url}/v1/keys/k`).catch(() => undefined);
  await until('it has ended', () => node.process.exitCode !== null);
  assert.equal(node.process.exitCode, 1);
  assert.match(node.log, /keyspace-1\.db is damaged: .*restore the folder from a copy/);
});

test('when the journal cannot be read, only the slow replica that needs it is disconnected', async (t) => {
  const { cluster, disk, node } = await faulty(t, 'master', '--backlog-size', '16kb');
  const replica = await cluster.start('replica', '--replica-of', node.wsUrl);
  await node.client.set('k', 'v');
  await converged(node, replica);
  replica.process.kill('SIGSTOP');
  await disk.fail({ 'journal-read': 'SQLITE_IOERR_READ' });
  // More than the socket and the backlog hold: the rest would be read from the journal.
  for (let index = 0; index < 30; index += 1) await node.client.set(`large${index}`, 'x'.repeat(500_000));
  replica.process.kill('SIGCONT');
  await until('the journal was needed', () => /journal-not-read/.test(node.log));
  await node.client.set('after', 'wards');
  await disk.mend();
  await converged(node, replica);
});

/** Points at which a process may end: what it was doing, and whether it is a replica that does it. */
const KILLED_AT: readonly FaultPoint[] = [
  'journal-append',
  'journal-appended',
  'applier-commit',
  'applier-committed',
  'applier-checkpoint',
  'applier-shrink',
  'journal-trim',
  'journal-checkpoint',
  'journal-checkpointed',
  'state-save',
  'state-saved',
];

/** How large the values are: a checkpoint of the journal comes after 32 MiB, everything else soon. */
const digitsFor = (point: FaultPoint): number => (point.startsWith('journal-checkpoint') ? 400_000 : 2_000);

for (const point of KILLED_AT) {
  test(`a master killed at ${point} restarts with each answered write, and with no half transaction`, async (t) => {
    const { cluster, disk, node } = await faulty(
      t,
      'master',
      '--apply-interval',
      '20ms',
      '--backlog-size',
      '16kb',
    );
    const replica = await cluster.start('replica', '--replica-of', node.wsUrl);
    await node.client.set('first', 'entry');
    await converged(node, replica);
    const { runId } = await node.client.replication();
    let answered = 0;
    const writing = (async () => {
      for (let number = 1; ; number += 1) {
        // Two keys that are always equal: half of a batch would show.
        const ops = ['a', 'b'].map((key) => ({
          op: 'set',
          key,
          value: String(number).padStart(digitsFor(point), '0'),
        }));
        const answer = await fetch(`${node.url}/v1/batch`, {
          method: 'POST',
          headers: { 'content-type': 'application/json' },
          body: JSON.stringify({ ops }),
        });
        if (!answer.ok) throw new Error(String(answer.status));
        await answer.arrayBuffer();
        answered = number;
      }
    })().catch(() => undefined);
    await until('some writes were answered', () => answered > 20);
    await disk.fail({ [point]: 'kill' });
    if (point === 'applier-shrink') {
      // More than a quarter of the file, and more than 4 MiB.
      await node.client.set('large', 'x'.repeat(6 * 1024 * 1024));
      await node.client.digest();
      await node.client.delete('large').catch(() => undefined);
    }
    if (point.startsWith('state-')) {
      await fetch(`${node.url}/v1/replication/upstream`, {
        method: 'PUT',
        headers: { 'content-type': 'application/json' },
        body: '{"url":"ws://127.0.0.1:1"}',
      }).catch(() => undefined);
    }
    await until('it has been killed', () => node.process.signalCode !== null);
    await writing;
    await disk.mend();
    const again = await disk.start(cluster, 'master', '--port', String(node.port), '--replica-of', 'no-one');
    const [a, b] = [await textOf(again, 'a'), await textOf(again, 'b')];
    assert.equal(a, b);
    assert.ok(Number(a) >= answered && Number(a) <= answered + 1, `${a}, answered was ${answered}`);
    // It was told to follow nobody: after `state-saved` that is a promotion.
    const promoted = point === 'state-saved';
    assert.equal((await again.client.replication()).runId === runId, !promoted);
    await again.client.set('after', 'the kill');
    await converged(again, replica);
    const names = (await readdir(cluster.data('master'))).filter((name) => name.startsWith('keyspace-'));
    assert.equal(names.filter((name) => name.endsWith('.db')).length, 1, names.join());
  });
}

for (const point of [
  'snapshot-create',
  'snapshot-write',
  'snapshot-sync',
  'snapshot-check',
  'keyspace-switch',
  'keyspace-switched',
  'file-keep',
  'file-kept',
] as const) {
  test(`a replica killed at ${point} has the old or the new data in one keyspace file, and the kept file of replaced data`, async (t) => {
    const { cluster, disk, node } = await faulty(t, 'node');
    await writeMany(node, 'mine', 5);
    const { position } = await node.client.replication();
    const master = await cluster.start('master');
    await writeMany(master, 'k', 50);
    await disk.fail({ [point]: 'kill' });
    await node.client.replicaOf(master.wsUrl);
    await until('it has been killed', () => node.process.signalCode !== null);
    await disk.mend();
    const again = await disk.start(cluster, 'node');
    await converged(master, again);
    const { kept } = await again.client.replication();
    assert.deepEqual(
      kept.map((each) => each.position),
      [position],
    );
    assert.equal(await again.stop(), 0);
    const files = (await readdir(cluster.data('node'))).filter((name) => name.endsWith('.db')).sort();
    assert.deepEqual(
      files.map((name) => name.replace(/\d+/g, 'N')),
      ['keyspace-N.db', 'psyncd.db', kept[0]?.file.replace(/\d+/g, 'N')],
      join(...files),
    );
  });
}
