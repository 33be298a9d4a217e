/** Files that are not what was written: noticed at the start, or when they are touched; never served. */
import assert from 'node:assert/strict';
import { cp, mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import test from 'node:test';
import Database from 'better-sqlite3';
import type { ChildNode } from '../../src/cli/child-node.ts';
import { until } from '../../src/cli/until.ts';
import { psyncd } from '../support/backups.ts';
import { Cluster, converged, textOf, writeMany } from '../support/cluster.ts';
import { flippedSeparator, movePosition } from '../support/damage.ts';
import { seeded } from '../support/random.ts';
import { RawReplica } from '../support/raw-replica.ts';

const MARK = 'a value that can be found in a file';
/** What `SET k1 v` takes in the stream. */
const SET_BYTES = '*3\r\n$3\r\nSET\r\n$2\r\nk1\r\n$1\r\nv\r\n'.length;

/** Flips one bit of MARK in the file, also in copies that pages which were moved have left behind. */
async function flipped(cluster: Cluster, name: string, file: string): Promise<void> {
  const path = join(cluster.data(name), file);
  const bytes = await readFile(path);
  let count = 0;
  for (let at = bytes.indexOf(MARK); at !== -1; at = bytes.indexOf(MARK, at)) {
    bytes[at + 5] = (bytes[at + 5] as number) ^ 0x04;
    count += 1;
  }
  assert.ok(count > 0, `${file} does not hold the value`);
  await writeFile(path, bytes);
}

/** A stopped node that has the value in its keyspace file, and also in its journal. */
async function stopped(cluster: Cluster, name: string): Promise<void> {
  const node = await cluster.start(name);
  await writeMany(node, 'before', 50);
  await node.client.set('marked', MARK);
  await writeMany(node, 'z', 50);
  assert.equal(await node.stop(), 0);
}

for (const [what, touch] of [
  ['GET', (node: ChildNode) => fetch(`${node.url}/v1/keys/marked`)],
  ['a page with values', (node: ChildNode) => fetch(`${node.url}/v1/keys?values=true&limit=1000`)],
  ['an export', (node: ChildNode) => fetch(`${node.url}/v1/export`)],
  ['the digest', (node: ChildNode) => fetch(`${node.url}/v1/digest`)],
  [
    'an increment',
    (node: ChildNode) => fetch(`${node.url}/v1/keys/marked/append`, { method: 'POST', body: 'x' }),
  ],
] as const) {
  test(`a flipped bit of a value in the keyspace file is never served: the node ends when ${what} touches it`, async (t) => {
    const cluster = await Cluster.create(t);
    await stopped(cluster, 'node');
    await flipped(cluster, 'node', 'keyspace-1.db');
    const node = await cluster.start('node');
    assert.equal(await textOf(node, 'before7'), 'v7');
    const body = await touch(node).then(
      (answer) => answer.text(),
      () => '',
    );
    assert.equal(body.includes('can be found'), false);
    await until('it has ended', () => node.process.exitCode !== null);
    assert.equal(node.process.exitCode, 1);
    assert.match(
      node.log,
      /keyspace-1\.db is damaged: the entry \\"marked\\" is not what was written.*restore/,
    );
  });
}

/** Adds a write to the journal of a stopped node that its keyspace file lacks. */
function addDamagedRow(cluster: Cluster, name: string): void {
  const db = new Database(join(cluster.data(name), 'psyncd.db'));
  const end = db.prepare('SELECT max(end_offset) FROM journal').pluck().get() as number;
  const set = Buffer.from('*3\r\n$3\r\nSET\r\n$1\r\nj\r\n$1\r\nv\r\n');
  db.prepare('INSERT INTO journal (end_offset, bytes, checksum) VALUES (?, ?, 1)').run(end + set.length, set);
  db.close();
}

test('a flipped bit in what the keyspace file lacks of the journal is noticed at the start, with one line that names the file', async (t) => {
  const cluster = await Cluster.create(t);
  await stopped(cluster, 'node');
  addDamagedRow(cluster, 'node');
  const before = await readFile(join(cluster.data('node'), 'psyncd.db'));
  await assert.rejects(cluster.start('node'), (error: Error) => {
    assert.match(error.message, /is damaged: .*byte \d+ of the journal is not what was written/);
    assert.equal(error.message.split('\n').filter((line) => line.startsWith('psyncd:')).length, 1);
    return true;
  });
  assert.deepEqual(await readFile(join(cluster.data('node'), 'psyncd.db')), before);
});

test('a flipped bit in what the keyspace file has of the journal costs a part of the backlog, and no start and no backup', async (t) => {
  const cluster = await Cluster.create(t);
  await stopped(cluster, 'node');
  await flipped(cluster, 'node', 'psyncd.db');
  const backup = join(cluster.data('node'), '..', 'node-backup.db');
  const made = await psyncd(['backup', backup, '--data', cluster.data('node')]);
  assert.equal(made.code, 0, made.stderr);
  assert.equal((await psyncd(['verify', cluster.data('node')])).code, 1);
  const node = await cluster.start('node');
  assert.match(node.log, /"journal-damaged"/);
  const { backlog, offset } = (await node.client.replication()) as unknown as {
    readonly backlog: { readonly firstOffset: number; readonly length: number };
    readonly offset: number;
  };
  assert.ok(backlog.firstOffset > 1);
  assert.equal(backlog.firstOffset + backlog.length - 1, offset);
  assert.equal(await textOf(node, 'marked'), MARK);
  const replica = await cluster.start('replica', '--replica-of', node.wsUrl);
  await converged(node, replica);
  const restored = join(cluster.data('node'), '..', 'restored');
  assert.equal((await psyncd(['restore', backup, restored])).code, 0);
  assert.equal(await textOf(await cluster.start('restored'), 'marked'), MARK);
});

test('who lacks a damaged part of what the journal keeps gets a snapshot, and is told so', async (t) => {
  const cluster = await Cluster.create(t);
  const flags = ['--journal-keep', '1h', '--backlog-size', '16kb'];
  const first = await cluster.start('master', ...flags);
  await writeMany(first, 'a', 5);
  const away = await cluster.start('replica', '--replica-of', first.wsUrl);
  await converged(first, away);
  assert.equal(await away.stop(), 0);
  const { position } = await first.client.replication();
  await first.client.set('marked', MARK);
  await writeMany(first, 'b', 100, 'x'.repeat(1_000));
  assert.equal(await first.stop(), 0);
  await flipped(cluster, 'master', 'psyncd.db');
  const master = await cluster.restart('master', first, ...flags);
  const replica = await cluster.restart('replica', away);
  await converged(master, replica);
  const { upstream } = await replica.client.replication();
  assert.deepEqual([upstream?.lastSync?.kind, upstream?.lastSync?.reason], ['full', 'behind-backlog']);
  const check = await master.client.check(position);
  assert.deepEqual([check.decision, check.reason], ['full-resync', 'behind-backlog']);
  const url = `${master.url}/v1/changes?position=${position}`;
  const headers = { accept: 'application/x-ndjson' };
  const lost = await fetch(`${url}&snapshot=false`, { headers });
  assert.equal(lost.status, 410);
  assert.match(await lost.text(), /POSITION_LOST/);
  const diff = await fetch(`${master.url}/v1/diff?from=${position}`);
  assert.equal(diff.status, 410);
  const changed = await fetch(`${master.url}/v1/config`, {
    method: 'PATCH',
    headers: { 'Content-Type': 'application/json' },
    body: '{"backlogSize":"1mb"}',
  });
  assert.equal(changed.status, 200);
  await until(
    'the backlog is larger',
    async () => (await master.client.replication()).backlog.size === 1_048_576,
  );
  const { backlog, window } = await master.client.replication();
  assert.deepEqual(backlog.firstOffset, window.firstOffset);
  assert.equal(master.log.match(/"journal-damaged"/g)?.length, 1);
  assert.doesNotMatch(master.log, /backlog-not-resized/);
});

test('a master whose last write is damaged in the journal goes on under a new run ID, and its replicas with it', async (t) => {
  const cluster = await Cluster.create(t);
  const first = await cluster.start('master');
  const away = await cluster.start('replica', '--replica-of', first.wsUrl);
  await first.client.set('marked', MARK);
  await converged(first, away);
  const before = await first.client.replication();
  assert.equal(await away.stop(), 0);
  assert.equal(await first.stop(), 0);
  await flipped(cluster, 'master', 'psyncd.db');
  const master = await cluster.restart('master', first);
  const { lineage, runId } = await master.client.replication();
  const [ancestor] = lineage;
  assert.notEqual(runId, before.runId);
  assert.deepEqual(
    [ancestor?.runId, ancestor?.reason, ancestor?.validTo],
    [before.runId, 'unclean-stop', before.offset],
  );
  const replica = await cluster.restart('replica', away);
  await converged(master, replica);
  const { upstream } = await replica.client.replication();
  assert.equal(upstream?.lastSync?.kind, 'partial');
});

test('a keyspace file that is past the journal of a clean stop is noticed at the start', async (t) => {
  const cluster = await Cluster.create(t);
  await stopped(cluster, 'node');
  const db = new Database(join(cluster.data('node'), 'keyspace-1.db'));
  movePosition(db, 1_048_576);
  db.close();
  await assert.rejects(
    cluster.start('node'),
    /is damaged: the keyspace file is at byte \d+, but the journal of a clean stop ends at byte \d+/,
  );
});

for (const [what, change] of [
  ['past the journal', (at: number) => at + 2 ** 40],
  ['to another write in the journal', (at: number) => at + SET_BYTES],
] as const) {
  test(`after a crash, a flipped bit in the position of the keyspace file is noticed at the start: ${what}`, async (t) => {
    const cluster = await Cluster.create(t);
    await stopped(cluster, 'node');
    const node = await cluster.start('node', '--apply-interval', '1h');
    for (const key of ['k1', 'k2']) await node.client.set(key, 'v');
    await node.stop('SIGKILL');
    const path = join(cluster.data('node'), 'keyspace-1.db');
    const db = new Database(path);
    const at = db.prepare('SELECT "offset" FROM position').pluck().get() as number;
    db.prepare('UPDATE position SET "offset" = ?').run(change(at));
    db.close();
    await assert.rejects(
      cluster.start('node'),
      /keyspace-1\.db is damaged: the table position holds [0-9a-f]+:\d+, which is not what was written/,
    );
    const mended = new Database(path);
    mended.prepare('UPDATE position SET "offset" = ?').run(at);
    mended.close();
    assert.equal(await textOf(await cluster.start('node'), 'k2'), 'v');
  });
}

test('the keyspace file of another node is noticed at the start, also when it fits the journal', async (t) => {
  const cluster = await Cluster.create(t);
  for (const name of ['node', 'other']) await stopped(cluster, name);
  const path = join(cluster.data('node'), 'keyspace-1.db');
  const own = await readFile(path);
  await writeFile(path, await readFile(join(cluster.data('other'), 'keyspace-1.db')));
  await assert.rejects(cluster.start('node'), (error: Error) => {
    assert.match(
      error.message,
      /is damaged: the keyspace file is of another history: it is at [0-9a-f]+:\d+/,
    );
    assert.equal(error.message.split('\n').filter((line) => line.startsWith('psyncd:')).length, 1);
    return true;
  });
  await writeFile(path, own);
  assert.equal(await textOf(await cluster.start('node'), 'marked'), MARK);
});

/** A folder as an older psyncd has left it: only the first migrations have run. */
async function olderFolder(folder: string): Promise<void> {
  const runId = 'c'.repeat(40);
  await mkdir(folder);
  const sql = (path: string): Promise<string> =>
    readFile(new URL(`../../migrations/${path}`, import.meta.url), 'utf8');
  const state = new Database(join(folder, 'psyncd.db'));
  state.exec(await sql('state/001-initial.sql'));
  state.pragma(`application_id = ${0x70737900}`);
  state.pragma('user_version = 1');
  state.exec(
    `INSERT INTO node (only, run_id, keyspace, upstream, clean, boot_id, fsync) VALUES (1, '${runId}', 1, NULL, 1, NULL, 'everysec')`,
  );
  const set = '*3\r\n$3\r\nSET\r\n$1\r\nj\r\n$7\r\njournal\r\n';
  state
    .prepare('INSERT INTO journal (end_offset, bytes) VALUES (?, ?)')
    .run(100 + set.length, Buffer.from(set));
  state.close();
  const keyspace = new Database(join(folder, 'keyspace-1.db'));
  keyspace.exec(await sql('keyspace/001-initial.sql'));
  keyspace.pragma(`application_id = ${0x70737901}`);
  keyspace.pragma('user_version = 1');
  keyspace.exec(`INSERT INTO position (only, run_id, "offset") VALUES (1, '${runId}', 100)`);
  const insert = keyspace.prepare(
    'INSERT INTO entries (key, value, version, expires_at) VALUES (?, ?, ?, ?)',
  );
  insert.run('k', Buffer.from('old'), 50, null);
  insert.run('e', Buffer.from('expires'), 90, 4_000_000_000_000);
  insert.run('l', Buffer.alloc(100_000, 'large'), 70, null);
  keyspace.close();
}

test('a folder of an older psyncd is brought up to date, and loses nothing', async (t) => {
  const cluster = await Cluster.create(t);
  await olderFolder(cluster.data('node'));
  const node = await cluster.start('node');
  assert.deepEqual([node.ready.runId, node.ready.offset], ['c'.repeat(40), 133]);
  assert.deepEqual(
    [await textOf(node, 'k'), await textOf(node, 'e'), await textOf(node, 'j')],
    ['old', 'expires', 'journal'],
  );
  await fetch(`${node.url}/v1/keys/e/expiry`, { method: 'DELETE' });
  const replica = await cluster.start('replica', '--replica-of', node.wsUrl);
  await converged(node, replica);
  assert.equal(await node.stop(), 0);
  const again = await cluster.start('node', '--port', String(node.port));
  await converged(again, replica);
  assert.equal(await textOf(again, 'e'), 'expires');
  assert.equal(await textOf(replica, 'l'), 'large'.repeat(20_000));
});

test('a keyspace of a newer psyncd is refused at the start, untouched', async (t) => {
  const cluster = await Cluster.create(t);
  await stopped(cluster, 'node');
  const path = join(cluster.data('node'), 'keyspace-1.db');
  const db = new Database(path);
  db.pragma('user_version = 99');
  db.close();
  const before = await readFile(path);
  await assert.rejects(cluster.start('node'), /keyspace-1\.db was written by a newer psyncd \(schema 99/);
  assert.deepEqual(await readFile(path), before);
  assert.deepEqual((await readdir(cluster.data('node'))).sort(), ['keyspace-1.db', 'psyncd.db']);
});

test('with --on-damage resync a replica that touches damage gets a full resync without a restart', async (t) => {
  const cluster = await Cluster.create(t);
  const master = await cluster.start('master');
  let replica = await cluster.start('replica', '--replica-of', master.wsUrl);
  await writeMany(master, 'k', 50);
  await master.client.set('marked', MARK);
  await converged(master, replica);
  await replica.stop();
  const [file = ''] = (await readdir(cluster.data('replica'))).filter((name) => name.startsWith('keyspace-'));
  await flipped(cluster, 'replica', file);
  replica = await cluster.start('replica', '--on-damage', 'resync');
  const answer = await fetch(`${replica.url}/v1/keys/marked`);
  assert.equal(answer.status, 503);
  await answer.arrayBuffer();
  await until('it has it right', async () => (await textOf(replica, 'marked')) === MARK);
  await converged(master, replica);
  assert.equal((await replica.client.replication()).upstream?.lastSync?.kind, 'full');
  assert.match(replica.log, /keyspace-damaged/);
  assert.deepEqual((await replica.client.replication()).kept, []);
});

for (const [what, file, flags] of [
  ['its keyspace file', /^keyspace-\d+\.db$/, false],
  ['psyncd.db, when it is told whom to follow', /^psyncd\.db$/, true],
] as const) {
  test(`with --on-damage resync a replica that finds ${what} damaged at the start sets its files aside and gets a full resync`, async (t) => {
    const cluster = await Cluster.create(t);
    const master = await cluster.start('master');
    const replica = await cluster.start('replica', '--replica-of', master.wsUrl);
    await writeMany(master, 'k', 50);
    await converged(master, replica);
    // It has a kept file too.
    await replica.client.promote();
    await replica.client.set('own', 'data');
    await replica.client.replicaOf(master.wsUrl);
    await converged(master, replica);
    await replica.stop();
    const [name = ''] = (await readdir(cluster.data('replica'))).filter((each) => file.test(each));
    const path = join(cluster.data('replica'), name);
    await writeFile(path, (await readFile(path)).subarray(0, 5_000));
    await assert.rejects(cluster.start('replica'), /is damaged/);
    for (let round = 0; round < 2; round += 1) {
      const again = await cluster.start(
        'replica',
        '--on-damage',
        'resync',
        ...(flags ? ['--replica-of', master.wsUrl] : []),
      );
      await converged(master, again);
      await again.stop();
    }
    const aside = (await readdir(cluster.data('replica'))).filter((each) => each.startsWith('damaged-'));
    assert.equal(aside.length, 1);
    const inside = await readdir(join(cluster.data('replica'), aside[0] ?? ''));
    assert.ok(inside.includes(name) && inside.some((each) => each.startsWith('replaced-')), inside.join());
  });
}

test('--on-damage resync does not make a master replace its files', async (t) => {
  const cluster = await Cluster.create(t);
  await stopped(cluster, 'node');
  const path = join(cluster.data('node'), 'keyspace-1.db');
  const cut = (await readFile(path)).subarray(0, 5_000);
  await writeFile(path, cut);
  await assert.rejects(cluster.start('node', '--on-damage', 'resync'), /is damaged.*is for replicas/);
  assert.deepEqual(await readFile(path), cut);
});

test('damage that looks like a key that is not there is found by the scrub, and the node ends', async (t) => {
  const cluster = await Cluster.create(t);
  let node = await cluster.start('node');
  await importMany(node);
  assert.equal(await node.stop(), 0);
  const lost = flippedSeparator(join(cluster.data('node'), 'keyspace-1.db'));
  node = await cluster.start('node', '--scrub-interval', '0');
  // What nothing else notices.
  assert.equal((await fetch(`${node.url}/v1/keys/${lost}`)).status, 404);
  assert.equal((await infoOf(node)).last_scrub_result, 'none');
  await fetch(`${node.url}/v1/config`, {
    method: 'PATCH',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ scrubInterval: '20ms' }),
  });
  await until('it has ended', () => node.process.exitCode !== null);
  assert.equal(node.process.exitCode, 1);
  assert.match(node.log, /keyspace-1\.db is damaged: the entry \\".*\\" is not .*restore/);
});

