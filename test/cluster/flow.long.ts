/** Slow replicas, old ones, and the backlog: who is closed, who is not, and how large it is. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { join } from 'node:path';
import test from 'node:test';
import { setTimeout as wait } from 'node:timers/promises';
import Database from 'better-sqlite3';
import type { ChildNode } from '../../src/cli/child-node.ts';
import { until } from '../../src/cli/until.ts';
import { LOOK_MS } from '../../src/node/hold.ts';
import { byteProxy } from '../support/byte-proxy.ts';
import { Cluster, converged, counters, linkState, temporaryFolder, writeMany } from '../support/cluster.ts';
import { RawReplica } from '../support/raw-replica.ts';
import { backlogOf, configure, sessionsOf } from '../support/reports.ts';

/** Loads so many entries, of 1,000 bytes unless the test says otherwise. */
async function load(node: ChildNode, count: number, prefix = 'k', valueBytes = 1_000): Promise<void> {
  const lines = Array.from(
    { length: count },
    (_, i) => `{"key":"${prefix}${i}","value":"${'x'.repeat(valueBytes)}"}\n`,
  );
  const answer = await fetch(`${node.url}/v1/import`, { method: 'POST', body: lines.join('') });
  assert.equal(answer.status, 200);
  await answer.body?.cancel();
}

test('the old command SYNC gets a snapshot without a line before it, then the stream, and owes no ACK', async (t) => {
  const cluster = await Cluster.create(t);
  // This process answers the pings, and a busy machine may keep it from that for a second.
  const master = await cluster.start('master', '--repl-timeout', '3s', '--repl-ping-interval', '100ms');
  await writeMany(master, 'a/', 20);
  const { position } = await master.client.replication();
  const follower = await RawReplica.connect(t, master);
  follower.say('SYNC');
  const length = Number(/^\$(\d+)$/.exec(await follower.line())?.[1]);
  const file = join(await temporaryFolder(t), 'snapshot.db');
  await writeFile(file, await follower.take(length));
  const db = new Database(file, { readonly: true });
  assert.equal(db.prepare('SELECT run_id || \':\' || "offset" FROM position').pluck().get(), position);
  assert.equal(db.prepare('SELECT count(*) FROM entries').pluck().get(), 20);
  db.close();
  await master.client.set('k', 'v');
  const set = '*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1\r\nv\r\n';
  assert.equal((await follower.take(set.length)).toString(), set);
  // It answers pings, as every WebSocket does; two time-outs later it is still there.
  let pings = 0;
  follower.socket.on('ping', () => {
    pings += 1;
  });
  await until('seventy pings came', () => pings >= 70);
  const [session] = (await master.client.replication()).replicas;
  assert.equal(session?.state, 'online');
  assert.equal(session?.sync?.reason, 'forced');
  assert.equal(session?.ackAgeMs, undefined);
  assert.deepEqual(await counters(master), { syncFull: 1, syncPartialOk: 0, syncPartialErr: 0 });
});

test('replicas that come together share one snapshot', async (t) => {
  const cluster = await Cluster.create(t);
  const master = await cluster.start('master');
  // More than the sockets hold, so that the first one's snapshot is still on its way when the others ask.
  await load(master, 300, 'k', 100_000);
  const replicas = await Promise.all([1, 2, 3].map(() => RawReplica.connect(t, master)));
  for (const replica of replicas) replica.socket.pause();
  for (const [index, replica] of replicas.entries()) {
    replica.say('PSYNC', '?', '-1');
    await until('it has asked', async () => (await master.client.replication()).replicas.length > index);
    await master.client.set('between', 'two requests');
  }
  for (const replica of replicas) replica.socket.resume();
  const lines = await Promise.all(replicas.map((replica) => replica.line()));
  assert.equal(new Set(lines).size, 1, lines.join('\n'));
  assert.match(lines[0] ?? '', /^\+FULLRESYNC [0-9a-f]{40} \d+ first-sync$/);
  // Each gets what was written since, and all the same.
  const { offset } = await master.client.replication();
  const streams = await Promise.all(
    replicas.map(async (replica) => {
      const length = Number((await replica.line()).slice(1));
      const at = Number(lines[0]?.split(' ')[2]);
      await replica.take(length);
      return (await replica.take(offset - at)).toString('latin1');
    }),
  );
  assert.equal(new Set(streams).size, 1);
});

