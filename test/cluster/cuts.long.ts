/** Links that break, many times and anywhere, under writers. `PSYNCD_SEED=N` repeats a run's random numbers. */
import assert from 'node:assert/strict';
import { readdir } from 'node:fs/promises';
import test from 'node:test';
import { setTimeout as wait } from 'node:timers/promises';
import type { ChildNode } from '../../src/cli/child-node.ts';
import type { LinkProxy } from '../../src/cli/demo/link-proxy.ts';
import { until } from '../../src/cli/until.ts';
import { byteProxy } from '../support/byte-proxy.ts';
import { Cluster, converged, counters, linkState, textOf } from '../support/cluster.ts';
import { seeded } from '../support/random.ts';

const CUTS = 75;

/** Writes to the node, one write after the other, until it is told to stop. */
class Writer {
  #stopped = false;
  readonly #done: Promise<void>;

  constructor(node: ChildNode, name: string, pauseMs = 0) {
    this.#done = this.#run(node, name, pauseMs);
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    await this.#done;
  }

  async #run(node: ChildNode, name: string, pauseMs: number): Promise<void> {
    for (let index = 0; !this.#stopped; index += 1) {
      await node.client.set(`${name}/${index % 500}`, `${index}`.repeat(20));
      if (pauseMs > 0) await wait(pauseMs);
    }
  }
}

test('three replicas that connect at once under five writers end up equal, each after one full resync', async (t) => {
  const cluster = await Cluster.create(t);
  const master = await cluster.start('master');
  const replicas = await Promise.all(['one', 'two', 'three'].map((name) => cluster.start(name)));
  const writers = Array.from({ length: 5 }, (_, index) => new Writer(master, `writer${index}`));
  await until('much has been written', async () => (await master.client.replication()).offset > 60_000);
  await Promise.all(replicas.map((replica) => replica.client.replicaOf(master.wsUrl)));
  for (const replica of replicas) await linkState(replica, 'streaming');
  const { offset } = await master.client.replication();
  await until('they follow while writes go on', async () => {
    const states = await Promise.all(replicas.map((replica) => replica.client.replication()));
    return states.every((state) => state.offset > offset);
  });
  await Promise.all(writers.map((writer) => writer.stop()));
  await converged(master, ...replicas);
  assert.deepEqual(await counters(master), { syncFull: 3, syncPartialOk: 0, syncPartialErr: 0 });
});

test(`replicas whose links are cut ${CUTS} times need only partial resyncs, and lose nothing`, async (t) => {
  const { random, seed } = seeded();
  t.diagnostic(`PSYNCD_SEED=${seed}`);
  const cluster = await Cluster.create(t);
  const master = await cluster.start('master', '--backlog-size', '32mb');
  const links = [await cluster.proxy(master), await cluster.proxy(master)];
  const direct = links.map((link, index) => cluster.start(`replica${index}`, '--replica-of', link.wsUrl));
  const [one, two] = (await Promise.all(direct)) as [ChildNode, ChildNode];
  const middle = await cluster.proxy(one);
  const leaf = await cluster.start('leaf', '--replica-of', middle.wsUrl);
  // A replica that has nothing yet asks for a snapshot.
  await master.client.set('first', 'entry');
  await converged(master, one, two, leaf);
  const first = await counters(master);
  const writers = [0, 1, 2].map((index) => new Writer(master, `writer${index}`, 3));
  const all = [...links, middle];
  let latest: LinkProxy | undefined;
  const partialResyncs = async (): Promise<number> =>
    (await counters(master)).syncPartialOk + (await counters(one)).syncPartialOk;
  // On a busy machine many a link is cut again before its replica has come back.
  for (let cut = 0; cut < CUTS || (await partialResyncs()) < CUTS / 2; cut += 1) {
    // Not the same as before, which is just coming back.
    const others = all.filter((each) => each !== latest);
    latest = others[Math.floor(random() * others.length)];
    latest?.cut();
    await wait(random() * 100);
    latest?.restore();
    await wait(20 + random() * 100);
  }
  await Promise.all(writers.map((writer) => writer.stop()));
  await converged(master, one, two, leaf);
  const last = await counters(master);
  assert.deepEqual(
    [last.syncFull - first.syncFull, last.syncPartialErr, (await counters(one)).syncPartialErr],
    [0, 0, 0],
    `PSYNCD_SEED=${seed}`,
  );
  t.diagnostic(`${await partialResyncs()} partial resyncs`);
});

test('a snapshot that is cut off at twenty random points leaves no file behind, and the replica serves its old data meanwhile', async (t) => {
  const { random, seed } = seeded();
  t.diagnostic(`PSYNCD_SEED=${seed}`);
  const cluster = await Cluster.create(t);
  const master = await cluster.start('master');
  const lines = Array.from({ length: 3_000 }, (_, key) => `{"key":"k${key}","value":"${'x'.repeat(100)}"}\n`);
  await fetch(`${master.url}/v1/import`, { method: 'POST', body: lines.join('') });
  const replica = await cluster.start('replica');
  await replica.client.set('old', 'data');
  const before = await replica.client.replication();
  const { bytes } = (await (await fetch(`${master.url}/v1/replication/check`)).json()) as { bytes: number };
  let most: number | null = null;
  // By turns, because a new link is dialled at once.
  const proxies = await Promise.all([0, 1].map(() => byteProxy(t, master.port, () => most)));
  for (let round = 0; round < 20; round += 1) {
    // The handshake has some hundred bytes; the last ones are cut near the end.
    most = round < 18 ? Math.ceil(random() * bytes) : bytes + Math.ceil(random() * 200);
    const proxy = proxies[round % 2];
    const breaks = proxy?.breaks ?? 0;
    await replica.client.replicaOf(proxy?.wsUrl ?? '');
    await until(`cut ${round}, after ${most} bytes`, () => (proxy?.breaks ?? 0) > breaks);
    assert.equal(await textOf(replica, 'old'), 'data', `PSYNCD_SEED=${seed}`);
    assert.equal((await replica.client.replication()).position, before.position);
  }
  most = null;
  await converged(master, replica);
  assert.equal(await textOf(replica, 'old'), null);
  await replica.stop();
  const files = (await readdir(cluster.data('replica'))).filter((name) => name.startsWith('keyspace-'));
  assert.equal(files.length, 1, files.join());
});
