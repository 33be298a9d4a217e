/**
 * More writes than the node can take, from all sides at once. They wait; nobody else does: questions are answered,
 * replicas acknowledge, pings come back, and memory stays what it was. Nothing here looks at a clock: how long somebody
 * waited is told by how many bytes the node wrote meanwhile, which stands in the header of each answer.
 */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import test, { type TestContext } from 'node:test';
import type { ChildNode } from '../../src/cli/child-node.ts';
import { until } from '../../src/cli/until.ts';
import { Cluster, converged, counters, linkState } from '../support/cluster.ts';
import { Connection } from '../support/contract.ts';
import { Pipeline } from '../support/pipeline.ts';
import { RawReplica } from '../support/raw-replica.ts';

const OVERLAY_BYTES = 4 * 1024 * 1024;
/** What one write turn takes (4 MiB), and the batch that goes over it. */
const TURN_BYTES = 6 * 1024 * 1024;

const ROUNDS = 6;
const PUT_CONNECTIONS = 6;
const PUTS = 250;
const BATCH_CONNECTIONS = 2;
const BATCH_OPERATIONS = 10_000;
const IMPORT_LINES = 10_000;
const VALUE = 'x'.repeat(100);

type Requests = Parameters<Pipeline['send']>[0];

/** Everything of one round at once. @returns when it is answered; all of it was written, under keys that begin so */
async function round(t: TestContext, node: ChildNode, prefix: string): Promise<void> {
  const send = async (requests: Requests, status: number): Promise<void> => {
    const pipeline = await Pipeline.to(t, node);
    pipeline.send(requests);
    await pipeline.drained();
    assert.deepEqual([...pipeline.statuses], [[status, requests.length]]);
    pipeline.end();
  };
  const puts = Array.from({ length: PUT_CONNECTIONS }, (_, from) =>
    send(
      Array.from({ length: PUTS }, (_, at) => ['PUT', `/v1/keys/${prefix}/put/${from}/${at}`, VALUE]),
      201,
    ),
  );
  const batches = Array.from({ length: BATCH_CONNECTIONS }, (_, from) => {
    const ops = Array.from({ length: BATCH_OPERATIONS }, (_, at) => {
      return { op: 'set', key: `${prefix}/batch/${from}/${at}`, value: VALUE };
    });
    return send([['POST', '/v1/batch', { ops }]], 200);
  });
  const lines = Array.from({ length: IMPORT_LINES }, (_, at) => {
    return `{"key":"${prefix}/import/${at}","value":"${VALUE}"}\n`;
  });
  const importing = fetch(`${node.url}/v1/import`, { method: 'POST', body: lines.join('') });
  await Promise.all([...puts, ...batches]);
  const imported = (await (await importing).json()) as { imported: number };
  assert.equal(imported.imported, IMPORT_LINES);
}

const KEYS_PER_ROUND = PUT_CONNECTIONS * PUTS + BATCH_CONNECTIONS * BATCH_OPERATIONS + IMPORT_LINES;

/** What is asked over and over while the flood goes on, each as soon as the one before it is answered. */
class Watch {
  readonly #node: ChildNode;
  #going = true;
  readonly #done: Promise<unknown>;
  /** Where the node stood when it answered /healthz. */
  readonly offsets: number[] = [];
  /** What the replica had acknowledged when it was looked at. */
  readonly acknowledged = new Set<number>();
  pongs = 0;
  /** The node's resident memory at its highest, in bytes. */
  peakBytes = 0;

  constructor(t: TestContext, node: ChildNode, replica: ChildNode, follower: RawReplica) {
    this.#node = node;
    const connection = new Connection(t, node);
    this.#done = Promise.all([this.#health(connection), this.#look(replica), this.#ping(follower.socket)]);
  }

  async end(): Promise<void> {
    this.#going = false;
    await this.#done;
  }

