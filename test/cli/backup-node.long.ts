/** `psyncd backup --node`: the snapshot of a running node, however it comes. */
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { mkdir, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import test, { type TestContext } from 'node:test';
import { BACKED_UP, ENTRIES, makeKeyspace, type Outcome, psyncd } from '../support/backups.ts';
import { temporaryFolder } from '../support/cluster.ts';
import { type SnapshotFaults, type SnapshotServer, snapshotServer } from '../support/snapshot-server.ts';

interface Tried {
  readonly server: SnapshotServer;
  readonly outcome: Outcome;
  readonly file: string;
  /** The files in the folder of the backup. */
  readonly names: readonly string[];
}

/** Makes a backup of a server with these faults. */
async function tried(t: TestContext, faults: SnapshotFaults, ...flags: string[]): Promise<Tried> {
  const folder = await temporaryFolder(t);
  makeKeyspace(join(folder, 'keyspace.db'), ENTRIES);
  const server = await snapshotServer(t, readFileSync(join(folder, 'keyspace.db')), faults);
  const backups = join(folder, 'backups');
  await mkdir(backups);
  const file = join(backups, 'b.db');
  const outcome = await psyncd(['backup', file, '--node', server.url, '--json', ...flags]);
  return { server, outcome, file, names: await readdir(backups) };
}

async function works(t: TestContext, faults: SnapshotFaults, ...flags: string[]): Promise<SnapshotServer> {
  const { server, outcome, file, names } = await tried(t, faults, ...flags);
  assert.equal(outcome.code, 0, outcome.stderr);
  const made = JSON.parse(outcome.stdout) as Record<string, unknown>;
  assert.deepEqual([made.runId, made.offset, made.keys], [BACKED_UP.runId, BACKED_UP.offset, ENTRIES.length]);
  assert.equal(made.hash, '0123456789abcdef');
  assert.deepEqual(made.lineage, [{ runId: 'f'.repeat(40), validTo: 5, reason: 'promoted', at: 1 }]);
  assert.deepEqual(names, ['b.db']);
  assert.match((await psyncd(['verify', file])).stdout, /^whole: 300 entries/);
  return server;
}

async function fails(t: TestContext, faults: SnapshotFaults, message: RegExp): Promise<SnapshotServer> {
  const { server, outcome, names } = await tried(t, faults);
  assert.match(outcome.stderr, message);
  assert.match(outcome.stderr, /^psyncd: [^\n]+\n$/);
  assert.deepEqual([outcome.code, outcome.stdout, names], [1, '', []]);
  return server;
}

test('a running node is backed up, also if it needs a moment to make the snapshot', async (t) => {
  assert.deepEqual((await works(t, { busy: 2 })).ranges, [null]);
});

test('a download that is cut goes on where it was', async (t) => {
  const { ranges } = await works(t, { cutAfter: 30_000 });
  assert.ok(ranges.length > 3, ranges.join());
  assert.deepEqual(ranges.slice(0, 3), [null, 'bytes=30000-', 'bytes=60000-']);
});

test('a cut before an answer ends no backup, but for the first request', async (t) => {
  // The second request is for the bytes, the last for the history.
  await works(t, { cutRequests: [2, 3, 5, 6] });
  await works(t, { busy: 2, cutRequests: [2, 4, 5] });
  await works(t, { cutAfter: 30_000, lostAt: [2], cutRequests: [4] });
  await fails(t, { cutRequests: [1] }, /cannot reach the node: .*; is it running\?/);
  await fails(t, { cutRequests: [2, 3, 4, 5, 6, 7, 8, 9, 10] }, /the node broke off the download: /);
});

test('a download begins anew when the node has dropped the snapshot', async (t) => {
  const { ranges } = await works(t, { cutAfter: 30_000, lostAt: [2] });
  assert.deepEqual(ranges.slice(0, 4), [null, 'bytes=30000-', null, 'bytes=30000-']);
});

test('the token is shown, and goes to no other server that the node names', async (t) => {
  const folder = await temporaryFolder(t);
  const token = join(folder, 'token');
  writeFileSync(token, 'secret\n');
  const other = await snapshotServer(t, Buffer.alloc(0));
  const location = `${other.url}/v1/snapshots/${BACKED_UP.runId}/${BACKED_UP.offset}`;
  await works(t, { token: 'secret', location }, '--token-file', token);
  assert.deepEqual(other.ranges, []);
  await fails(t, { token: 'secret' }, /--token-file FILE or PSYNCD_TOKEN shows one/);
});

test('a snapshot that cannot be had whole leaves no file, and says why', async (t) => {
  const { ranges } = await fails(t, { cutAfter: 0 }, /the node broke off the download after 0 of \d+ bytes/);
  assert.equal(ranges.length, 9);
  await fails(t, { flips: true }, /has failed 3 times: .* the SHA-256 differs/);
  await fails(t, { lostAt: [1, 2, 3] }, /has failed 3 times: the node no longer has the snapshot/);
  await fails(t, { cutAfter: 30_000, ignoresRange: true, lostAt: [4, 5, 6] }, /no longer has the snapshot/);
  await fails(t, { cutAfter: 30_000, ignoresRange: true }, /was cut 4 times, .* in place of the rest/);
  await fails(t, { status: 507 }, /DISK_FULL of the test/);
  await fails(t, { status: 404 }, /of the test/);
  await fails(t, { location: '/v1/keys/x' }, /does not say where its snapshot is/);
  const anotherHistory = /has got another history during the download/;
  await fails(t, { runId: 'e'.repeat(40) }, anotherHistory);
  await fails(t, { runId: 'e'.repeat(40), validTo: BACKED_UP.offset - 1 }, anotherHistory);
  await works(t, { runId: 'e'.repeat(40), validTo: BACKED_UP.offset });
});

test('bytes that are no whole keyspace file become no backup', async (t) => {
  const folder = await temporaryFolder(t);
  const path = join(folder, 'keyspace.db');
  makeKeyspace(path, ENTRIES);
  const damaged = readFileSync(path);
  damaged.fill(0x55, damaged.indexOf('key/0001'), damaged.indexOf('key/0001') + 4);
  for (const bytes of [damaged, Buffer.from('<html>'), damaged.subarray(0, 4096)]) {
    const { url } = await snapshotServer(t, bytes);
    const { code, stderr } = await psyncd(['backup', join(folder, 'b.db'), '--node', url]);
    assert.match(stderr, /^psyncd: the snapshot of http:\S+ cannot become a backup: [^\n]+\n$/);
    assert.equal(code, 1);
  }
  assert.deepEqual(await readdir(folder), ['keyspace.db']);
});