/** Puts a replica online that from then on reads nothing. */
async function stalledReplica(
  t: Parameters<typeof RawReplica.connect>[0],
  master: ChildNode,
): Promise<RawReplica> {
  const replica = await RawReplica.connect(t, master);
  replica.say('PSYNC', '?', '-1');
  await until(
    'it is online',
    async () => (await master.client.replication()).replicas[0]?.state === 'online',
  );
  replica.socket.pause();
  return replica;
}

test('a replica that reads nothing is closed with 4413 at the hard limit', async (t) => {
  const cluster = await Cluster.create(t);
  const master = await cluster.start('master', '--replica-output-limit', '8mb');
  await stalledReplica(t, master);
  await until('it is closed', async () => {
    await load(master, 2_000);
    return (await master.client.replication()).replicas.length === 0;
  });
  assert.deepEqual(await lastEvent(master), ['session-ended', 4413]);
});

test('a replica that reads too slowly is closed with 4413 after a time at the soft limit, but not before', async (t) => {
  const cluster = await Cluster.create(t);
  const soft = ['--replica-output-soft-limit', '1mb', '--replica-output-soft-time', '1h'];
  const master = await cluster.start('master', ...soft, '--repl-ping-interval', '50ms');
  await stalledReplica(t, master);
  for (let round = 0; round < 10; round += 1) await load(master, 2_000);
  assert.equal((await master.client.replication()).replicas.length, 1);
  // Nothing is written any more: time alone closes it.
  assert.equal((await configure(master, { replicaOutputSoftTime: '100ms' })).status, 200);
  await until('it is closed', async () => (await master.client.replication()).replicas.length === 0);
  assert.deepEqual(await lastEvent(master), ['session-ended', 4413]);
});

async function lastEvent(
  node: ChildNode,
): Promise<readonly [string | undefined, string | number | undefined]> {
  const [newest] = await sessionsOf(node);
  const last = newest?.events.at(-1);
  return [last?.event, last?.fields.code];
}

/** Begins a full resync, and takes little of it. */
async function trickle(t: Parameters<typeof RawReplica.connect>[0], master: ChildNode): Promise<RawReplica> {
  const replica = await RawReplica.connect(t, master);
  replica.say('PSYNC', '?', '-1');
  await replica.pauseAfter(100);
  return replica;
}

test('a replica that reads its snapshot too slowly is closed with 4413 once that holds too much of the disk', async (t) => {
  const cluster = await Cluster.create(t);
  const master = await cluster.start('master', '--replica-output-limit', '8mb', '--apply-interval', '20ms');
  await load(master, 20_000);
  await master.client.digest();
  const replica = await trickle(t, master);
  await until('it is closed', async () => {
    await load(master, 2_000);
    replica.socket.resume();
    replica.socket.pause();
    return (await master.client.replication()).replicas.length === 0;
  });
  assert.deepEqual(await lastEvent(master), ['session-ended', 4413]);
  const [session] = await sessionsOf(master);
  assert.match(JSON.stringify(session), /its snapshot holds \d+ bytes on the disk, and \d+ of it were taken/);
});

test('a full resync does not wait for replicas that read theirs slowly', async (t) => {
  const cluster = await Cluster.create(t);
  const master = await cluster.start('master');
  await load(master, 20_000);
  await trickle(t, master);
  // More than the backlog: nobody can share that snapshot any more.
  await load(master, 3_000, 'a');
  await trickle(t, master);
  await load(master, 3_000, 'b');
  const replica = await cluster.start('replica', '--replica-of', master.wsUrl);
  await converged(master, replica);
  const { replicas } = await master.client.replication();
  assert.deepEqual(replicas.map(({ state }) => state).sort(), ['online', 'snapshot', 'snapshot']);
});

test('an export that is read too slowly is cut off once it holds too much of the disk, and does not look complete', async (t) => {
  const cluster = await Cluster.create(t);
  const master = await cluster.start('master', '--replica-output-limit', '1mb', '--apply-interval', '20ms');
  await load(master, 20_000);
  const { body } = await fetch(`${master.url}/v1/export`);
  assert.ok(body !== null);
  const reader = body.getReader();
  await reader.read();
  // What the sockets hold counts as taken.
  await until('it is ended', async () => {
    await load(master, 2_000);
    return /"its snapshot holds .*export-ended/.test(master.log);
  });
  await assert.rejects(async () => {
    for (let done = false; !done; ) done = (await reader.read()).done;
  });
  const whole = await (await fetch(`${master.url}/v1/export`)).text();
  assert.equal(whole.trim().split('\n').length, 20_000);
});

