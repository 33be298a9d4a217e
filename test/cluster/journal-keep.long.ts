/** `--journal-keep`: who was away for longer than the backlog lasts continues from the journal on the disk. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import test from 'node:test';
import type { ChildNode } from '../../src/cli/child-node.ts';
import { until } from '../../src/cli/until.ts';
import { Cluster, converged, counters, linkState, writeMany } from '../support/cluster.ts';

const SMALL_BACKLOG = ['--backlog-size', '16kb', '--apply-interval', '10ms'];
const VALUE = 'x'.repeat(1_000);

async function restartedMaster(cluster: Cluster, master: ChildNode, ...flags: string[]): Promise<ChildNode> {
  assert.equal(await master.stop('SIGTERM'), 0);
  return cluster.restart('master', master, ...SMALL_BACKLOG, ...flags);
}

test('a replica far behind the backlog continues from the journal, also of a master that was restarted meanwhile', async (t) => {
  const cluster = await Cluster.create(t);
  const flags = [...SMALL_BACKLOG, '--journal-keep', '1h'];
  const { master: first, link, replica } = await cluster.linked(flags);
  await writeMany(first, 'a', 5);
  await converged(first, replica);
  link.cut();
  await linkState(replica, 'waiting');
  await writeMany(first, 'b', 100, VALUE);
  const master = await restartedMaster(cluster, first, '--journal-keep', '1h');
  await writeMany(master, 'c', 100, VALUE);
  await master.client.delete('b7');

  const { window, backlog } = await master.client.replication();
  const { position } = await replica.client.replication();
  assert.ok(window.firstOffset <= Number(position.split(':')[1]) + 1);
  assert.ok(window.firstOffset < backlog.firstOffset);
  const check = await master.client.check(position);
  assert.equal(check.decision, 'continue');
  link.restore();
  await converged(master, replica);
  assert.deepEqual(await counters(master), { syncFull: 0, syncPartialOk: 1, syncPartialErr: 0 });
  const { upstream } = await replica.client.replication();
  assert.deepEqual([upstream?.lastSync?.kind, upstream?.lastSync?.bytes], ['partial', check.bytes]);
});

test('a follower far behind the backlog gets each change that it missed, and no snapshot', async (t) => {
  const cluster = await Cluster.create(t);
  const master = await cluster.start('master', ...SMALL_BACKLOG, '--journal-keep', '10mb');
  await master.client.set('before', '1');
  const { position } = await master.client.replication();
  await writeMany(master, 'k', 60, VALUE);
  const url = `${master.url}/v1/changes?position=${position}&limit=60`;
  const text = await (await fetch(url, { headers: { accept: 'application/x-ndjson' } })).text();
  const events = text
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as { type: string; key?: string });
  assert.equal(events[0]?.type, 'continue');
  assert.deepEqual(
    events.flatMap(({ type, key }) => (type === 'set' ? [key] : [])),
    Array.from({ length: 60 }, (_, index) => `k${index}`),
  );
});

test('the journal keeps so many bytes and no more, and what is kept may change while the node runs', async (t) => {
  const cluster = await Cluster.create(t);
  const master = await cluster.start('master', ...SMALL_BACKLOG, '--journal-keep', '64kb');
  await writeMany(master, 'k', 300, VALUE);
  const { window, offset } = await master.client.replication();
  assert.equal(window.firstOffset + window.length - 1, offset);
  assert.ok(window.length <= 64 * 1024 && window.length > 60 * 1024, String(window.length));
  const lost = `${master.ready.runId}:${offset - 70_000}`;
  const answer = await fetch(`${master.url}/v1/changes?position=${lost}&snapshot=false`);
  assert.equal(answer.status, 410);

  const patch = async (journalKeep: string): Promise<unknown> => {
    const body = JSON.stringify({ journalKeep });
    const headers = { 'content-type': 'application/json' };
    const patched = await fetch(`${master.url}/v1/config`, { method: 'PATCH', headers, body });
    assert.equal(patched.status, 200);
    return ((await patched.json()) as { journalKeep: unknown }).journalKeep;
  };
  assert.equal(await patch('2h,1gb'), '7200s,1073741824');
  assert.equal(await patch('0'), 0);
  const { window: none, backlog } = await master.client.replication();
  assert.deepEqual(none, { firstOffset: backlog.firstOffset, length: backlog.length });
});

test('a full disk ends what the journal keeps, because writes come first', async (t) => {
  const cluster = await Cluster.create(t);
  const master = await cluster.start('master', ...SMALL_BACKLOG, '--journal-keep', '1gb');
  await writeMany(master, 'k', 40, VALUE);
  const before = await master.client.replication();
  assert.equal(before.window.firstOffset, 1);
  // No file of the node may grow.
  const limit = (bytes: string): void => {
    execFileSync('prlimit', ['--pid', String(master.process.pid), `--fsize=${bytes}:unlimited`]);
  };
  limit('0');
  await assert.rejects(master.client.set('more', 'y'.repeat(3_000_000)), { code: 'DISK_FULL' });
  limit('unlimited');
  await until('the log says so', () => /journal-not-kept/.test(master.log));
  await master.client.set('after', '1');
  const after = await master.client.replication();
  assert.ok(after.window.firstOffset > before.offset - after.backlog.size, JSON.stringify(after.window));
});

test('a node that nobody writes to drops what a changed setting keeps no more', async (t) => {
  const cluster = await Cluster.create(t);
  const master = await cluster.start('master', ...SMALL_BACKLOG, '--journal-keep', '1gb');
  await writeMany(master, 'k', 60, VALUE);
  const { position } = await master.client.replication();
  const patch = (journalKeep: string): Promise<Response> =>
    fetch(`${master.url}/v1/config`, {
      method: 'PATCH',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ journalKeep }),
    });
  const first = async (): Promise<number> => (await master.client.replication()).window.firstOffset;
  assert.equal(await first(), 1);
  await patch('0');
  // A setting that keeps everything shows what is left in the journal.
  await until('the journal drops what it does not keep', async () => {
    await patch('1gb');
    const left = await first();
    if (left === 1) await patch('0');
    return left > 1;
  });
  assert.equal((await master.client.replication()).position, position);
});

test('the advice and the metrics know what the journal keeps', async (t) => {
  const cluster = await Cluster.create(t);
  const master = await cluster.start('master', ...SMALL_BACKLOG, '--journal-keep', '1gb');
  await writeMany(master, 'k', 60, VALUE);
  const text = async (path: string): Promise<string> => (await fetch(`${master.url}${path}`)).text();
  const asked = async () =>
    JSON.parse(await text('/v1/replication/backlog?seconds=600')) as {
      advice: { enough: boolean; text: string; size: number };
    };
  // The present second counts when it is over.
  await until('the writes count', async () => (await asked()).advice.size > 16 * 1024);
  const { advice } = await asked();
  assert.equal(advice.enough, true);
  assert.match(advice.text, /and the journal keeps 1073741824, which is enough/);
  const metrics = await text('/metrics');
  const seconds = (name: string): number => Number(new RegExp(`^${name} (.*)$`, 'm').exec(metrics)?.[1]);
  assert.ok(seconds('psyncd_window_seconds') > seconds('psyncd_backlog_window_seconds'));
});
