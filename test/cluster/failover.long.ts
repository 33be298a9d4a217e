/**
 * The planned hand-over: master and replica change places while clients write, nothing is lost or repeated, there are
 * never two masters, and whatever goes wrong leaves one master. `PSYNCD_SEED=N` repeats what is drawn in a run.
 */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import test, { type TestContext } from 'node:test';
import { setTimeout as wait } from 'node:timers/promises';
import type { ChildNode } from '../../src/cli/child-node.ts';
import { until } from '../../src/cli/until.ts';
import type { FailoverAnswer, ReplicationAnswer } from '../../src/client/rest.ts';
import { Cluster, converged, counters, linkState, textOf, writeMany } from '../support/cluster.ts';
import { type Answer, Connection, isProblem, json } from '../support/contract.ts';
import { MAIN } from '../support/main-file.ts';
import { seeded } from '../support/random.ts';
import { RawReplica } from '../support/raw-replica.ts';
import { scriptedMaster } from '../support/scripted-master.ts';

const FAILOVER = '/v1/replication/failover';
/** Longer than any test: what waits so long waits for ever. */
const FOR_EVER = 600_000;
/** What is under the key `last` when a hand-over begins. */
const BEFORE = 'before the hand-over';

/** A link on which what the replica sends can be held up; what the master sends always arrives. */
interface OneWayLink {
  readonly wsUrl: string;
  /** What the replica has sent since `hold`. */
  readonly heldBytes: number;
  hold(): void;
  release(): void;
  /** Breaks its connections; what is held up is lost. */
  cut(): void;
}

async function oneWayLink(t: TestContext, master: ChildNode): Promise<OneWayLink> {
  const sockets = new Set<Socket>();
  let held: { readonly to: Socket; readonly chunk: Buffer }[] | null = null;
  const server = createServer((from) => {
    const to = connect(master.port, '127.0.0.1');
    for (const [socket, other] of [
      [from, to],
      [to, from],
    ] as const) {
      sockets.add(socket);
      socket.setNoDelay();
      socket.on('error', () => other.destroy());
      socket.on('close', () => {
        sockets.delete(socket);
        if (held === null || socket === to) other.destroy();
      });
    }
    to.on('data', (chunk) => from.write(chunk));
    from.on('data', (chunk) => {
      if (held === null) to.write(chunk);
      else held.push({ to, chunk });
    });
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => {
    server.close();
    for (const socket of sockets) socket.destroy();
  });
  return {
    wsUrl: `ws://127.0.0.1:${(server.address() as AddressInfo).port}`,
    get heldBytes() {
      return (held ?? []).reduce((sum, { chunk }) => sum + chunk.length, 0);
    },
    hold: () => {
      held = [];
    },
    release: () => {
      for (const { to, chunk } of held ?? []) to.write(chunk);
      held = null;
    },
    cut: () => {
      held = null;
      for (const socket of sockets) socket.destroy();
    },
  };
}

/** Adds to counters by way of any node, redirects followed, until it is told to stop. */
class Writers {
  /** What was answered, of each key. */
  readonly values = new Map<string, number[]>();
  /** Requests of which it is not known whether they were carried out, of each key. */
  readonly unknown = new Map<string, number>();
  readonly errors: unknown[] = [];
  #stopped = false;
  #running: Promise<unknown> = Promise.resolve();

  get answered(): number {
    return [...this.values.values()].reduce((sum, { length }) => sum + length, 0);
  }

  /** One client for each key: it goes from node to node, and gives up when a request fails. */
  start(nodes: readonly ChildNode[], ...keys: readonly string[]): void {
    this.#stopped = false;
    this.#running = Promise.all(
      keys.map(async (key, index) => {
        const values = this.values.get(key) ?? [];
        this.values.set(key, values);
        try {
          for (let turn = index; !this.#stopped; turn += 1) {
            const node = nodes[turn % nodes.length] as ChildNode;
            values.push(await increment(node, key));
          }
        } catch (error) {
          this.errors.push(error);
          this.unknown.set(key, (this.unknown.get(key) ?? 0) + 1);
        }
      }),
    );
  }

  /** Waits until so many more have been answered. */
  async progress(more = 20): Promise<void> {
    const target = this.answered + more;
    await until('writes are answered', () => this.answered >= target || this.errors.length > 0);
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    await this.#running;
  }
}

async function increment(node: ChildNode, key: string, query = ''): Promise<number> {
  const answer = await fetch(`${node.url}/v1/keys/${key}/increment${query}`, { method: 'POST' });
  const text = await answer.text();
  assert.equal(answer.status, 200, text);
  return (JSON.parse(text) as { value: number }).value;
}

/** Asks the nodes again and again who is a master. */
class TwoMasters {
  readonly found: string[] = [];
  looks = 0;
  #stopped = false;
  readonly #running: Promise<unknown>;

  /** @param nodes the ones that run now @param rounds how often they are asked without a pause */
  constructor(nodes: () => readonly ChildNode[], rounds: number) {
    this.#running = until(
      'it has been looked long enough',
      async () => {
        for (let round = 0; round < rounds && !this.#stopped; round += 1) await this.#look(nodes());
        return this.#stopped;
      },
      FOR_EVER,
    );
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    await this.#running;
  }

  /**
   * A node that was a master before and after another one was, under one run ID, was it at that moment too: a run ID
   * that a master has given up comes back only when its hand-over was refused, and then nobody else was a master.
   */
  async #look(nodes: readonly ChildNode[]): Promise<void> {
    for (const one of nodes) {
      for (const other of nodes) {
        const before = one === other ? null : await masterRunId(one);
        if (before === null) continue;
        const meanwhile = await masterRunId(other);
        this.looks += 1;
        if (meanwhile !== null && (await masterRunId(one)) === before) {
          this.found.push(`${one.url} with ${before}, and ${other.url} with ${meanwhile}`);
        }
      }
    }
  }
}

