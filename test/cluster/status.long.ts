/** What a node tells of itself: what PSYNC would answer, why a replica resynced, and how old its data is. */
import assert from 'node:assert/strict';
import test from 'node:test';
import type { ChildNode } from '../../src/cli/child-node.ts';
import { until } from '../../src/cli/until.ts';
import type { CheckAnswer } from '../../src/client/rest.ts';
import { Cluster, converged, counters, linkState, writeMany } from '../support/cluster.ts';
import { RawReplica } from '../support/raw-replica.ts';
import { infoOf, sessionsOf } from '../support/reports.ts';

/** What a replica at this position is answered, if it really asks. */
async function answerTo(
  t: Parameters<typeof RawReplica.connect>[0],
  node: ChildNode,
  position: string,
): Promise<string> {
  const [runId = '', offset] = position.split(':');
  const replica = await RawReplica.connect(t, node);
  replica.say('REPLCONF', 'capa', 'psync2', 'capa', 'lineage');
  assert.equal(await replica.line(), '+OK');
  replica.say('PSYNC', runId, String(Number(offset) + 1));
  const line = await replica.line();
  replica.socket.terminate();
  return line;
}

test('check answers what PSYNC would, with reason and bytes, and does nothing', async (t) => {
  const cluster = await Cluster.create(t);
  const master = await cluster.start('master', '--backlog-size', '16kb');
  const old = await cluster.start('old', '--replica-of', master.wsUrl, '--backlog-size', '16kb');
  await writeMany(master, 'a/', 30, 'x'.repeat(300));
  await converged(master, old);
  await old.client.promote();
  await writeMany(old, 'b/', 60, 'x'.repeat(300));
  const { runId, offset, lineage, backlog } = await old.client.replication();
  const [ancestor] = lineage;
  assert.ok(ancestor !== undefined);
  const { keys } = (await (await fetch(`${old.url}/v1/keys?prefix=b/`)).json()) as {
    keys: readonly { readonly version: number }[];
  };
  const ends = keys.map(({ version }) => version).sort((one, other) => one - other);
  const expected: readonly (readonly [string, CheckAnswer['decision'], string | null])[] = [
    [`${runId}:${offset}`, 'continue', null],
    [`${runId}:${offset - 7}`, 'full-resync', 'different-bytes'],
    [`${runId}:${ends.at(-2)}`, 'continue', null],
    [`${runId}:${ends.find((end) => end >= backlog.firstOffset - 1)}`, 'continue', null],
    ends.includes(backlog.firstOffset - 1)
      ? [`${runId}:${backlog.firstOffset - 1}`, 'continue', null]
      : [`${runId}:${backlog.firstOffset - 1}`, 'full-resync', 'different-bytes'],
    [`${runId}:${backlog.firstOffset - 2}`, 'full-resync', 'behind-backlog'],
    [`${runId}:${offset + 1}`, 'full-resync', 'ahead-of-master'],
    [`${ancestor.runId}:${ancestor.validTo}`, 'full-resync', 'behind-backlog'],
    [`${ancestor.runId}:${ancestor.validTo + 1}`, 'full-resync', 'past-shared-history'],
    [`${'0'.repeat(40)}:0`, 'full-resync', 'unknown-run-id'],
  ];
  const before = await counters(old);
  for (const [position, decision, reason] of expected) {
    const answer = await old.client.check(position);
    assert.deepEqual([answer.decision, answer.reason, answer.notNow], [decision, reason, null], position);
    if (decision === 'continue') assert.equal(answer.bytes, offset - Number(position.split(':')[1]));
    else assert.ok(answer.bytes > 4_096);
  }
  const nothing = (await (await fetch(`${old.url}/v1/replication/check`)).json()) as CheckAnswer;
  assert.equal(nothing.reason, 'first-sync');
  assert.deepEqual(await counters(old), before);
  // And so it is when a replica really asks.
  for (const [position, decision, reason] of expected) {
    const line = await answerTo(t, old, position);
    const words = line.split(' ');
    if (decision === 'continue') {
      assert.deepEqual(words.slice(0, 3), [
        '+CONTINUE',
        runId,
        String(offset - Number(position.split(':')[1])),
      ]);
    } else assert.deepEqual([words[0], words[3]], ['+FULLRESYNC', reason]);
    assert.match(words.at(-1) ?? '', new RegExp(`^${ancestor.runId}:${ancestor.validTo}:promoted:\\d+$`));
  }
  const continued = expected.filter(([, decision]) => decision === 'continue').length;
  const full = expected.length - continued;
  assert.deepEqual(await counters(old), { syncFull: full, syncPartialOk: continued, syncPartialErr: full });
});