test('a follower that reads its snapshot too slowly is disconnected once that holds too much of the disk', async (t) => {
  const cluster = await Cluster.create(t);
  const limits = ['--follower-output-limit', '1mb', '--apply-interval', '20ms'];
  const master = await cluster.start('master', ...limits);
  await load(master, 20_000);
  const stalled = connect(master.port, '127.0.0.1');
  stalled.on('error', () => undefined);
  t.after(() => stalled.destroy());
  stalled.write('GET /v1/changes HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: application/x-ndjson\r\n\r\n');
  await once(stalled, 'readable');
  await until('it is let go', async () => {
    await load(master, 2_000);
    const info = await (await fetch(`${master.url}/v1/info`)).text();
    return /^follower_too_far_behind:1\b/m.test(info) && /^connected_followers:0\b/m.test(info);
  });
});

test('a replica that reads its snapshot slowly but steadily is not closed', async (t) => {
  const cluster = await Cluster.create(t);
  const limits = ['--replica-output-limit', '1mb', '--replica-output-soft-limit', '1mb'];
  // How long a busy machine takes for all this is no subject here: pongs come behind what was sent before the pings.
  const times = [
    '--replica-output-soft-time',
    '100ms',
    '--repl-timeout',
    '5m',
    '--repl-ping-interval',
    '50ms',
  ];
  const master = await cluster.start('master', ...limits, ...times);
  // More than the parts that are read have, and the buffers of two sockets, which Linux lets become 36 MB large.
  for (const prefix of ['a/', 'b/', 'c/', 'd/']) await load(master, 160, prefix, 100_000);
  const replica = await RawReplica.connect(t, master);
  replica.say('PSYNC', '?', '-1');
  // It reads a part, and then nothing while more is written than any limit allows, several times.
  let length = 0;
  for (let part = 1; part <= 5; part += 1) {
    replica.socket.resume();
    await replica.pauseAfter(part * 1_750_000);
    if (part === 1) {
      await replica.line();
      length = Number((await replica.line()).slice(1));
    }
    await load(master, 1_000, `part${part}/`);
    const { replicas } = await master.client.replication();
    assert.equal(replicas[0]?.progress?.total, length);
  }
  // The master looks at what the replica holds, and at what it has taken, and shows nobody that it has looked.
  await wait(LOOK_MS + 100);
  replica.socket.resume();
  await replica.take(length);
  const { offset } = await master.client.replication();
  await until('it has caught up', () => replica.receivedBytes > 5_000_000);
  replica.say('REPLCONF', 'ACK', String(offset));
  await until(
    'the master knows',
    async () => (await master.client.replication()).replicas[0]?.lagBytes === 0,
  );
  assert.equal(replica.closed, null);
});

test('a backlog that is resized while the node runs keeps its newest bytes, and may get older ones back from the journal', async (t) => {
  const cluster = await Cluster.create(t);
  const { master, link, replica } = await cluster.linked();
  await writeMany(master, 'a/', 200, 'x'.repeat(500));
  await converged(master, replica);
  const { offset } = await master.client.replication();
  assert.equal((await configure(master, { backlogSize: '32kb' })).status, 200);
  const small = await backlogOf(master);
  assert.deepEqual(
    { size: small.size, firstOffset: small.firstOffset, length: small.length },
    { size: 32_768, firstOffset: offset - 32_768 + 1, length: 32_768 },
  );
  assert.equal((await configure(master, { backlogSize: '4mb' })).status, 200);
  assert.equal((await backlogOf(master)).size, 4_194_304);
  // What fits into the large one and not into the default is a partial resync now.
  link.cut();
  await linkState(replica, 'waiting');
  await load(master, 2_000, 'b');
  link.restore();
  await converged(master, replica);
  assert.deepEqual(await counters(master), { syncFull: 1, syncPartialOk: 1, syncPartialErr: 0 });
  // And with a smaller one it is not.
  assert.equal((await configure(master, { backlogSize: '16kb' })).status, 200);
  link.cut();
  await linkState(replica, 'waiting');
  await load(master, 100, 'c');
  link.restore();
  await converged(master, replica);
  assert.deepEqual(await counters(master), { syncFull: 2, syncPartialOk: 1, syncPartialErr: 1 });
  for (const size of ['1kb', '100gb', 'auto', 'auto:0s', -1]) {
    assert.equal((await configure(master, { backlogSize: size })).status, 400, String(size));
  }
  assert.equal((await backlogOf(master)).size, 16_384);
});