/** The run ID under which the node is a master; null: it is none, or does not answer. */
async function masterRunId(node: ChildNode): Promise<string | null> {
  try {
    const { role, runId } = await node.client.replication();
    return role === 'master' ? runId : null;
  } catch {
    // It has been killed, or is being started.
    return null;
  }
}

/** Waits until there is one master, and every other node streams from some node. */
async function oneMaster(nodes: readonly ChildNode[]): Promise<ChildNode> {
  return until('there is one master, and the others follow', async () => {
    const states = await Promise.all(nodes.map((node) => node.client.replication()));
    const masters = nodes.filter((_, index) => states[index]?.role === 'master');
    const settled = states.every(({ upstream }) => upstream === null || upstream.state === 'streaming');
    if (masters.length === 1 && settled) return masters[0];
    throw new Error(JSON.stringify(states.map(({ position, upstream }) => ({ position, upstream }))));
  });
}

function handOver(connection: Connection, to?: ChildNode, timeoutMs = FOR_EVER): Promise<Answer> {
  return connection.sendJson('POST', FAILOVER, { ...(to === undefined ? {} : { to: to.wsUrl }), timeoutMs });
}

/** Waits until the hand-over of this node is in this state. */
function failoverState(node: ChildNode, state: string): Promise<ReplicationAnswer> {
  return until(`the hand-over is ${state}`, async () => {
    const answer = await node.client.replication();
    return answer.failover?.state === state ? answer : null;
  });
}

async function infoFailover(node: ChildNode): Promise<string | undefined> {
  return /^master_failover_state:(.*)\r$/m.exec(await (await fetch(`${node.url}/v1/info`)).text())?.[1];
}

/** What has come of the requests so far; undefined: nothing, after the node has answered others meanwhile. */
async function answeredMeanwhile<T>(
  node: ChildNode,
  ...requests: readonly Promise<T>[]
): Promise<T | undefined> {
  const others = (async () => {
    for (let round = 0; round < 5; round += 1) await node.client.replication();
    return undefined;
  })();
  return Promise.race([...requests, others]);
}

interface Pair {
  readonly master: ChildNode;
  readonly target: ChildNode;
  readonly link: OneWayLink;
}

/** A master, and a replica whose acknowledgements can be held up. */
async function pair(t: TestContext, cluster: Cluster): Promise<Pair> {
  const master = await cluster.start('master');
  const link = await oneWayLink(t, master);
  // What it acknowledges is on its disk at once.
  const target = await cluster.start('target', '--replica-of', link.wsUrl, '--fsync', 'always');
  await writeMany(master, 'a/', 10);
  await converged(master, target);
  return { master, target, link };
}

interface Asked {
  /** What the hand-over is answered with. */
  readonly answer: Promise<Answer>;
}

/**
 * `REPLCONF ACK n` in its frame; pings and pongs are shorter, also together. Two of them: the master asks for one, and the other may have
 * been on its way.
 */
const ACKS_BYTES = 80;

/** Begins a hand-over that waits for an acknowledgement, which is on its way: writes are held. */
async function waiting(
  t: TestContext,
  { master, target, link }: Pair,
  to: ChildNode | undefined,
  timeoutMs = FOR_EVER,
): Promise<Asked> {
  link.hold();
  const { version } = await master.client.set('last', BEFORE);
  await until('the target has it', async () => (await target.client.replication()).offset >= version);
  const [before, heldBefore] = [countOf(master.log, 'failover-waiting'), link.heldBytes];
  const answer = handOver(new Connection(t, master), to, timeoutMs);
  answer.catch(() => undefined);
  await until('writes are held', () => countOf(master.log, 'failover-waiting') > before);
  await until('the target has said so', () => link.heldBytes >= heldBefore + ACKS_BYTES);
  return { answer };
}

/** Begins a hand-over and asks its target to become the master; the target has everything, and is frozen. */
async function asked(t: TestContext, pair: Pair, timeoutMs = FOR_EVER): Promise<Asked> {
  const { answer } = await waiting(t, pair, pair.target, timeoutMs);
  pair.target.process.kill('SIGSTOP');
  pair.link.release();
  await failoverState(pair.master, 'in-progress');
  return { answer };
}

function countOf(text: string, part: string): number {
  return text.split(part).length - 1;
}