test('with --on-damage resync a replica replaces data that the scrub finds damaged, and the next scrub finds nothing', async (t) => {
  const cluster = await Cluster.create(t);
  const master = await cluster.start('master', '--scrub-interval', '50ms');
  let replica = await cluster.start('replica', '--replica-of', master.wsUrl);
  await importMany(master);
  await converged(master, replica);
  await replica.stop();
  const [file = ''] = (await readdir(cluster.data('replica'))).filter((name) => name.startsWith('keyspace-'));
  const lost = flippedSeparator(join(cluster.data('replica'), file));
  replica = await cluster.start('replica', '--on-damage', 'resync', '--scrub-interval', '50ms');
  await until('it has it again', async () => (await textOf(replica, lost)) !== null);
  await converged(master, replica);
  assert.match(replica.log, /keyspace-damaged/);
  for (const node of [master, replica]) {
    const info = await until('a scrub has found nothing', async () => {
      const lines = await infoOf(node);
      return lines.last_scrub_result === 'ok' && lines.last_scrub_entries === '300' ? lines : null;
    });
    assert.match(info.last_scrub_time ?? '', /^\d+$/);
    assert.match(info.last_scrub_duration_ms ?? '', /^\d+$/);
  }
});

/** Another history with data, which a full resync would replace. */
async function withData(cluster: Cluster, name: string, ...flags: string[]): Promise<ChildNode> {
  const node = await cluster.start(name, ...flags);
  await writeMany(node, 'own', 20);
  return node;
}