test('a replica whose own link is down would say: not now', async (t) => {
  const cluster = await Cluster.create(t);
  const { link, replica } = await cluster.linked();
  const { position } = await linkState(replica, 'streaming');
  link.cut();
  await linkState(replica, 'waiting');
  assert.match((await replica.client.check(position)).notNow ?? '', /^NOMASTERLINK/);
  assert.match(await answerTo(t, replica, position), /^-NOMASTERLINK/);
});

test('why did it resync? The log of its sessions tells, also when they have ended', async (t) => {
  const cluster = await Cluster.create(t);
  const { master, link, replica } = await cluster.linked(['--backlog-size', '16kb']);
  await master.client.set('k', 'v');
  await converged(master, replica);
  const { runId, offset } = await replica.client.replication();
  link.cut();
  await linkState(replica, 'waiting');
  await master.client.set('large', 'x'.repeat(20_000));
  link.restore();
  await converged(master, replica);
  const sessions = await sessionsOf(master);
  assert.deepEqual(
    sessions.map(({ url, open }) => ({ url, open })),
    [
      { url: replica.wsUrl, open: true },
      { url: replica.wsUrl, open: false },
    ],
  );
  const [newest, first] = sessions.map(({ events }) => events);
  assert.deepEqual(
    newest?.map(({ event }) => event),
    ['connected', 'full-resync', 'snapshot-sent'],
  );
  assert.deepEqual(newest?.[1]?.fields, { reason: 'behind-backlog', runId, asked: offset + 1 });
  assert.deepEqual(
    first?.map(({ event }) => event),
    ['connected', 'full-resync', 'snapshot-sent', 'session-closed'],
  );
});

test('lag is told in bytes, and in seconds of data on the master’s own clock', async (t) => {
  const cluster = await Cluster.create(t);
  const master = await cluster.start('master');
  const replica = await cluster.start('replica', '--replica-of', master.wsUrl);
  await master.client.set('k', 'v');
  await converged(master, replica);
  const caughtUp = await until('the replica has acknowledged', async () => {
    const [session] = (await master.client.replication()).replicas;
    return session?.lagBytes === 0 ? session : null;
  });
  assert.equal(caughtUp.lagSeconds, 0);
  replica.process.kill('SIGSTOP');
  // Nothing is written: its last ACK grows old, and its data do not.
  const idle = await until('its last ACK is old', async () => {
    const [session] = (await master.client.replication()).replicas;
    return (session?.ackAgeMs ?? 0) > 1_500 ? session : null;
  });
  assert.deepEqual([idle.lagBytes, idle.lagSeconds], [0, 0]);
  const before = (await master.client.replication()).offset;
  await master.client.set('k', 'w');
  const behind = await until('its data are old', async () => {
    const [session] = (await master.client.replication()).replicas;
    return (session?.lagSeconds ?? 0) >= 1 ? session : null;
  });
  assert.equal(behind.lagBytes, (await master.client.replication()).offset - before);
  assert.ok((behind.ackAgeMs ?? 0) / 1000 > behind.lagSeconds);
  const line = (await infoOf(master)).slave0 ?? '';
  assert.match(
    line,
    /^ip=127\.0\.0\.1,port=\d+,state=online,offset=\d+,lag=[1-9]\d*,lag_bytes=\d+,lag_seconds=[1-9]/,
  );
  replica.process.kill('SIGCONT');
  await until(
    'it has caught up',
    async () => (await master.client.replication()).replicas[0]?.lagSeconds === 0,
  );
});

test('INFO has Redis’s names on both sides of a link', async (t) => {
  const cluster = await Cluster.create(t);
  const { master, link, replica } = await cluster.linked(['--min-replicas-to-write', '1']);
  await linkState(replica, 'streaming');
  await until(
    'writes are possible',
    async () => (await fetch(`${master.url}/v1/keys/k`, { method: 'PUT' })).ok,
  );
  await converged(master, replica);
  const { runId, offset } = await master.client.replication();
  const of = await infoOf(master);
  const expected = {
    role: 'master',
    connected_slaves: '1',
    min_slaves_good_slaves: '1',
    master_failover_state: 'no-failover',
    master_replid: runId,
    master_replid2: '0'.repeat(40),
    master_repl_offset: String(offset),
    second_repl_offset: '-1',
    repl_backlog_active: '1',
    repl_backlog_size: '1048576',
    repl_backlog_first_byte_offset: '1',
    repl_backlog_histlen: String(offset),
    sync_full: '1',
    sync_partial_ok: '0',
    sync_partial_err: '0',
  };
  for (const [name, value] of Object.entries(expected)) assert.equal(of[name], value, name);
  const up = await infoOf(replica);
  assert.deepEqual(
    [
      up.role,
      up.master_link_status,
      up.master_host,
      up.slave_repl_offset,
      up.slave_read_only,
      up.last_sync_reason,
    ],
    ['slave', 'up', '127.0.0.1', String(offset), '1', 'first-sync'],
  );
  assert.equal(up.master_link_down_since_seconds, undefined);
  link.cut();
  await linkState(replica, 'waiting');
  const down = await infoOf(replica);
  assert.equal(down.master_link_status, 'down');
  assert.match(down.master_link_down_since_seconds ?? '', /^\d+$/);
  await replica.client.promote();
  const promoted = await infoOf(replica);
  assert.deepEqual(
    [promoted.role, promoted.master_replid2, promoted.second_repl_offset],
    ['master', runId, String(offset + 1)],
  );
});