test('after a hand-over the named replica is the master, the old master follows it, and no node needs a snapshot', async (t) => {
  const cluster = await Cluster.create(t);
  const old = await cluster.start('old');
  const [target, other] = await Promise.all(
    ['target', 'other'].map((name) => cluster.start(name, '--replica-of', old.wsUrl)),
  );
  assert.ok(target !== undefined && other !== undefined);
  const leaf = await cluster.start('leaf', '--replica-of', target.wsUrl);
  await writeMany(old, 'a/', 20);
  await converged(old, target, other, leaf);
  const before = await old.client.replication();
  const fullBefore = await Promise.all([old, target].map(async (node) => (await counters(node)).syncFull));

  const answer = await handOver(new Connection(t, old), target);
  const { master, position, heldMs } = json(answer);
  assert.equal(answer.status, 200, answer.body.toString());
  assert.equal(master, target.wsUrl);
  assert.equal(typeof heldMs, 'number');

  const now = await target.client.replication();
  assert.deepEqual(
    { role: now.role, upstream: now.upstream, offset: now.offset },
    { role: 'master', upstream: null, offset: before.offset },
  );
  assert.notEqual(now.runId, before.runId);
  assert.equal(position, now.position);
  const demoted = await old.client.replication();
  assert.deepEqual(
    {
      role: demoted.role,
      position: demoted.position,
      url: demoted.upstream?.url,
      state: demoted.upstream?.state,
      failover: demoted.failover,
    },
    { role: 'replica', position: now.position, url: target.wsUrl, state: 'streaming', failover: null },
  );
  assert.deepEqual(
    { kind: demoted.upstream?.lastSync?.kind, bytes: demoted.upstream?.lastSync?.bytes },
    { kind: 'partial', bytes: 0 },
  );
  await target.client.set('b', 'by the new master');
  await converged(target, old, other, leaf);
  for (const node of [target, old, other, leaf]) {
    const [ancestor] = (await node.client.replication()).lineage;
    assert.deepEqual(
      { runId: ancestor?.runId, validTo: ancestor?.validTo },
      { runId: before.runId, validTo: before.offset },
    );
  }
  // The other replica stays where it was, and follows the new master by way of the old one.
  assert.equal((await other.client.replication()).upstream?.url, old.wsUrl);
  assert.deepEqual(
    await Promise.all([old, target].map(async (node) => (await counters(node)).syncFull)),
    fullBefore,
  );
  for (const node of [old, target]) assert.equal((await counters(node)).syncPartialErr, 0);
});

test('hand-overs to and fro under load carry out each write once, need only partial resyncs, and never make two masters', async (t) => {
  const cluster = await Cluster.create(t);
  const one = await cluster.start('one');
  const two = await cluster.start('two', '--replica-of', one.wsUrl);
  const other = await cluster.start('other', '--replica-of', two.wsUrl);
  const nodes = [one, two, other];
  await writeMany(one, 'a/', 5);
  await converged(...nodes);
  const before = await Promise.all(nodes.map(counters));
  const watch = new TwoMasters(() => nodes, 10);
  // Two clients share a counter, and each of the others has one of its own.
  const [writers, more] = [new Writers(), new Writers()];
  writers.start(nodes, 'shared', 'own');
  more.start(nodes.toReversed(), 'shared', 'another');
  const runIds: string[] = [];
  let [from, to] = [one, two];
  for (let turn = 0; turn < 8; turn += 1) {
    await Promise.all([writers.progress(), more.progress()]);
    runIds.unshift((await from.client.replication()).runId);
    // `two` has two replicas: it is told which. `one` has one, and needs not be told every time.
    const named = from === two || turn % 4 === 0;
    const answer = await handOver(new Connection(t, from), named ? to : undefined);
    assert.equal(answer.status, 200, answer.body.toString());
    assert.equal(json(answer).master, to.wsUrl);
    [from, to] = [to, from];
  }
  await Promise.all([writers.progress(), more.progress()]);
  await Promise.all([writers.stop(), more.stop()]);
  await watch.stop();
  assert.deepEqual([...writers.errors, ...more.errors], []);
  assert.deepEqual(watch.found, []);
  assert.ok(watch.looks > 0);
  await converged(...nodes);
  for (const key of ['shared', 'own', 'another']) {
    // If one is lost a number comes twice, and if one is repeated a number never comes.
    const values = [...(writers.values.get(key) ?? []), ...(more.values.get(key) ?? [])];
    assert.deepEqual(
      values.toSorted((a, b) => a - b),
      Array.from(values, (_, index) => index + 1),
      key,
    );
    assert.equal(await textOf(from, key), String(values.length));
  }
  for (const [index, node] of nodes.entries()) {
    const { lineage, counters: after } = await node.client.replication();
    assert.deepEqual(
      lineage.map(({ runId }) => runId),
      runIds,
    );
    assert.equal(after.syncFull, before[index]?.syncFull);
    assert.equal(after.syncPartialErr, 0);
  }
});

test('a hand-over to a frozen replica is refused or times out while writes go on; one to any replica chooses another', async (t) => {
  const cluster = await Cluster.create(t);
  const master = await cluster.start('master');
  const [frozen, running] = await Promise.all(
    ['frozen', 'running'].map((name) => cluster.start(name, '--replica-of', master.wsUrl)),
  );
  assert.ok(frozen !== undefined && running !== undefined);
  await writeMany(master, 'a/', 5);
  await converged(master, frozen, running);
  const before = await master.client.replication();
  frozen.process.kill('SIGSTOP');
  await master.client.set('k', 'not acknowledged by all');
  for (const [timeoutMs, status, code] of [
    [100, 504, 'FAILOVER_TIMED_OUT'],
    [FOR_EVER, 409, 'FAILOVER_REFUSED'],
  ] as const) {
    const answer = handOver(new Connection(t, master), frozen, timeoutMs);
    const written = new Connection(t, master).send('PUT', '/v1/keys/k', String(timeoutMs));
    const first = await Promise.race([written.then(() => 'the write'), answer.then(() => 'the hand-over')]);
    if (timeoutMs === FOR_EVER) assert.equal(first, 'the write');
    isProblem(await answer, status, code);
    assert.equal((await written).status, 200);
    const { role, runId, failover } = await master.client.replication();
    assert.deepEqual({ role, runId, failover }, { role: 'master', runId: before.runId, failover: null });
  }
  // A stray POST without a body changes nothing; an empty object means any replica.
  isProblem(await new Connection(t, master).send('POST', FAILOVER), 400, 'BAD_REQUEST');
  const answer = await new Connection(t, master).sendJson('POST', FAILOVER, {});
  assert.equal(answer.status, 200, answer.body.toString());
  assert.equal(json(answer).master, running.wsUrl);
  frozen.process.kill('SIGCONT');
  await running.client.set('c', 'v');
  await converged(running, master, frozen);
  assert.equal((await counters(master)).syncFull, 2);
});