for (const [what, whileOpen] of [
  ['before it starts', false],
  ['while it runs', true],
] as const) {
  test(`after a bit of a master's keyspace file flips ${what}, a full resync replaces nothing, and the master names entry and file`, async (t) => {
    const cluster = await Cluster.create(t);
    await stopped(cluster, 'master');
    if (!whileOpen) await flipped(cluster, 'master', 'keyspace-1.db');
    // The scrub would not come by.
    const master = await cluster.start('master', '--scrub-interval', '0');
    if (whileOpen) await flipped(cluster, 'master', 'keyspace-1.db');
    const replica = await withData(cluster, 'replica');
    const before = await replica.client.digest();
    await replica.client.replicaOf(master.wsUrl);
    await until('the master has ended', () => master.process.exitCode !== null);
    assert.equal(master.process.exitCode, 1);
    assert.match(
      master.log,
      /snapshot-refused.*keyspace-1\.db is damaged: the entry \\"marked\\" is not what was written.*restore/s,
    );
    assert.match(
      replica.log,
      /"detail":"snapshot: it is damaged: the entry \\"…\\" is not what was written".*snapshot-damaged/,
    );
    assert.deepEqual(await replica.client.digest(), before);
  });
}

test('whichever bit of a stopped master flips, its replica ends up with the true data or keeps its own, and the master says why', async (t) => {
  const cluster = await Cluster.create(t);
  const { seed, random } = seeded();
  t.diagnostic(`PSYNCD_SEED=${seed}`);
  let master = await cluster.start('master', '--scrub-interval', '0');
  await importMany(master);
  await master.client.set('large', 'x'.repeat(50_000));
  await master.client.set('expires', 'late', { ttl: 1e6 });
  const truth = await master.client.digest();
  await master.stop();
  const path = join(cluster.data('master'), 'keyspace-1.db');
  const good = await readFile(path);
  const replica = await withData(cluster, 'replica');
  for (let round = 0; round < 4; round += 1) {
    await replica.client.promote();
    await replica.client.set('own', `${round}`);
    const before = await replica.client.digest();
    const bytes = Buffer.from(good);
    const at = Math.floor(random() * bytes.length);
    const bit = Math.floor(random() * 8);
    bytes[at] = (bytes[at] as number) ^ (1 << bit);
    const what = `bit ${bit} of byte ${at}`;
    await writeFile(path, bytes);
    try {
      master = await cluster.restart('master', master, '--scrub-interval', '0');
    } catch (error) {
      assert.match(String(error), /is damaged|keyspace-1\.db/, what);
      continue;
    }
    await replica.client.replicaOf(master.wsUrl);
    await until('there is an end', async () => {
      if (master.process.exitCode !== null) return true;
      return (await replica.client.replication()).upstream?.state === 'streaming';
    });
    if (master.process.exitCode === null) {
      assert.deepEqual(await converged(master, replica), truth, what);
      await master.stop();
      continue;
    }
    assert.match(master.log, /keyspace-1\.db is damaged: /, what);
    assert.deepEqual(await replica.client.digest(), before, what);
  }
});