test('the backlog report shows the write rate, the window and the outages, and advises a size from them', async (t) => {
  const cluster = await Cluster.create(t);
  const master = await cluster.start('master');
  const link = await cluster.proxy(master);
  const idle = await backlogOf(master);
  assert.deepEqual(
    [idle.rate, idle.coversSeconds, idle.advice.enough],
    [{ current: 0, peak: 0 }, null, true],
  );
  const replica = await cluster.start('replica', '--replica-of', link.wsUrl);
  await linkState(replica, 'streaming');
  await load(master, 1_000);
  await converged(master, replica);
  link.cut();
  await linkState(replica, 'waiting');
  const before = (await master.client.replication()).offset;
  await load(master, 100, 'away');
  const missed = (await master.client.replication()).offset - before;
  link.restore();
  await converged(master, replica);
  // The second that is not over does not count yet.
  const report = await until('the rate is known', async () => {
    const each = await backlogOf(master, '?seconds=3600');
    return each.rate.peak > 0 ? each : null;
  });
  assert.ok((report.coversSeconds ?? 0) > 0 && report.historySeconds > 0);
  const [outage] = report.outages;
  assert.deepEqual(
    { replica: outage?.replica, bytes: outage?.bytes, kind: outage?.kind },
    { replica: replica.wsUrl, bytes: missed, kind: 'partial' },
  );
  const { advice } = report;
  assert.equal(advice.awaySeconds, 3600);
  // The rate is told in whole bytes; sizes are rounded up to 64 KiB.
  assert.ok(Math.abs(advice.size - 3600 * report.rate.peak) <= 65_536 + 3600);
  assert.equal(advice.enough, report.size >= advice.size);
  assert.match(advice.text, /3600 s away x \d+ bytes a second/);
});

test('--backlog-size auto:TIME grows with the write rate up to its ceiling, and never falls below its floor', async (t) => {
  const cluster = await Cluster.create(t);
  const auto = ['--backlog-size', 'auto:1h', '--backlog-floor', '64kb', '--backlog-ceiling', '3mb'];
  const master = await cluster.start('master', ...auto);
  assert.deepEqual((await backlogOf(master)).size, 65_536);
  await load(master, 50);
  const grown = await until('it has grown', async () => {
    const report = await backlogOf(master);
    return report.size > 65_536 ? report : null;
  });
  assert.deepEqual(grown.auto, { awaySeconds: 3600, floor: 65_536, ceiling: 3_145_728 });
  await load(master, 5_000);
  await until('it is at its ceiling', async () => (await backlogOf(master)).size === 3_145_728);
  assert.equal((await configure(master, { backlogSize: '1mb' })).status, 200);
  assert.deepEqual([(await backlogOf(master)).size, (await backlogOf(master)).auto], [1_048_576, null]);
  const config = (await (await configure(master, { backlogSize: 'auto:90s' })).json()) as {
    backlogSize: unknown;
  };
  assert.equal(config.backlogSize, 'auto:90s');
});

test('both sides notice a half-open link within the time-out, and the replica continues', async (t) => {
  const cluster = await Cluster.create(t);
  // Longer than a busy machine keeps a node from answering.
  const quick = ['--repl-timeout', '3s', '--repl-ping-interval', '100ms'];
  const master = await cluster.start('master', ...quick);
  const proxy = await byteProxy(t, master.port);
  const replica = await cluster.start('replica', '--replica-of', proxy.wsUrl, ...quick);
  await master.client.set('k', 'v');
  await converged(master, replica);
  proxy.silence();
  await master.client.set('k', 'w');
  await converged(master, replica);
  assert.deepEqual(await counters(master), { syncFull: 1, syncPartialOk: 1, syncPartialErr: 0 });
  // The replica says why it came back, or the master why it closed the old connection, whoever was first.
  const records = await sessionsOf(master);
  assert.match(String(records[1]?.events.at(-1)?.fields.reason), /silent for \d+ ms|connected anew/);
  assert.equal((await master.client.replication()).replicas.length, 1);

  // With nobody to come back, the master still notices.
  proxy.silence();
  replica.process.kill('SIGSTOP');
  await until('the master notices', async () => (await master.client.replication()).replicas.length === 0);
});