test('writes are held until the target has everything; they succeed on the old master if the hand-over fails, else on the new one', async (t) => {
  const cluster = await Cluster.create(t);
  const { master, target, link } = await pair(t, cluster);
  const connection = new Connection(t, master);
  const { runId } = await master.client.replication();
  isProblem(await connection.send('DELETE', FAILOVER), 409, 'FAILOVER_REFUSED', /no hand-over/);
  for (const [round, end] of ['abort', 'time-out', 'abort'].entries()) {
    const to = round === 2 ? undefined : target;
    const { answer } = await waiting(t, { master, target, link }, to, end === 'abort' ? FOR_EVER : 8_000);
    const { position, failover } = await master.client.replication();
    assert.deepEqual(failover, { state: 'waiting-for-sync', to: to?.wsUrl ?? null });
    assert.equal(await infoFailover(master), 'waiting-for-sync');
    const held = ['new', 'last'].map((key) =>
      new Connection(t, master).send('PUT', `/v1/keys/${key}${key === 'new' ? round : ''}`, 'held'),
    );
    assert.equal(await answeredMeanwhile(master, answer, ...held), undefined);
    assert.equal((await master.client.replication()).position, position);
    assert.equal(await textOf(master, 'last'), BEFORE);
    if (end === 'abort') {
      const aborted = await connection.send('DELETE', FAILOVER);
      assert.deepEqual([aborted.status, json(aborted).role, json(aborted).runId], [200, 'master', runId]);
      isProblem(await answer, 409, 'FAILOVER_ABORTED', /still the master/);
    } else isProblem(await answer, 504, 'FAILOVER_TIMED_OUT', /still the master/);
    assert.deepEqual(await Promise.all(held.map(async (each) => (await each).status)), [201, 200]);
    isProblem(await connection.send('DELETE', FAILOVER), 409, 'FAILOVER_REFUSED', /no hand-over/);
    const after = await master.client.replication();
    assert.deepEqual(
      { role: after.role, runId: after.runId, failover: after.failover, lineage: after.lineage },
      { role: 'master', runId, failover: null, lineage: [] },
    );
    assert.equal(await infoFailover(master), 'no-failover');
    link.release();
    await converged(master, target);
  }

  assert.equal((await connection.send('PUT', '/v1/keys/short-lived?ttl=0.5', 'v')).status, 201);
  const { answer } = await waiting(t, { master, target, link }, target);
  const { position } = await master.client.replication();
  const redirected = new Connection(t, master).send('PUT', '/v1/keys/redirected', 'v');
  const followed = fetch(`${master.url}/v1/keys/followed`, { method: 'PUT', body: 'v' });
  // The new master has one replica then: the old one.
  const held = [increment(target, 'n'), increment(master, 'n', `?acks=1&timeout=${FOR_EVER}`)];
  assert.equal(await answeredMeanwhile<unknown>(master, answer, redirected, followed, ...held), undefined);
  await until('it has expired', async () => (await textOf(master, 'short-lived')) === null);
  assert.equal((await connection.send('GET', '/v1/export')).status, 200);
  for (const [method, path, body] of [
    ['PUT', '/v1/replication/upstream', { url: 'ws://127.0.0.1:1' }],
    ['DELETE', '/v1/replication/upstream', undefined],
    ['POST', FAILOVER, { to: target.wsUrl }],
    ['POST', FAILOVER, {}],
  ] as const) {
    // A role that is being handed over does not change in any other way.
    const meanwhile = await connection.sendJson(method, path, body ?? {});
    isProblem(meanwhile, 409, 'FAILOVER_REFUSED', /going on/);
  }
  assert.equal((await master.client.replication()).position, position);
  link.release();
  assert.equal((await answer).status, 200, (await answer).body.toString());
  isProblem(await redirected, 307, 'READONLY');
  assert.equal((await redirected).headers.location, `${target.url}/v1/keys/redirected`);
  const final = await followed;
  assert.deepEqual([final.status, final.url], [201, `${target.url}/v1/keys/followed`]);
  await final.text();
  assert.deepEqual((await Promise.all(held)).toSorted(), [1, 2]);
  assert.deepEqual(await counters(master), { syncFull: 1, syncPartialOk: 0, syncPartialErr: 0 });
  assert.deepEqual(await counters(target), { syncFull: 0, syncPartialOk: 1, syncPartialErr: 0 });
  await converged(target, master);
});

test('a hand-over fails and the held writes succeed when the target is killed or the waiting master is stopped', async (t) => {
  const cluster = await Cluster.create(t);
  const { master, target, link } = await pair(t, cluster);
  for (const end of ['the target is killed', 'the master is stopped'] as const) {
    const { answer } = await waiting(t, { master, target, link }, undefined);
    const held = new Connection(t, master).send('PUT', `/v1/keys/${encodeURIComponent(end)}`, 'v');
    assert.equal(await answeredMeanwhile(master, answer, held), undefined);
    if (end === 'the target is killed') {
      await target.stop('SIGKILL');
      link.cut();
      isProblem(await answer, 409, 'FAILOVER_REFUSED', /has gone; this node is still the master/);
      assert.equal((await held).status, 201);
      const again = await cluster.restart('target', target);
      await converged(master, again);
      assert.equal(await textOf(again, end), 'v');
      await again.client.replicaOf(link.wsUrl);
    } else {
      // The target lacks what was held, and takes nothing.
      const limit = { shutdownTimeout: '300ms' };
      assert.equal((await new Connection(t, master).sendJson('PATCH', '/v1/config', limit)).status, 200);
      const stopped = master.stop('SIGTERM');
      isProblem(await answer, 409, 'FAILOVER_ABORTED', /shutting down/);
      assert.equal((await held).status, 201);
      assert.equal(await stopped, 0);
      const again = await cluster.restart('master', master);
      assert.equal(again.ready.role, 'master');
      assert.equal(await textOf(again, end), 'v');
    }
  }
});

