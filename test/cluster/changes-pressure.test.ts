/** The feed under pressure: followers that do not read, very many of them, and a node that stops or is killed. */
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import test, { type TestContext } from 'node:test';
import type { ChildNode } from '../../src/cli/child-node.ts';
import { until } from '../../src/cli/until.ts';
import { Cluster } from '../support/cluster.ts';
import { type FeedEvent, TestFollower, TRANSPORTS, type Transport } from '../support/follower.ts';

const MIB = 1024 * 1024;

function follow(t: TestContext, node: ChildNode, query: string, transport: Transport): TestFollower {
  return TestFollower.follow(t, node.url, { query, transport });
}

/** Of the process, in bytes. */
async function memory(node: ChildNode, name: 'VmRSS' | 'VmHWM'): Promise<number> {
  const status = await readFile(`/proc/${node.process.pid}/status`, 'utf8');
  return Number(new RegExp(`${name}:\\s+(\\d+) kB`).exec(status)?.[1]) * 1024;
}

/** Which positions these events have, in order; snapshots and bookmarks are left out. */
function told(events: readonly FeedEvent[]): readonly (string | undefined)[] {
  return events.filter(({ type }) => type === 'set').map(({ position }) => position);
}

/** How many connections the node has, besides those on which it listens. */
async function connections(node: ChildNode): Promise<number> {
  const hex = node.port.toString(16).toUpperCase().padStart(4, '0');
  const table = await readFile('/proc/net/tcp', 'utf8');
  return table.split('\n').filter((line) => new RegExp(`^\\s*\\d+: \\S+:${hex} \\S+ 01 `).test(line)).length;
}

test('followers that do not read cost a cursor, are let go with their position, and lose nothing', {
  skip: process.platform !== 'linux',
}, async (t) => {
  const cluster = await Cluster.create(t);
  const limits = ['--follower-output-limit', '16mb', '--backlog-size', '1mb', '--overlay-size', '8mb'];
  const node = await cluster.start('node', ...limits, '--apply-interval', '20ms');
  const quick = follow(t, node, 'position=now&prefix=k', 'websocket');
  await quick.to('continue');
  const write = async (count: number): Promise<void> => {
    for (let index = 0; index < count; index += 1) {
      await node.client.set('k', Buffer.alloc(MIB, String(index % 10)));
      if (index % 10 === 9) await quick.changes(10);
    }
  };
  // What is garbage anyway, with nobody who is slow.
  await write(50);
  const before = await memory(node, 'VmHWM');
  const slow = Array.from({ length: 201 }, (_, index) =>
    follow(t, node, 'position=now&prefix=k', TRANSPORTS[index % 3] as Transport),
  );
  for (const follower of slow) {
    await follower.to('continue');
    follower.pause();
  }
  assert.ok((await connections(node)) > slow.length);
  const first = (await node.client.replication()).offset;
  await write(100);
  const all = told(quick.received).slice(-100);
  const grown = (await memory(node, 'VmHWM')) - before;
  t.diagnostic(`${(grown / MIB).toFixed(1)} MiB more for ${slow.length} followers that do not read`);
  // One limit's worth, not the 100 MiB that were written, and not for each of them.
  assert.ok(grown < 2 * 16 * MIB, `it has grown by ${grown / MIB} MiB`);
  await until('they are let go, and their connections with them', async () => (await connections(node)) < 10);

  for (const follower of slow.slice(0, 3)) {
    follower.resume();
    const events = await follower.all();
    const error = events.at(-1);
    if (error?.type === 'error') {
      assert.equal(error.code, 'TOO_FAR_BEHIND');
      assert.ok([4413, null].includes(follower.ended?.closeCode ?? null), JSON.stringify(follower.ended));
    }
    const had = told(events);
    assert.deepEqual(had, all.slice(0, had.length), follower.transport);
    assert.ok(had.length < 40, `it was given ${had.length} MiB`);
  }
  assert.ok((await node.client.replication()).offset > first + 100 * MIB);
});
