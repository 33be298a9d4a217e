/** `kill -9` of the master in the middle of writes: what was answered is there, and replicas continue. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { setTimeout as wait } from 'node:timers/promises';
import type { ChildNode } from '../../src/cli/child-node.ts';
import { loadPlaces } from '../../src/cli/demo/places.ts';
import { until } from '../../src/cli/until.ts';
import { Cluster, converged, counters, textOf } from '../support/cluster.ts';
import { endlessImport } from '../support/endless-import.ts';

const KILLS = 5;
const WRITERS = 4;
/** What a writer leaves between two kills, while the import, of about 170,000 lines, has most of the node's time. */
const MIN_ANSWERED = 6;

/** Writes 1, 2, 3, … under one key until the node is gone, and knows which numbers were answered. */
class Writer {
  readonly key: string;
  answered = 0;
  attempted = 0;

  constructor(key: string) {
    this.key = key;
  }

  async run(node: ChildNode): Promise<void> {
    try {
      for (;;) {
        this.attempted += 1;
        await node.client.set(this.key, String(this.attempted));
        this.answered = this.attempted;
      }
    } catch {
      // The node was killed: whether the last number was written is not known.
    }
  }
}

test(`after kill -9 during ${KILLS} imports no answered entry is lost, and replicas continue by partial resyncs`, async (t) => {
  const cluster = await Cluster.create(t);
  const backlog = ['--backlog-size', '32mb'];
  let master = await cluster.start('master', ...backlog);
  const replicas = await Promise.all(
    ['one', 'two'].map((name) => cluster.start(name, ...backlog, '--replica-of', master.wsUrl)),
  );
  await converged(master, ...replicas);
  const { runId } = await master.client.replication();
  const writers = Array.from({ length: WRITERS }, (_, index) => new Writer(`writer/${index}`));
  const { ndjson } = loadPlaces();

  for (let kill = 1; kill <= KILLS; kill += 1) {
    const before = master;
    const { offset } = await before.client.replication();
    const target = writers.map(({ answered }) => answered + MIN_ANSWERED);
    const importing = endlessImport(before.url, ndjson);
    const writing = writers.map((writer) => writer.run(before));
    // In the middle: the import is on its way, and every writer has been answered some times.
    await until('writes are under way', async () => {
      const moved = (await before.client.replication()).offset - offset > 1024 * 1024;
      return moved && writers.every(({ answered }, index) => answered >= (target[index] as number));
    });
    await wait(Math.random() * 50);
    await before.stop('SIGKILL');
    assert.equal(await importing, null);
    await Promise.all(writing);

    master = await cluster.restart('master', before, ...backlog);
    assert.equal(master.ready.runId, runId);
    for (const { key, answered, attempted } of writers) {
      const found = Number(await textOf(master, key));
      assert.ok(
        found >= answered && found <= attempted,
        `kill ${kill}: ${key} is ${found}, answered was ${answered}, attempted ${attempted}`,
      );
    }
    await converged(master, ...replicas);
    assert.deepEqual(await counters(master), { syncFull: 0, syncPartialOk: 2, syncPartialErr: 0 });
  }
});