test('an impossible hand-over is refused, and changes nothing', async (t) => {
  const cluster = await Cluster.create(t);
  const master = await cluster.start('master');
  const toMaster = new Connection(t, master);
  isProblem(await handOver(toMaster), 409, 'FAILOVER_REFUSED', /no replica is online/);
  const replica = await cluster.start('replica', '--replica-of', master.wsUrl);
  const leaf = await cluster.start('leaf', '--replica-of', replica.wsUrl);
  await master.client.set('k', 'v');
  await converged(master, replica, leaf);
  const before = await master.client.replication();
  const toReplica = new Connection(t, replica);
  for (const to of [leaf, undefined]) {
    isProblem(await handOver(toReplica, to), 409, 'FAILOVER_REFUSED', /this node is a replica/);
  }
  for (const to of [leaf, master]) {
    isProblem(await handOver(toMaster, to), 409, 'FAILOVER_REFUSED', /is no replica of this node/);
  }
  for (const to of ['', 'x', 'ws://', 'ftp://127.0.0.1:1', `${replica.wsUrl}/path`, `${replica.wsUrl}?q`]) {
    isProblem(await toMaster.sendJson('POST', FAILOVER, { to }), 400, 'BAD_REQUEST');
  }
  for (const body of [
    { to: 1 },
    { to: null },
    { timeoutMs: 0 },
    { timeoutMs: -1 },
    { timeoutMs: '10' },
    { timeoutMs: 1.5 },
    { timeoutMs: 3_600_001 },
    { target: replica.wsUrl },
    [],
    'x',
  ]) {
    isProblem(await toMaster.sendJson('POST', FAILOVER, body), 400, 'BAD_REQUEST');
  }
  const type = { 'content-type': 'application/json' };
  isProblem(await toMaster.send('POST', FAILOVER, '{"to":', type), 400, 'BAD_REQUEST');
  isProblem(
    await toMaster.send('POST', FAILOVER, 'to=x', { 'content-type': 'text/plain' }),
    415,
    'UNSUPPORTED_MEDIA_TYPE',
  );
  isProblem(await toReplica.send('DELETE', FAILOVER), 409, 'FAILOVER_REFUSED', /no hand-over/);
  assert.deepEqual({ ...(await master.client.replication()), replicas: [] }, { ...before, replicas: [] });
  assert.equal((await toMaster.send('PUT', '/v1/keys/k', 'w')).status, 200);
  await converged(master, replica, leaf);
});

test('once the target was asked, only its answer decides, also after the time-out; without an answer the operator decides', async (t) => {
  const cluster = await Cluster.create(t);
  const { master, target, link } = await pair(t, cluster);
  const connection = new Connection(t, master);
  for (const end of ['it goes on', 'it is dead'] as const) {
    const before = await master.client.replication();
    const { answer } = await asked(t, { master, target, link }, 8_000);
    assert.equal(await infoFailover(master), 'failover-in-progress');
    isProblem(await connection.send('DELETE', FAILOVER), 409, 'FAILOVER_REFUSED', /only its answer decides/);
    isProblem(await connection.send('DELETE', '/v1/replication/upstream'), 409, 'FAILOVER_REFUSED');
    isProblem(await answer, 504, 'FAILOVER_TIMED_OUT', /has not answered; this node follows it/);
    const { role, runId, upstream, failover } = await master.client.replication();
    assert.deepEqual(
      { role, runId, url: upstream?.url, failover },
      { role: 'replica', runId: before.runId, url: target.wsUrl, failover: null },
    );
    isProblem(await connection.send('PUT', '/v1/keys/k', 'v'), 307, 'READONLY');
    assert.equal(await textOf(master, 'last'), BEFORE);
    if (end === 'it goes on') {
      target.process.kill('SIGCONT');
      assert.equal(await oneMaster([master, target]), target);
      await target.client.set('later', 'v');
      await converged(target, master);
      assert.deepEqual(await counters(target), { syncFull: 0, syncPartialOk: 1, syncPartialErr: 0 });
      // Back to where they were, for the next round.
      await master.client.promote();
      await target.client.replicaOf(link.wsUrl);
      await converged(master, target);
      continue;
    }
    await target.stop('SIGKILL');
    const promoted = await master.client.promote();
    assert.deepEqual(
      [promoted.role, promoted.lineage[0]?.runId, promoted.upstream],
      ['master', before.runId, null],
    );
    await master.client.set('later', 'by the old master');
    // The other one comes back all the same: as the replica that it was, for it never became a master.
    const again = await cluster.restart('target', target);
    assert.equal(again.ready.role, 'replica');
    await converged(master, again);
    assert.equal(await textOf(again, 'last'), BEFORE);
  }
  assert.deepEqual(await counters(master), { syncFull: 1, syncPartialOk: 2, syncPartialErr: 0 });
});

test('a write that arrives while the target decides is held, and succeeds on the new master', async (t) => {
  const cluster = await Cluster.create(t);
  const { master, target, link } = await pair(t, cluster);
  const { answer } = await asked(t, { master, target, link });
  const redirected = new Connection(t, master).send('PUT', '/v1/keys/redirected', 'v');
  const followed = fetch(`${master.url}/v1/keys/followed`, { method: 'PUT', body: 'v' });
  const early = redirected.then(({ status, headers }) => `${status}, ${headers.location}`);
  // Sent on, it would meet a node that is no master yet, and sends it back.
  assert.equal(await answeredMeanwhile<unknown>(master, early, followed), undefined);
  target.process.kill('SIGCONT');
  assert.equal((await answer).status, 200);
  isProblem(await redirected, 307, 'READONLY');
  const final = await followed;
  assert.deepEqual([final.status, final.url], [201, `${target.url}/v1/keys/followed`]);
  await final.text();
  await converged(target, master);
});

