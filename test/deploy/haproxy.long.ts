/** examples/deploy/haproxy.cfg with Debian's HAProxy, in front of real nodes. */
import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import test, { type TestContext } from 'node:test';
import type { ChildNode } from '../../src/cli/child-node.ts';
import { until } from '../../src/cli/until.ts';
import { follow } from '../../src/client/follow.ts';
import { Client } from '../../src/client/full/client.ts';
import type { Transport } from '../../src/client/request/token.ts';
import { nodeTransport } from '../../src/client-node/transport.ts';
import { Certificates } from '../support/certificates.ts';
import { Cluster, converged, samePosition, textOf } from '../support/cluster.ts';
import { keptPort } from '../support/kept-port.ts';
import { ALL_INSTALLED, replaced, startProgram } from '../support/program.ts';

const COMMAND = '/usr/sbin/haproxy';
const EXAMPLE = new URL('../../examples/deploy/haproxy.cfg', import.meta.url);
const skip = !existsSync(COMMAND) && !ALL_INSTALLED && 'haproxy is not installed';

interface Stage {
  readonly cluster: Cluster;
  readonly master: ChildNode;
  readonly replicas: readonly [ChildNode, ChildNode];
  /** Of HAProxy. */
  readonly url: string;
  readonly transport: Transport;
}

/** A master and two replicas behind HAProxy, which has found all of them. */
async function balanced(t: TestContext): Promise<Stage> {
  const cluster = await Cluster.create(t);
  const trusting = ['--trust-proxy', '127.0.0.1'];
  const master = await cluster.start('db1', ...trusting);
  const following = [...trusting, '--replica-of', master.wsUrl];
  const replicas = [
    await cluster.start('db2', ...following),
    await cluster.start('db3', ...following),
  ] as const;
  const certificates = await Certificates.create(t);
  const { cert, key } = certificates.make('haproxy');
  const pem = certificates.bundle('pair', cert, key);
  const kept = await keptPort();
  t.after(() => kept.release());
  const file = certificates.path('haproxy.cfg');
  const configuration = replaced(readFileSync(EXAMPLE, 'utf8'), [
    ['bind :443', `bind 127.0.0.1:${kept.port}`],
    ['/etc/haproxy/kv.example.pem', pem],
    ...[master, ...replicas].map(
      ({ port }, index) => [`10.0.0.${index + 1}:7796`, `127.0.0.1:${port}`] as const,
    ),
  ]);
  await writeFile(file, configuration);
  const url = `https://127.0.0.1:${kept.port}`;
  const transport = nodeTransport({ ca: readFileSync(certificates.path('ca.crt')) });
  await samePosition(master, ...replicas);
  await startProgram(t, [COMMAND, '-db', '-f', file], certificates.folder, async () => {
    const roles = ['/v1/config', '/v1/keys'].map((path) => roleOf(transport, url + path));
    return (await Promise.all(roles)).join() === 'master,replica';
  });
  return { cluster, master, replicas, url, transport };
}

/** @returns the role of the node that has answered this request */
async function roleOf(transport: Transport, url: string, init?: RequestInit): Promise<string | null> {
  const response = await transport.fetch(url, init);
  await response.arrayBuffer();
  return response.headers.get('psync-role');
}

/** Writes numbers that grow to the key, until it is stopped. */
class Writer {
  /** The status of every answer; 307 where the answer came after a redirect. */
  readonly statuses = new Set<number>();
  /** The last number whose write was answered with success. */
  answered = 0;
  readonly key: string;
  readonly #client: Client;
  readonly #done: Promise<void>;
  #goesOn = true;

  constructor(key: string, { url, transport }: Stage) {
    this.key = key;
    const noting = async (...call: Parameters<Transport['fetch']>): ReturnType<Transport['fetch']> => {
      const response = await transport.fetch(...call);
      this.statuses.add(response.redirected ? 307 : response.status);
      return response;
    };
    this.#client = new Client(url, { transport: { ...transport, fetch: noting } });
    this.#done = this.#write();
    // Whoever waits for `stop` hears of it.
    this.#done.catch(() => undefined);
  }

  async #write(): Promise<void> {
    while (this.#goesOn) {
      await this.#client.set(this.key, String(this.answered + 1));
      this.answered += 1;
    }
  }

  /** @throws ApiError if a write failed for good */
  async stop(): Promise<void> {
    this.#goesOn = false;
    await this.#done;
  }
}

test('behind HAProxy writers and followers go on during a hand-over, and no answered write is lost', {
  skip,
}, async (t) => {
  const stage = await balanced(t);
  const { master, replicas, url, transport } = stage;
  const [heir, other] = replicas;
  const writers = ['a', 'b', 'c'].map((name) => new Writer(`writer:${name}`, stage));
  const ended = new AbortController();
  t.after(() => ended.abort());
  const seen = new Map<string, number>();
  const following = (async () => {
    const limits = { retryBaseMs: 20, retryMaxMs: 100 };
    for await (const event of follow({ url, transport, signal: ended.signal, ...limits })) {
      if (event.type !== 'set') continue;
      assert.ok(Number(event.value) >= (seen.get(event.key) ?? 0), 'a follower sees no older value again');
      seen.set(event.key, Number(event.value));
    }
  })();
  const allWrote = async (count: number): Promise<void> => {
    const goals = writers.map((writer) => [writer, writer.answered + count] as const);
    await until(`each writer has ${count} more answers`, () =>
      goals.every(([{ answered }, goal]) => answered >= goal),
    );
  };
  await allWrote(20);
  await master.client.failover(heir.wsUrl);
  await allWrote(20);
  assert.equal((await heir.client.replication()).role, 'master');
  await Promise.all(writers.map((writer) => writer.stop()));
  // Nobody is sent to a node, which clients may not reach.
  for (const { statuses } of writers) assert.ok(!statuses.has(307), [...statuses].join());

  await converged(heir, master, other);
  for (const { key, answered } of writers) assert.equal(await textOf(heir, key), String(answered));
  await until('the follower has everything', () =>
    writers.every(({ key, answered }) => seen.get(key) === answered),
  );
  ended.abort();
  await following;

  // Reads go to the other nodes, and to the master when there is none.
  assert.equal(await roleOf(transport, `${url}/v1/keys/writer:a`), 'replica');
  await Promise.all([master.stop(), other.stop()]);
  await until(
    'the master answers reads',
    async () => (await roleOf(transport, `${url}/v1/keys/writer:a`)) === 'master',
  );
});

test('HAProxy sends nothing to two masters, and lets nobody replicate through it', { skip }, async (t) => {
  const { replicas, url, transport } = await balanced(t);
  const send = transport.fetch;
  for (const path of ['/v1/replication/stream', '/v1/replication/%73tream']) {
    assert.equal((await send(`${url}${path}`)).status, 403, path);
  }
  const writing = { method: 'PUT', body: 'v' };
  assert.equal((await send(`${url}/v1/keys/k`, writing)).status, 201);
  // Somebody promotes a replica while the master runs.
  await replicas[0].client.promote();
  await until('writes are refused', async () => (await send(`${url}/v1/keys/k`, writing)).status === 503);
  await replicas[0].stop();
  await until('there is one master again', async () => (await send(`${url}/v1/keys/k`, writing)).ok);
});