test('a partial resync is told on both sides with the same bytes', async (t) => {
  const cluster = await Cluster.create(t);
  const { master, link, replica } = await cluster.linked();
  await master.client.set('before', 'the cut');
  await converged(master, replica);
  const before = (await master.client.replication()).offset;
  link.cut();
  await linkState(replica, 'waiting');
  await writeMany(master, 'k', 7);
  link.restore();
  await converged(master, replica);
  const { offset, replicas } = await master.client.replication();
  assert.deepEqual(replicas[0]?.sync, { kind: 'partial', bytes: offset - before });
  const { lastSync } = (await replica.client.replication()).upstream ?? {};
  assert.deepEqual([lastSync?.kind, lastSync?.bytes, lastSync?.reason], ['partial', offset - before, null]);
});

test('a connection is a replica from its PSYNC on; while it waits for its snapshot, INFO says wait_bgsave', async (t) => {
  const cluster = await Cluster.create(t);
  // So many snapshots are sent at the same time; one more waits.
  const atOnce = 4;
  const master = await cluster.start('master', '--max-replicas', String(atOnce + 1));
  // What is sent of it does not fit into the sockets.
  for (let index = 0; index < 30; index += 1) await master.client.set(`k${index}`, 'x'.repeat(1_000_000));
  const silent = await RawReplica.connect(t, master);
  const named = await RawReplica.connect(t, master);
  named.say('REPLCONF', 'listening-url', 'ws://127.0.0.1:1', 'node-id', 'n1');
  assert.equal(await named.line(), '+OK');
  assert.equal((await infoOf(master)).connected_slaves, '0');
  assert.deepEqual((await master.client.replication()).replicas, []);
  // They take nobody's place either.
  for (let index = 0; index < atOnce; index += 1) {
    const taking = await RawReplica.connect(t, master);
    taking.say('PSYNC', '?', '-1');
    await taking.pauseAfter(1);
    assert.match(await taking.line(), /^\+FULLRESYNC/);
    // More than the backlog: the next one needs a snapshot of its own.
    await master.client.set('k0', `${index}`.repeat(2_000_000));
  }
  named.say('PSYNC', '?', '-1');
  const states = await until('all are replicas', async () => {
    const info = await infoOf(master);
    if (info.connected_slaves !== String(atOnce + 1)) return null;
    return Array.from({ length: atOnce + 1 }, (_, index) => info[`slave${index}`] ?? '');
  });
  assert.deepEqual(states.map((line) => /,state=([a-z_]+),/.exec(line)?.[1]).sort(), [
    ...Array.from({ length: atOnce }, () => 'send_bulk'),
    'wait_bgsave',
  ]);
  silent.say('PSYNC', '?', '-1');
  assert.equal((await silent.whenClosed()).code, 4429);
});

test('unfinished handshakes have a limit of their own: one more costs the oldest its connection', async (t) => {
  const cluster = await Cluster.create(t);
  const master = await cluster.start('master');
  const waiting: RawReplica[] = [];
  for (let index = 0; index < 65; index += 1) waiting.push(await RawReplica.connect(t, master));
  assert.equal((await waiting[0]?.whenClosed())?.code, 4429);
  const newest = waiting.at(-1);
  newest?.say('PSYNC', 'replicationid', '-1');
  const { runId } = await master.client.replication();
  assert.equal(await newest?.line(), `+FULLRESYNC ${runId} 0 unknown-run-id`);
  waiting.at(-2)?.say('PSYNC', runId, '007');
  assert.equal(await waiting.at(-2)?.line(), '-ERR value is not an integer or out of range');
  assert.deepEqual(await counters(master), { syncFull: 1, syncPartialOk: 0, syncPartialErr: 1 });
});

test('INFO says what the overlay takes, until the applier has written it', async (t) => {
  const cluster = await Cluster.create(t);
  const node = await cluster.start('node', '--apply-interval', '1h');
  assert.equal((await infoOf(node)).overlay_bytes, '0');
  await node.client.set('key', 'x'.repeat(1_000));
  assert.ok(Number((await infoOf(node)).overlay_bytes) > 1_000);
  // A digest is of the file, so it has it written.
  await node.client.digest();
  assert.equal((await infoOf(node)).overlay_bytes, '0');
});