test('a master that is stopped while the target decides answers the waiting requests, and asks again after its restart', async (t) => {
  const cluster = await Cluster.create(t);
  const { master, target, link } = await pair(t, cluster);
  const { answer } = await asked(t, { master, target, link });
  const outcome = answer.then(
    ({ status }) => (status >= 500 ? 'answered' : status),
    () => 'the connection was dropped',
  );
  assert.equal(await master.stop('SIGTERM'), 0);
  const inTime = !master.log.includes('stopped-late');
  const again = await cluster.restart('master', master);
  assert.equal(again.ready.role, 'replica');
  target.process.kill('SIGCONT');
  assert.equal(await oneMaster([again, target]), target);
  assert.equal(await textOf(target, 'last'), BEFORE);
  await converged(target, again);
  assert.deepEqual({ outcome: await outcome, inTime }, { outcome: 'answered', inTime: true });
});

test('if either node is killed while the target decides, the target becomes the master when both are back, and nothing is lost', async (t) => {
  const cluster = await Cluster.create(t);
  const { master, target, link: first } = await pair(t, cluster);
  const { answer } = await asked(t, { master, target, link: first });
  await target.stop('SIGKILL');
  assert.equal((await master.client.replication()).role, 'replica');
  const newMaster = await cluster.restart('target', target);
  assert.equal((await answer).status, 200, (await answer).body.toString());
  assert.equal(await oneMaster([master, newMaster]), newMaster);
  assert.equal(await textOf(newMaster, 'last'), BEFORE);
  assert.equal((await counters(newMaster)).syncFull, 0);
  await converged(newMaster, master);

  // And the other way round, with the old master killed.
  const link = await oneWayLink(t, newMaster);
  await master.client.replicaOf(link.wsUrl);
  await converged(newMaster, master);
  const { answer: broken } = await asked(t, { master: newMaster, target: master, link });
  const failed = assert.rejects(broken);
  await newMaster.stop('SIGKILL');
  await failed;
  const old = await cluster.restart('target', newMaster);
  assert.equal(old.ready.role, 'replica');
  isProblem(await new Connection(t, old).send('PUT', '/v1/keys/k', 'v'), 307, 'READONLY');
  master.process.kill('SIGCONT');
  assert.equal(await oneMaster([master, old]), master);
  await master.client.set('later', 'v');
  await converged(master, old);
  for (const node of [master, old]) assert.equal((await counters(node)).syncPartialErr, 0);
});

test('a target that lags, in whose name a peer has acknowledged everything, refuses, and the old master is the master again', async (t) => {
  const cluster = await Cluster.create(t);
  const master = await cluster.start('master');
  const link = await cluster.proxy(master);
  const target = await cluster.start('target', '--replica-of', link.wsUrl);
  await writeMany(master, 'a/', 10);
  await converged(master, target);
  link.cut();
  await until('it has gone', async () => (await master.client.replication()).replicas.length === 0);
  await master.client.set('last', BEFORE);
  const { runId, offset } = await master.client.replication();
  const { nodeId } = await target.client.replication();
  const liar = await RawReplica.connect(t, master);
  liar.say('REPLCONF', 'listening-url', target.wsUrl, 'node-id', nodeId);
  liar.say('PSYNC', runId, String(offset + 1));
  const replica = async () => (await master.client.replication()).replicas[0];
  await until('it is online', async () => (await replica())?.state === 'online');
  liar.say('REPLCONF', 'ACK', String(offset), 'FACK', String(offset));
  await until('it has acknowledged', async () => (await replica())?.durableOffset === offset);
  const answer = await handOver(new Connection(t, master), target);
  isProblem(answer, 409, 'FAILOVER_REFUSED', /the target refuses: .*; this node is the master again/);
  const after = await master.client.replication();
  assert.deepEqual(
    { role: after.role, runId: after.runId, upstream: after.upstream, lineage: after.lineage },
    { role: 'master', runId, upstream: null, lineage: [] },
  );
  assert.equal(await textOf(master, 'last'), BEFORE);
  await master.client.set('later', 'v');
  link.restore();
  await converged(master, target);
});

/**
 * A replica under the test's control, which has acknowledged, and of which the master can ask the node ID.
 * @param line with which it answers when it is asked to become the master
 */
async function obedient(
  t: TestContext,
  master: ChildNode,
  line: () => string = () => '-LOADING',
): Promise<{ raw: RawReplica; url: string; end: string }> {
  const { wsUrl: url } = await scriptedMaster(
    t,
    (socket) => socket.send(Buffer.from(`${line()}\r\n`)),
    (_request, response) => response.end(JSON.stringify({ nodeId: 'obedient', upstream: master.wsUrl })),
  );
  const raw = await RawReplica.connect(t, master);
  raw.say('REPLCONF', 'listening-url', url, 'node-id', 'obedient');
  const { runId, offset } = await master.client.replication();
  raw.say('PSYNC', runId, String(offset + 1));
  const replica = async () => (await master.client.replication()).replicas[0];
  await until('it is online', async () => (await replica())?.state === 'online');
  raw.say('REPLCONF', 'ACK', String(offset));
  await until('it has acknowledged', async () => (await replica())?.ackAgeMs !== undefined);
  return { raw, url, end: String(offset) };
}