test('with --on-damage resync a replica in the middle that sends damage mends itself, and then its own replicas', async (t) => {
  const cluster = await Cluster.create(t);
  const master = await cluster.start('master');
  let middle = await cluster.start('middle', '--replica-of', master.wsUrl);
  await writeMany(master, 'k', 50);
  await master.client.set('marked', MARK);
  await converged(master, middle);
  await middle.stop();
  const [file = ''] = (await readdir(cluster.data('middle'))).filter((name) => name.startsWith('keyspace-'));
  await flipped(cluster, 'middle', file);
  middle = await cluster.start('middle', '--on-damage', 'resync', '--scrub-interval', '0');
  const last = await withData(cluster, 'last');
  await last.client.replicaOf(middle.wsUrl);
  await converged(master, middle, last);
  assert.match(middle.log, /snapshot-refused.*keyspace-damaged/s);
  assert.equal((await last.client.replication()).kept.length, 1);
});

test('a master whose good snapshots are called damaged checks its file once within a minute', async (t) => {
  const cluster = await Cluster.create(t);
  const master = await cluster.start('master', '--scrub-interval', '0');
  await writeMany(master, 'k', 50);
  for (let round = 0; round < 5; round += 1) {
    const liar = await RawReplica.connect(t, master);
    liar.say('PSYNC', '?', '-1');
    assert.match(await liar.line(), /^\+FULLRESYNC/);
    liar.socket.close(4422, 'snapshot: "everything" is damaged');
    await liar.whenClosed();
    await until('it was heard', () => master.log.split('snapshot-refused"').length === round + 2);
    if (round === 0)
      await until('the master has looked', () => /refused-snapshot-was-whole/.test(master.log));
  }
  // One that has got no snapshot is not heard at all.
  const other = await RawReplica.connect(t, master);
  other.socket.close(4422, 'snapshot: nothing came');
  await other.whenClosed();
  assert.equal((await infoOf(master)).last_scrub_result, 'ok');
  assert.equal(master.log.split('"scrubbed"').length, 2);
  assert.equal(master.log.split('snapshot-refused"').length, 6);
});

