/**
 * A history is bound to its bytes: whoever holds other bytes under the same run ID and offset is noticed, and never continued.
 *
 * The folders are put back in place, file by file, so that nothing on the disk tells that they were: as a virtual machine does
 * that is set back to an earlier state.
 */
import assert from 'node:assert/strict';
import { cp, mkdir, readdir, readFile, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import test from 'node:test';
import Database from 'better-sqlite3';
import type { ChildNode } from '../../src/cli/child-node.ts';
import { until } from '../../src/cli/until.ts';
import type { ReplicationAnswer } from '../../src/client/rest.ts';
import { json, psyncd } from '../support/backups.ts';
import {
  Cluster,
  converged,
  counters,
  linkState,
  samePosition,
  textOf,
  writeMany,
} from '../support/cluster.ts';
import { TestFollower } from '../support/follower.ts';
import { RawReplica } from '../support/raw-replica.ts';
import { scriptedMaster } from '../support/scripted-master.ts';

/** Gives the files of a folder the content that they have in the copy; the files themselves stay. */
async function putBack(folder: string, copy: string): Promise<void> {
  for (const name of await readdir(copy)) {
    await writeFile(join(folder, name), await readFile(join(copy, name)), { flag: 'r+' }).catch(
      async (error: NodeJS.ErrnoException) => {
        if (error.code !== 'ENOENT') throw error;
        await writeFile(join(folder, name), await readFile(join(copy, name)));
      },
    );
    await truncate(join(folder, name), (await readFile(join(copy, name))).length);
  }
  const copied = new Set(await readdir(copy));
  for (const name of await readdir(folder)) {
    if (!copied.has(name) && /-(?:wal|shm)$/.test(name)) await truncate(join(folder, name), 0);
  }
}

interface RolledBack {
  readonly cluster: Cluster;
  /** What was written before the copy was made. */
  readonly shared: ReplicationAnswer;
  /** Restarted with the copy of its folder. */
  readonly master: ChildNode;
  /** It has everything that the master had before, and cannot reach it. */
  readonly replica: ChildNode;
  readonly restore: () => void;
}

/** A master whose folder was put back, and a replica that has more than the copy. */
async function rolledBack(t: test.TestContext): Promise<RolledBack> {
  const cluster = await Cluster.create(t);
  const first = await cluster.start('master');
  await writeMany(first, 'shared/', 5);
  const shared = await first.client.replication();
  await first.stop();
  const copy = `${cluster.data('master')}-copy`;
  await cp(cluster.data('master'), copy, { recursive: true });

  const second = await cluster.restart('master', first);
  const link = await cluster.proxy(second);
  const replica = await cluster.start('replica', '--replica-of', link.wsUrl);
  await writeMany(second, 'k', 5, 'lost');
  await converged(second, replica);
  link.cut();
  await linkState(replica, 'waiting');
  await second.stop('SIGKILL');
  await putBack(cluster.data('master'), copy);
  const master = await cluster.restart('master', second);
  return { cluster, shared, master, replica, restore: () => link.restore() };
}

/** Waits until the archive has everything that the node has. */
async function archivedBy(node: ChildNode): Promise<void> {
  await until('everything is archived', async () => {
    const { archive } = await node.client.replication();
    return archive?.isWhole === true ? true : null;
  });
}

function lineageOf({ lineage }: ReplicationAnswer): unknown[] {
  return lineage.map(({ runId, validTo, reason }) => ({ runId, validTo, reason }));
}

test('no replica continues over different bytes after its master was rolled back and wrote as many bytes again; the master logs it', async (t) => {
  const { cluster, shared, master, replica, restore } = await rolledBack(t);
  const sibling = await cluster.start('sibling', '--replica-of', master.wsUrl);
  await writeMany(master, 'k', 5, 'anew');
  await converged(master, sibling);
  const before = await master.client.replication();
  const lost = await replica.client.replication();
  assert.equal(before.position, lost.position, 'both have the same position');
  assert.notEqual(before.historyHash, lost.historyHash, 'and other bytes');
  const check = await master.client.check(lost.position, lost.historyHash);
  assert.deepEqual([check.decision, check.reason], ['full-resync', 'different-bytes']);
  assert.equal((await master.client.check(before.position, before.historyHash)).decision, 'continue');
  // A token of this process, under the run ID that it is about to lose.
  const token = before.position;
  const follower = TestFollower.follow(t, master.url, { query: `position=${token}` });
  assert.equal((await follower.next())?.type, 'continue');

  restore();
  await converged(master, replica, sibling);
  assert.equal(await textOf(replica, 'k4'), 'anew4');
  const after = await master.client.replication();
  assert.notEqual(after.runId, before.runId);
  assert.deepEqual(lineageOf(after), [
    { runId: before.runId, validTo: shared.offset, reason: 'rolled-back' },
  ]);
  assert.match(master.log, /"level":(?:50|"error").*rolled-back/);
  const { upstream } = await replica.client.replication();
  assert.deepEqual([upstream?.lastSync?.kind, upstream?.lastSync?.reason], ['full', 'different-bytes']);
  // Who had the bytes of this process goes on with them, past the bound of the lineage.
  const { upstream: link } = await sibling.client.replication();
  assert.deepEqual([link?.lastSync?.kind, link?.lastSync?.bytes], ['partial', 0]);
  assert.equal(after.historyHash, (await sibling.client.replication()).historyHash);

  // Positions under the lost run ID are refused, not answered wrongly.
  for (const node of [master, replica, sibling]) {
    const refused = await fetch(`${node.url}/v1/keys/k1?position=${token}`);
    assert.equal(refused.status, 412);
    assert.equal(((await refused.json()) as { code: string }).code, 'UNKNOWN_HISTORY');
  }
  const reset = await TestFollower.follow(t, master.url, { query: `position=${token}` }).next();
  assert.deepEqual([reset?.type, reset?.reason], ['reset', 'past-shared-history']);

  // It has a run ID of its own now: nobody can have bytes of that which it does not have.
  for (let round = 0; round < 3; round += 1) {
    const hostile = await RawReplica.connect(t, master);
    hostile.say('PSYNC', round === 0 ? before.runId : after.runId, String(after.offset + 1_000));
    assert.match(await hostile.line(), new RegExp(`^\\+FULLRESYNC ${after.runId} `));
  }
  assert.deepEqual(lineageOf(await master.client.replication()), lineageOf(after));
});

test('a rolled-back master takes a new run ID when a replica ahead of it asks, and keeps taking writes', async (t) => {
  const { shared, master, replica, restore } = await rolledBack(t);
  const lost = await replica.client.replication();
  restore();
  await converged(master, replica);
  await master.client.set('goes', 'on');
  await converged(master, replica);
  const after = await master.client.replication();
  assert.deepEqual(lineageOf(after), [
    { runId: shared.runId, validTo: shared.offset, reason: 'rolled-back' },
  ]);
  const { upstream, kept } = await replica.client.replication();
  assert.equal(upstream?.lastSync?.reason, 'ahead-of-master');
  assert.deepEqual(
    kept.map(({ position }) => position),
    [lost.position],
    'what only the replica had is kept',
  );
});

test('a rolled-back master with an archive shares only what that proves, also if a replica tells it first', async (t) => {
  const cluster = await Cluster.create(t);
  const target = cluster.data('target');
  await mkdir(target);
  const flags = ['--archive-to', target, '--cluster', 'shop'];
  const first = await cluster.start('master', ...flags);
  await writeMany(first, 'shared/', 5);
  await archivedBy(first);
  await writeMany(first, 'more/', 5);
  await archivedBy(first);
  const shared = await first.client.replication();
  await first.stop();
  const copy = `${cluster.data('master')}-copy`;
  await cp(cluster.data('master'), copy, { recursive: true });

  // What comes next is not archived. The replica has it.
  const second = await cluster.restart('master', first);
  const link = await cluster.proxy(second);
  const replica = await cluster.start('replica', '--replica-of', link.wsUrl);
  await writeMany(second, 'k', 20, 'lost');
  await converged(second, replica);
  link.cut();
  await linkState(replica, 'waiting');
  await second.stop('SIGKILL');
  await putBack(cluster.data('master'), copy);
  // Two starts with the older files: the second one begins after writes that the replica does not have.
  const third = await cluster.restart('master', second);
  await writeMany(third, 'k', 5, 'other');
  assert.ok((await third.client.replication()).offset > shared.offset);
  await third.stop();
  link.restore();
  const master = await cluster.restart('master', third, ...flags);
  await converged(master, replica);
  assert.equal(await textOf(replica, 'k4'), 'other4');
  assert.deepEqual(lineageOf(await master.client.replication()), [
    { runId: shared.runId, validTo: shared.offset, reason: 'rolled-back' },
  ]);
});

test('an archive gives the state of a time before its node was set back, although that archives its older bytes again', async (t) => {
  const cluster = await Cluster.create(t);
  const target = cluster.data('target');
  await mkdir(target);
  const flags = ['--archive-to', target, '--cluster', 'shop'];
  const first = await cluster.start('master', ...flags);
  await archivedBy(first);
  // A node that stops archives what is missing.
  await writeMany(first, 'shared/', 5);
  await first.stop();
  const second = await cluster.restart('master', first);
  await writeMany(second, 'older/', 5);
  await second.stop();
  const copy = `${cluster.data('master')}-copy`;
  await cp(cluster.data('master'), copy, { recursive: true });
  // No segment ends where the copy does, so hashes prove less.
  const third = await cluster.restart('master', second);
  await writeMany(third, 'lost/', 5);
  await third.stop();
  const fourth = await cluster.restart('master', third, ...flags);
  const lost = await fourth.client.digest();
  await fourth.stop();
  const written = Date.now();
  await until('some time is over', () => Date.now() > written + 1_000);
  const time = new Date(written + 500).toISOString();
  await putBack(cluster.data('master'), copy);
  const master = await cluster.restart('master', fourth, ...flags);
  await until('it has a new run ID', async () => {
    const { lineage } = await master.client.replication();
    return lineage[0]?.reason === 'rolled-back' ? true : null;
  });
  await writeMany(master, 'k', 5, 'other');
  const last = await master.client.digest();
  await master.stop();
  for (const [name, at, expected] of [
    ['before', time, lost],
    ['since', new Date().toISOString(), last],
  ] as const) {
    json(await psyncd(['restore', target, cluster.data(name), '--to-time', at, '--json']));
    const node = await cluster.start(name);
    assert.equal((await node.client.digest()).digest, expected.digest);
    await node.stop();
  }
});

test('a replica that moves between two masters which were started from one folder never continues over other bytes', async (t) => {
  const cluster = await Cluster.create(t);
  const first = await cluster.start('one');
  await writeMany(first, 'shared/', 5);
  await first.stop();
  await cp(cluster.data('one'), cluster.data('two'), { recursive: true });
  const one = await cluster.start('one');
  const two = await cluster.start('two');
  const replica = await cluster.start('replica', '--replica-of', one.wsUrl);
  await writeMany(one, 'k', 5, 'ones');
  await writeMany(two, 'k', 5, 'twos');
  await converged(one, replica);
  await replica.client.replicaOf(two.wsUrl);
  await converged(two, replica);
  assert.equal(await textOf(replica, 'k4'), 'twos4');
});

test('PSYNC continues only at the end of a command and over equal bytes, also with nodes that keep no hashes', async (t) => {
  const cluster = await Cluster.create(t);
  const master = await cluster.start('master');
  await writeMany(master, 'k', 3);
  const early = await master.client.replication();
  await master.client.set('more', 'x'.repeat(300));
  await master.client.batch([
    { op: 'set', key: 'a', value: '1' },
    { op: 'set', key: 'b', value: '2' },
  ]);
  const { runId, offset, historyHash } = await master.client.replication();
  assert.match(historyHash ?? '', /^[0-9a-f]{16}$/);
  const ask = async (asked: number, ...capabilities: readonly string[]): Promise<string> => {
    const raw = await RawReplica.connect(t, master);
    if (capabilities.length > 0) {
      raw.say('REPLCONF', ...capabilities.flatMap((name) => ['capa', name]));
      assert.equal(await raw.line(), '+OK');
    }
    raw.say('PSYNC', runId, String(asked));
    return raw.line();
  };
  const hash = `history-hash-${historyHash}`;
  const other = `history-hash-${'0'.repeat(16)}`;

  await t.test('a position inside a command or a batch is never continued', async () => {
    for (const asked of [early.offset + 2, early.offset + 200, offset - 5, offset]) {
      assert.equal(await ask(asked), `+FULLRESYNC ${runId} ${offset} different-bytes`);
    }
  });

  await t.test('a replica that sends no hash is answered by run ID and offset', async () => {
    assert.equal(await ask(early.offset + 1), `+CONTINUE ${runId}`);
    assert.equal(await ask(early.offset + 1, 'lineage'), `+CONTINUE ${runId} ${offset - early.offset} -`);
  });

  await t.test('a replica that keeps hashes is told the hash where the stream continues', async () => {
    const lacking = offset - early.offset;
    assert.equal(
      await ask(early.offset + 1, 'lineage', 'history-hash'),
      `+CONTINUE ${runId} ${lacking} - - ${early.historyHash}`,
    );
    assert.equal(
      await ask(1, 'lineage', 'announced-url', 'history-hash', `history-hash-${'0'.repeat(16)}`),
      `+CONTINUE ${runId} ${offset} - - ${'0'.repeat(16)}`,
      'before the first byte it is 0',
    );
    assert.equal(
      await ask(offset + 1, 'lineage', 'history-hash', hash),
      `+CONTINUE ${runId} 0 - - ${historyHash}`,
    );
  });

  await t.test('PSYNC … FAILOVER from a node with other bytes at the same position is refused', async () => {
    const replica = await cluster.start('replica', '--replica-of', master.wsUrl);
    await converged(master, replica);
    assert.equal((await replica.client.replication()).historyHash, historyHash);
    const raw = await RawReplica.connect(t, replica);
    raw.say('REPLCONF', 'capa', other);
    await raw.line();
    raw.say('PSYNC', runId, String(offset + 1), 'FAILOVER');
    assert.match(await raw.line(), /^-ERR FAILOVER at \S+, but this node has other bytes up to there$/);
    assert.equal((await replica.client.replication()).role, 'replica');
    // The hand-over itself works.
    const { position } = await master.client.failover(replica.wsUrl, 10_000);
    await converged(replica, master);
    assert.equal(position.split(':')[1], String(offset));
    await master.client.promote();
  });

  await t.test('a replica follows a master that keeps no hashes', async (each) => {
    const answered: string[][] = [];
    const old = await scriptedMaster(each, (socket, words) => {
      answered.push([...words]);
      if (words[1] === '?') return;
      socket.send(Buffer.from(`+CONTINUE ${words[1]} 0 -\r\n`));
    });
    const replica = await cluster.start('follower', '--replica-of', master.wsUrl);
    await samePosition(master, replica);
    const { historyHash: known } = await replica.client.replication();
    assert.notEqual(known, null);
    await replica.client.replicaOf(old.wsUrl);
    await linkState(replica, 'streaming');
    assert.equal((await replica.client.replication()).historyHash, null, 'what its master does not know');
    await replica.client.replicaOf(master.wsUrl);
    await samePosition(master, replica);
    const { upstream, historyHash: again } = await replica.client.replication();
    assert.equal(upstream?.lastSync?.kind, 'partial');
    assert.equal(again, known);
  });
});

test('nodes on folders of a psyncd without hashes all continue, and compare hashes from the next connection on', async (t) => {
  const cluster = await Cluster.create(t);
  const master = await cluster.start('master');
  const replica = await cluster.start('replica', '--replica-of', master.wsUrl);
  await writeMany(master, 'k', 5);
  await converged(master, replica);
  await Promise.all([master.stop(), replica.stop()]);
  for (const name of ['master', 'replica']) {
    const db = new Database(join(cluster.data(name), 'psyncd.db'));
    db.exec('UPDATE journal SET hash_before = NULL, begins_chain = NULL');
    db.exec('UPDATE node SET checksum = NULL, told_offset = NULL, told_hash = NULL');
    db.close();
  }
  const upgraded = await cluster.restart('master', master);
  const { historyHash } = await upgraded.client.replication();
  assert.notEqual(historyHash, null);
  const link = await cluster.proxy(upgraded);
  const follower = await cluster.start('replica', '--replica-of', link.wsUrl);
  await samePosition(upgraded, follower);
  assert.equal((await follower.client.replication()).historyHash, historyHash);
  await writeMany(upgraded, 'late', 3);
  await converged(upgraded, follower);
  link.cut();
  await linkState(follower, 'waiting');
  await upgraded.client.set('meanwhile', 'x');
  link.restore();
  await converged(upgraded, follower);
  assert.deepEqual(await counters(upgraded), { syncFull: 0, syncPartialOk: 2, syncPartialErr: 0 });
  const [one, other] = await Promise.all([upgraded.client.replication(), follower.client.replication()]);
  assert.equal(one.historyHash, other.historyHash);
});