test('only a refusal of the hand-over itself makes the old master the master again, not any other error', async (t) => {
  const cluster = await Cluster.create(t);
  const master = await cluster.start('master');
  await writeMany(master, 'a/', 5);
  let line = "-ERR wrong number of arguments for 'psync' command";
  const { raw, url, end } = await obedient(t, master, () => line);
  const answer = new Connection(t, master).sendJson('POST', FAILOVER, { to: url, timeoutMs: FOR_EVER });
  await failoverState(master, 'waiting-for-sync');
  raw.say('REPLCONF', 'ACK', end, 'FACK', end);
  await until('it has been asked', async () => {
    const { role, upstream } = await master.client.replication();
    return role === 'replica' && /wrong number/.test(upstream?.detail ?? '');
  });
  line = '-ERR FAILOVER: no';
  isProblem(await answer, 409, 'FAILOVER_REFUSED', /the target refuses: ERR FAILOVER: no;/);
  assert.equal((await master.client.replication()).role, 'master');
});

test('a master hands over when the target has everything on its disk', async (t) => {
  const cluster = await Cluster.create(t);
  const master = await cluster.start('master');
  await writeMany(master, 'a/', 5);
  const { raw, url, end } = await obedient(t, master);
  raw.say('REPLCONF', 'ACK', end, 'FACK', '0');
  const says = async (durable: number) =>
    until(
      'it says so',
      async () => (await master.client.replication()).replicas[0]?.durableOffset === durable,
    );
  await says(0);
  const answer = new Connection(t, master).sendJson('POST', FAILOVER, { to: url, timeoutMs: FOR_EVER });
  answer.catch(() => undefined);
  await failoverState(master, 'waiting-for-sync');
  raw.say('REPLCONF', 'ACK', end, 'FACK', '1');
  await says(1);
  assert.equal((await master.client.replication()).failover?.state, 'waiting-for-sync');
  raw.say('REPLCONF', 'ACK', end, 'FACK', end);
  await failoverState(master, 'in-progress');
});

test('a master hands over to a replica that has everything, and is too old to say what is on its disk', async (t) => {
  const cluster = await Cluster.create(t);
  const master = await cluster.start('master');
  await writeMany(master, 'a/', 5);
  const { raw, url, end } = await obedient(t, master);
  const answer = new Connection(t, master).sendJson('POST', FAILOVER, { to: url, timeoutMs: FOR_EVER });
  answer.catch(() => undefined);
  await until('it is asked', async () => {
    raw.say('REPLCONF', 'ACK', end);
    return (await master.client.replication()).failover?.state === 'in-progress';
  });
});

for (const what of ['a replica that has nothing', 'a master of another history'] as const) {
  test(`${what} at the target's address does not answer for the target: the old master keeps its data, and the operator decides`, async (t) => {
    const cluster = await Cluster.create(t);
    const { master, target, link } = await pair(t, cluster);
    const { runId } = await master.client.replication();
    const { answer } = await asked(t, { master, target, link }, 8_000);
    await target.stop('SIGKILL');
    let stranger: ChildNode;
    if (what === 'a replica that has nothing') {
      stranger = await cluster.restart('stranger', target, '--replica-of', 'ws://127.0.0.1:1');
    } else {
      const before = await cluster.start('stranger');
      await before.client.set('of', 'another history');
      await before.stop();
      stranger = await cluster.restart('stranger', target);
    }
    await until('it has been asked', async () =>
      /another node may have become the master/.test(
        (await master.client.replication()).upstream?.detail ?? '',
      ),
    );
    isProblem(await answer, 504, 'FAILOVER_TIMED_OUT', /has not answered/);
    const waiting = await master.client.replication();
    assert.deepEqual({ role: waiting.role, runId: waiting.runId }, { role: 'replica', runId });
    assert.deepEqual([await textOf(master, 'last'), await textOf(master, 'of')], [BEFORE, null]);
    await master.client.promote();
    await master.client.set('later', 'v');
    await stranger.client.replicaOf(master.wsUrl);
    await converged(master, stranger);
  });
}

const KILLS = 3;

test(`after kill -9 in the middle of ${KILLS} hand-overs there is one master, and no answered write is lost or repeated`, async (t) => {
  const { seed, random } = seeded();
  t.diagnostic(`PSYNCD_SEED=${seed}`);
  const cluster = await Cluster.create(t);
  const one = await cluster.start('one');
  const [two, other] = await Promise.all(
    ['two', 'other'].map((name) => cluster.start(name, '--replica-of', one.wsUrl)),
  );
  assert.ok(two !== undefined && other !== undefined);
  const running = new Map([
    ['one', one],
    ['two', two],
  ]);
  await writeMany(one, 'a/', 5);
  await converged(one, two, other);
  const watch = new TwoMasters(() => [...running.values(), other], 1);
  const writers = new Writers();
  const keys = ['w0', 'w1', 'w2', 'w3'];
  let [from, to] = ['one', 'two'];
  for (let kill = 1; kill <= KILLS; kill += 1) {
    writers.errors.length = 0;
    writers.start([...running.values(), other], ...keys);
    await writers.progress();
    const [master, target] = [running.get(from) as ChildNode, running.get(to) as ChildNode];
    const answer = handOver(new Connection(t, master), target).catch(() => null);
    await wait(random() * 50);
    const name = random() < 0.5 ? from : to;
    const victim = running.get(name) as ChildNode;
    await victim.stop('SIGKILL');
    running.set(name, await cluster.restart(name, victim));
    await answer;
    await writers.stop();
    // Whoever was answered was answered with 200; the connections of the others broke.
    for (const error of writers.errors) assert.ok(error instanceof TypeError, String(error));
    const nodes = [...running.values(), other];
    const left = await oneMaster(nodes);
    assert.notEqual(left, other);
    if (left === running.get(to)) [from, to] = [to, from];
    await converged(...nodes);
    for (const key of keys) {
      const value = Number(await textOf(left, key));
      const [answered, unknown] = [writers.values.get(key)?.length ?? 0, writers.unknown.get(key) ?? 0];
      assert.ok(
        value >= answered && value <= answered + unknown,
        `kill ${kill}, of ${name}: ${key} is ${value}; ${answered} were answered, ${unknown} perhaps carried out; PSYNCD_SEED=${seed}`,
      );
    }
  }
  await watch.stop();
  assert.deepEqual(watch.found, [], `PSYNCD_SEED=${seed}`);
  for (const [key, values] of writers.values) {
    assert.equal(new Set(values).size, values.length, `${key}: a number came twice; PSYNCD_SEED=${seed}`);
  }
});

