/** `Client` of psyncd/client/full with several real nodes: it finds the master, remembers it, and finds the next one. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { Client } from '../../src/client/full/client.ts';
import type { Transport } from '../../src/client/request/token.ts';
import { Cluster, linkState, samePosition } from '../support/cluster.ts';

/** @returns a transport, and the origins of the requests that it has sent */
function watched(): { readonly transport: Transport; readonly origins: string[] } {
  const origins: string[] = [];
  const transport: Transport = {
    WebSocket,
    fetch: (input, init) => {
      origins.push(new URL(String(input)).origin);
      return fetch(input, init);
    },
  };
  return { transport, origins };
}

test('a client writes to the master, reads what it has written from a replica, and finds the next master', async (t) => {
  const cluster = await Cluster.create(t);
  const master = await cluster.start('master');
  const replica = await cluster.start('replica', '--replica-of', master.wsUrl);
  await linkState(replica, 'streaming');
  const { transport, origins } = watched();
  const client = new Client([replica.url, master.url], { transport, readOwnWrites: true });
  for (let index = 0; index < 20; index += 1) {
    await client.set('k', String(index));
    assert.equal((await client.entry('k'))?.value, String(index));
  }
  // The first write went to the replica, which redirected it to the master; all reads went to the replica.
  const writes = origins.filter((origin) => origin === master.url).length;
  assert.deepEqual([origins.length, writes], [41, 20]);

  await samePosition(master, replica);
  await master.stop('SIGKILL');
  await replica.client.promote();
  await client.set('k', 'after');
  assert.equal((await client.entry('k'))?.value, 'after');
  assert.equal((await replica.client.entry('k'))?.value, 'after');
});

test('no increment is carried out twice, and none that was answered is lost, while the node restarts', async (t) => {
  const cluster = await Cluster.create(t);
  let node = await cluster.start('node', '--fsync', 'always');
  const client = new Client(node.url, { retries: 20 });
  let [answered, failed] = [0, 0];
  let isOver = false;
  const counting = Array.from({ length: 4 }, async () => {
    while (!isOver) {
      try {
        await client.increment('n');
        answered += 1;
      } catch {
        failed += 1;
        // A read is repeated until the node is there again.
        await client.replication();
      }
    }
  });
  for (const signal of ['SIGTERM', 'SIGKILL', 'SIGTERM'] as const) {
    const before = answered;
    while (answered < before + 20) await client.replication();
    await node.stop(signal);
    node = await cluster.restart('node', node, '--fsync', 'always');
  }
  isOver = true;
  await Promise.all(counting);
  const value = Number((await client.entry('n'))?.value);
  assert.ok(
    value >= answered && value <= answered + failed,
    `${value}: ${answered} answered, ${failed} failed`,
  );
});
