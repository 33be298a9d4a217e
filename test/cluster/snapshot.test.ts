/** A full resync while the applier is at work: the snapshot is of one position, and nobody has to ask twice. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { until } from '../../src/cli/until.ts';
import { Cluster, counters } from '../support/cluster.ts';
import { RawReplica } from '../support/raw-replica.ts';

const SNAPSHOTS = 20;

test('a full resync that begins while written entries go into the file is not broken off', async (t) => {
  const cluster = await Cluster.create(t);
  // The applier commits again as soon as it has committed.
  const master = await cluster.start('master', '--apply-interval', '1ms');
  let writing = true;
  const writers = [0, 1, 2].map(async (writer) => {
    for (let index = 0; writing; index += 1) await master.client.set(`${writer}/${index % 100}`, `${index}`);
  });
  try {
    for (let count = 1; count <= SNAPSHOTS; count += 1) {
      const replica = await RawReplica.connect(t, master);
      replica.say('PSYNC', '?', '-1');
      await until('it is answered', () => replica.receivedBytes > 0 || replica.closed !== null);
      assert.equal(replica.closed, null);
      replica.socket.terminate();
      await until('the session has ended', async () => {
        return (await master.client.replication()).replicas.length === 0;
      });
    }
  } finally {
    writing = false;
    await Promise.all(writers);
  }
  assert.deepEqual(await counters(master), { syncFull: SNAPSHOTS, syncPartialOk: 0, syncPartialErr: 0 });
});