interface Outcome {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs a command that talks to the node. */
function psyncd(node: ChildNode, ...args: readonly string[]): Promise<Outcome> {
  return new Promise((resolve) => {
    const child = execFile(
      process.execPath,
      [MAIN, ...args],
      { env: { ...process.env, PSYNCD_NODE: node.url } },
      (_error, stdout, stderr) => resolve({ code: child.exitCode, stdout, stderr }),
    );
  });
}

test('psyncd failover hands over to a named replica or to any, and says why it is refused', async (t) => {
  const cluster = await Cluster.create(t);
  const { master, target, link } = await pair(t, cluster);
  const done = /^(ws:\S+) is the master, at ([0-9a-f]{40}:\d+); writes were held for \d+ ms\n$/;
  const named = await psyncd(master, 'failover', target.wsUrl, '--timeout', '30s');
  const { position: there } = await target.client.replication();
  assert.deepEqual([named.code, named.stderr], [0, '']);
  assert.deepEqual(done.exec(named.stdout)?.slice(1), [target.wsUrl, there]);
  await converged(target, master);
  const back = await psyncd(target, 'failover', '--json');
  const { master: url, position } = JSON.parse(back.stdout) as FailoverAnswer;
  assert.deepEqual(
    [back.code, url, position],
    [0, master.wsUrl, (await master.client.replication()).position],
  );
  await converged(master, target);
  const refused = await psyncd(target, 'failover');
  assert.deepEqual({ code: refused.code, stdout: refused.stdout }, { code: 1, stdout: '' });
  assert.match(refused.stderr, /^psyncd: this node is a replica: .* \(FAILOVER_REFUSED\)\n$/);
  await target.client.replicaOf(link.wsUrl);
  await converged(master, target);
  link.hold();
  await master.client.set('k', 'not acknowledged');
  const late = await psyncd(master, 'failover', '--timeout', '1s');
  assert.deepEqual({ code: late.code, stdout: late.stdout }, { code: 1, stdout: '' });
  assert.match(late.stderr, /^psyncd: after 1000 ms .* still the master \(FAILOVER_TIMED_OUT\)\n$/);
  const usage = await psyncd(master, 'failover', '--timeout', 'soon');
  assert.deepEqual({ code: usage.code, stdout: usage.stdout }, { code: 2, stdout: '' });
});

test('psyncd check says what a replica at a position would get and why, and starts no resync', async (t) => {
  const cluster = await Cluster.create(t);
  const master = await cluster.start('master', '--backlog-size', '16kb');
  const replica = await cluster.start('replica', '--replica-of', master.wsUrl);
  const line = async (node: ChildNode, at: string): Promise<string> => {
    const { code, stdout, stderr } = await psyncd(node, 'check', at);
    assert.deepEqual({ code, stderr }, { code: 0, stderr: '' });
    return stdout.trimEnd();
  };
  const { position: first } = await master.client.set('k', 'v');
  const { runId, offset } = await master.client.replication();
  assert.equal(await line(master, `${runId}:0`), `continue: partial resync, ${offset} bytes`);
  await master.client.set('large', 'x'.repeat(20_000));
  assert.match(await line(master, first), /^full resync: behind-backlog, a snapshot of about [\d,]+ bytes$/);
  await converged(master, replica);
  const shared = await master.client.replication();
  const asJson = await psyncd(master, 'check', shared.position, '--json');
  assert.deepEqual(JSON.parse(asJson.stdout), {
    decision: 'continue',
    reason: null,
    bytes: 0,
    resumedBytes: 0,
    notNow: null,
  });
  await replica.client.promote();
  assert.match(
    await line(replica, `${runId}:${shared.offset + 1}`),
    /^full resync: past-shared-history, a snapshot of about [\d,]+ bytes$/,
  );
  assert.deepEqual(await counters(master), { syncFull: 1, syncPartialOk: 0, syncPartialErr: 0 });
  // What it says is what a replica then gets.
  assert.equal(await line(replica, shared.position), 'continue: partial resync, 0 bytes');
  await master.client.replicaOf(replica.wsUrl);
  await converged(replica, master);
  assert.deepEqual(await counters(replica), { syncFull: 0, syncPartialOk: 1, syncPartialErr: 0 });
  await replica.stop();
  await linkState(master, 'waiting');
  assert.match(await line(master, shared.position), /^continue: .*; but not now: NOMASTERLINK /);
  const malformed = await psyncd(master, 'check', 'x');
  assert.deepEqual({ code: malformed.code, stdout: malformed.stdout }, { code: 2, stdout: '' });
  assert.match(malformed.stderr, /^psyncd: the position: expected <run ID>:<offset>, got "x"\n$/);
  assert.equal((await psyncd(master, 'check')).code, 2);
});