  async #health(connection: Connection): Promise<void> {
    while (this.#going) {
      const { status, headers } = await connection.send('GET', '/healthz');
      assert.equal(status, 200);
      this.offsets.push(Number(String(headers['psync-position']).split(':')[1]));
    }
  }

  async #ping(socket: RawReplica['socket']): Promise<void> {
    while (this.#going) {
      const answered = once(socket, 'pong');
      socket.ping();
      await answered;
      this.pongs += 1;
    }
  }

  async #look(replica: ChildNode): Promise<void> {
    while (this.#going) {
      const { replicas } = await this.#node.client.replication();
      const offset = replicas.find(({ url }) => url === replica.wsUrl)?.offset;
      assert.ok(offset !== undefined, 'the replica is connected');
      this.acknowledged.add(offset);
      this.peakBytes = Math.max(this.peakBytes, residentBytes(this.#node));
    }
  }
}

/** 0 where the system does not tell. */
function residentBytes(node: ChildNode): number {
  try {
    const status = readFileSync(`/proc/${node.process.pid}/status`, 'utf8');
    return Number(/VmRSS:\s+(\d+)/.exec(status)?.[1]) * 1024;
  } catch {
    return 0;
  }
}

test('during a flood of writes reads, ACKs and pings are answered in time, and memory does not grow', async (t) => {
  const cluster = await Cluster.create(t);
  const quick = ['--repl-ping-interval', '100ms'];
  const master = await cluster.start('master', '--overlay-size', String(OVERLAY_BYTES), ...quick);
  const replica = await cluster.start('replica', '--replica-of', master.wsUrl, ...quick);
  await linkState(replica, 'streaming');
  const follower = await RawReplica.connect(t, master);
  follower.say('SYNC');
  await until('both follow', async () => {
    const { replicas } = await master.client.replication();
    return replicas.length === 2 && replicas.every(({ state }) => state === 'online');
  });
  const { offset: before } = await master.client.replication();

  let rounds = 0;
  const watches: Watch[] = [];
  // Two halves of the same: the second must not need more memory than the first.
  for (const half of ['first', 'second']) {
    const watch = new Watch(t, master, replica, follower);
    watches.push(watch);
    // Replicas acknowledge once a second: on a fast machine more rounds are needed until that has been seen.
    for (let number = 0; number < ROUNDS / 2 || watch.acknowledged.size < 3; number += 1) {
      await round(t, master, `${half}${number}`);
      rounds += 1;
    }
    await watch.end();
  }

  const written = (await master.client.replication()).offset - before;
  t.diagnostic(`${rounds * KEYS_PER_ROUND} entries, ${written} bytes`);
  assert.ok(written > 5 * OVERLAY_BYTES, `${written} bytes`);
  for (const { offsets, acknowledged, pongs, peakBytes } of watches) {
    const steps = offsets.slice(1).map((each, index) => each - (offsets[index] as number));
    const longest = Math.max(...steps);
    t.diagnostic(
      `${offsets.length} answers to /healthz, at most ${longest} bytes written between two; ` +
        `${acknowledged.size} ACKs, ${pongs} pongs, ${Math.round(peakBytes / 1024 ** 2)} MiB`,
    );
    assert.ok(offsets.length > 20, `${offsets.length} answers to /healthz`);
    assert.ok(longest <= 2 * TURN_BYTES, `${longest} bytes were written while /healthz waited`);
    assert.ok(pongs > 10, `${pongs} pongs`);
  }
  const [first, second] = watches as [Watch, Watch];
  assert.ok(second.peakBytes <= 1.5 * first.peakBytes, `${second.peakBytes} bytes, then ${first.peakBytes}`);

  const { keys } = await converged(master, replica);
  assert.equal(keys, rounds * KEYS_PER_ROUND);
  // Nobody was cut off: both have their one full resync and nothing else.
  assert.deepEqual(await counters(master), { syncFull: 2, syncPartialOk: 0, syncPartialErr: 0 });
  assert.equal(follower.closed, null);
});