/** 300 entries: a tree of inner and outer pages. */
async function importMany(node: ChildNode): Promise<void> {
  const lines = Array.from(
    { length: 300 },
    (_, index) => `{"key":"key/${String(index).padStart(4, '0')}","value":"${'x'.repeat(120)}"}\n`,
  );
  assert.equal((await fetch(`${node.url}/v1/import`, { method: 'POST', body: lines.join('') })).status, 200);
}

async function infoOf(node: ChildNode): Promise<Readonly<Record<string, string>>> {
  const text = await (await fetch(`${node.url}/v1/info`)).text();
  return Object.fromEntries(text.split('\r\n').map((line) => line.split(/:(.*)/s).slice(0, 2)));
}

test("a flipped bit in the node's row of psyncd.db is damage at the start, and the start removes no file", async (t) => {
  const cluster = await Cluster.create(t);
  const node = await cluster.start('node');
  await node.client.set('k', 'v');
  await node.stop();
  const folder = cluster.data('node');
  const rows = [
    'keyspace = 0',
    'keyspace = 3',
    `upstream = '7s://127.0.0.1:1'`,
    `run_id = '${'a'.repeat(40)}'`,
  ];
  for (const change of rows) {
    await cp(folder, cluster.data('copy'), { recursive: true });
    const db = new Database(join(cluster.data('copy'), 'psyncd.db'));
    db.exec(`UPDATE node SET ${change}`);
    db.close();
    const before = (await readdir(cluster.data('copy'))).filter((name) => /^keyspace.*db$/.test(name));
    await assert.rejects(cluster.start('copy'), /what it says of the node is not what was written/, change);
    const after = (await readdir(cluster.data('copy'))).filter((name) => /^keyspace.*db$/.test(name));
    assert.deepEqual(after, before);
    await rm(cluster.data('copy'), { recursive: true });
  }
});

test('a start whose psyncd.db names a keyspace file that is not there removes no other one', async (t) => {
  const cluster = await Cluster.create(t);
  const master = await cluster.start('master');
  await master.client.set('k', 'v');
  const replica = await cluster.start('replica');
  await replica.stop();
  const folder = cluster.data('replica');
  await cp(join(folder, 'psyncd.db'), cluster.data('old.db'));
  const following = await cluster.start('replica', '--replica-of', master.wsUrl);
  await converged(master, following);
  await following.stop();
  await cp(join(folder, 'psyncd.db'), cluster.data('new.db'));
  await cp(cluster.data('old.db'), join(folder, 'psyncd.db'));
  await assert.rejects(cluster.start('replica'), /keyspace-1\.db is missing/);
  await cp(cluster.data('new.db'), join(folder, 'psyncd.db'));
  const again = await cluster.start('replica');
  await converged(master, again);
});
