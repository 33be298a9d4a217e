/**
 * Writes that wait for replicas (`acks`), writes that are refused without them, and reads that wait for a position.
 * `PSYNCD_SEED=N` repeats what is drawn in a run.
 */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect } from 'node:net';
import test, { type TestContext } from 'node:test';
import type { ChildNode } from '../../src/cli/child-node.ts';
import { until } from '../../src/cli/until.ts';
import { byteProxy } from '../support/byte-proxy.ts';
import { Cluster, converged, counters, linkState, samePosition, textOf } from '../support/cluster.ts';
import { type Answer, Connection, type Headers, isProblem, json } from '../support/contract.ts';
import { seeded } from '../support/random.ts';
import { RawReplica } from '../support/raw-replica.ts';
import { infoOf } from '../support/reports.ts';

/** Longer than any test: what waits so long waits for ever. */
const FOR_EVER = 600_000;
/** Whoever is not frozen has acknowledged a write by then, on a busy machine too, in milliseconds. */
const ENOUGH = 3_000;
/** Replicas acknowledge every second, and the smallest lag for `min-replicas` is two seconds. */
const LATE_ACK_MS = 1_500;
const JSON_BODY: Headers = { 'content-type': 'application/json' };
const STRANGE = 'ab'.repeat(20);

interface Write {
  readonly method: string;
  readonly path: string;
  readonly body?: string;
  readonly headers?: Headers;
  /** What it is answered with when it does not wait. */
  readonly status?: number;
}

/** Every kind of write, on a keyspace that is empty before and after. */
const WRITES: readonly Write[] = [
  { method: 'PUT', path: '/v1/keys/k', body: 'new', status: 201 },
  { method: 'PUT', path: '/v1/keys/k?ttl=600', body: 'replaced' },
  { method: 'POST', path: '/v1/keys/k/append', body: ' and longer' },
  { method: 'PUT', path: '/v1/keys/k/expiry', body: '{"ttl":300}', headers: JSON_BODY },
  { method: 'DELETE', path: '/v1/keys/k/expiry' },
  { method: 'POST', path: '/v1/keys/n/increment', body: '{"by":5}', headers: JSON_BODY },
  {
    method: 'POST',
    path: '/v1/batch',
    body: JSON.stringify({ ops: [{ op: 'set', key: 'j', value: {}, encoding: 'json' }] }),
    headers: JSON_BODY,
  },
  {
    method: 'PATCH',
    path: '/v1/keys/j',
    body: '{"a":1}',
    headers: { 'content-type': 'application/merge-patch+json' },
  },
  { method: 'POST', path: '/v1/import', body: '{"key":"p/1","value":"1"}\n{"key":"p/2","value":"2"}\n' },
  { method: 'DELETE', path: '/v1/keys?prefix=p/' },
  { method: 'DELETE', path: '/v1/keys/k' },
  { method: 'DELETE', path: '/v1/keys?all=true' },
];

/** Sends the write with `acks` and `timeout`. */
function sendWith(connection: Connection, write: Write, acks: number, timeoutMs: number): Promise<Answer> {
  const { method, path, body, headers } = write;
  const query = `${path.includes('?') ? '&' : '?'}acks=${acks}&timeout=${timeoutMs}`;
  return connection.send(method, path + query, body, headers);
}

function put(
  connection: Connection,
  key: string,
  value: string,
  acks: number,
  timeoutMs: number,
): Promise<Answer> {
  return sendWith(connection, { method: 'PUT', path: `/v1/keys/${key}`, body: value }, acks, timeoutMs);
}

function offsetOf(position: unknown): number {
  return Number(String(position).split(':')[1]);
}

/** A master and so many replicas that are online. */
async function masterAnd(
  cluster: Cluster,
  count: number,
  ...flags: string[]
): Promise<readonly [ChildNode, ...ChildNode[]]> {
  const master = await cluster.start('master', ...flags);
  const replicas = await Promise.all(
    Array.from({ length: count }, (_, index) =>
      cluster.start(`replica${index}`, '--replica-of', master.wsUrl),
    ),
  );
  for (const replica of replicas) await linkState(replica, 'streaming');
  await online(master, count);
  return [master, ...replicas];
}

/** Waits until so many replicas are online and have acknowledged something. */
async function online(master: ChildNode, count: number): Promise<void> {
  await until(`${count} replicas are online`, async () => {
    const { replicas } = await master.client.replication();
    const good = replicas.filter(({ state, ackAgeMs }) => state === 'online' && ackAgeMs !== undefined);
    return good.length === count && replicas.length === count;
  });
}

/** What has come of the request so far; undefined: nothing, after the node has answered others meanwhile. */
async function answeredMeanwhile<T>(node: ChildNode, request: Promise<T>): Promise<T | undefined> {
  const others = (async () => {
    for (let round = 0; round < 5; round += 1) await node.client.replication();
    return undefined;
  })();
  return Promise.race([request, others]);
}

function configure(connection: Connection, settings: object): Promise<Answer> {
  return connection.sendJson('PATCH', '/v1/config', settings);
}

test('every kind of write waits for its acks: 200 or 201 when enough have it, 202 with the count when time is up', async (t) => {
  const cluster = await Cluster.create(t);
  const [master, ...replicas] = await masterAnd(cluster, 2);
  const connection = new Connection(t, master);
  const [first] = replicas as [ChildNode];
  let { offset } = await master.client.replication();
  for (const { acks, reached, frozen } of [
    { acks: 2, reached: 2, frozen: false },
    { acks: 3, reached: 2, frozen: false },
    { acks: 2, reached: 1, frozen: true },
  ]) {
    if (frozen) first.process.kill('SIGSTOP');
    const enough = reached === acks;
    // Those that wait until time is up wait together.
    const waiting: { readonly write: Write; readonly answer: Promise<Answer>; readonly position: string }[] =
      [];
    for (const write of WRITES) {
      const before = offset;
      const own = enough ? connection : new Connection(t, master);
      const answer = sendWith(own, write, acks, enough ? FOR_EVER : ENOUGH);
      const after = await until('it is written', async () => {
        const state = await master.client.replication();
        return state.offset > before ? state : null;
      });
      offset = after.offset;
      waiting.push({ write, answer, position: after.position });
      if (!enough) continue;
      await answer;
      for (const replica of replicas) {
        assert.ok((await replica.client.replication()).offset >= offset, 'whoever is counted has it');
      }
    }
    for (const { write, answer: answering, position } of waiting) {
      const answer = await answering;
      const body = json(answer);
      assert.deepEqual(
        { status: answer.status, acks: body.acks },
        { status: enough ? (write.status ?? 200) : 202, acks: reached },
        `${write.method} ${write.path}: ${answer.body}`,
      );
      assert.equal(body.position, position);
      if (enough) assert.equal(answer.headers['psync-position'], position);
    }
  }
  assert.equal((await put(connection, 'k', 'v', 2, 0)).status, 202);
  assert.equal(await textOf(master, 'k'), 'v');
  first.process.kill('SIGCONT');
  await converged(master, ...replicas);
});

test('acks=0 does not wait, and what is no number of replicas or no time is refused before it is written', async (t) => {
  const cluster = await Cluster.create(t);
  const master = await cluster.start('master');
  const connection = new Connection(t, master);
  const answer = await put(connection, 'k', 'v', 0, FOR_EVER);
  assert.deepEqual({ status: answer.status, acks: json(answer).acks }, { status: 201, acks: 0 });
  assert.equal(json(await connection.send('PUT', '/v1/keys/k', 'v')).acks, undefined);
  const { position } = await master.client.replication();
  for (const query of [
    'acks=-1',
    'acks=1001',
    'acks=x',
    'acks=1.5',
    'acks=1&timeout=-1',
    'acks=1&timeout=600001',
  ]) {
    isProblem(await connection.send('PUT', `/v1/keys/k?${query}`, 'not written'), 400, 'BAD_REQUEST');
  }
  assert.equal((await master.client.replication()).position, position);
});

test('an ack means in the journal: what was answered is there after kill -9 of the replica, without its master', async (t) => {
  const { seed, random } = seeded();
  t.diagnostic(`PSYNCD_SEED=${seed}`);
  const cluster = await Cluster.create(t);
  const master = await cluster.start('master');
  const link = await cluster.proxy(master);
  let replica = await cluster.start('replica', '--replica-of', link.wsUrl);
  await linkState(replica, 'streaming');
  const writers = 4;
  const answered = Array.from({ length: writers }, () => 0);
  let writing = true;
  const all = Promise.all(
    answered.map(async (_, writer) => {
      const connection = new Connection(t, master);
      for (let value = 1; writing; value += 1) {
        const answer = await put(connection, `writer${writer}`, String(value), 1, FOR_EVER);
        assert.deepEqual(
          { status: answer.status, acks: json(answer).acks },
          { status: value === 1 ? 201 : 200, acks: 1 },
        );
        answered[writer] = value;
      }
    }),
  );
  for (let kill = 1; kill <= 3; kill += 1) {
    const more = 5 + Math.floor(random() * 50);
    const target = answered.map((value) => value + more);
    await until('writes are answered', () =>
      answered.every((value, writer) => value >= (target[writer] as number)),
    );
    await replica.stop('SIGKILL');
    const promised = [...answered];
    link.cut();
    replica = await cluster.restart('replica', replica);
    for (const [writer, value] of promised.entries()) {
      const found = Number(await textOf(replica, `writer${writer}`));
      assert.ok(found >= value, `writer${writer} is ${found}, answered was ${value}; PSYNCD_SEED=${seed}`);
    }
    assert.notEqual((await replica.client.replication()).upstream?.state, 'streaming');
    // Whoever still waits gets the acknowledgement of the replica that has come back.
    link.restore();
  }
  writing = false;
  await all;
  await converged(master, replica);
  assert.equal((await counters(master)).syncFull, 1);
});

test('a write gets the ack of a replica that comes, or comes back, while it waits', async (t) => {
  const cluster = await Cluster.create(t);
  const master = await cluster.start('master');
  const link = await cluster.proxy(master);
  const first = put(new Connection(t, master), 'first', 'v', 1, FOR_EVER);
  await until('it is written', async () => (await textOf(master, 'first')) === 'v');
  const replica = await cluster.start('replica', '--replica-of', link.wsUrl);
  assert.deepEqual([(await first).status, json(await first).acks], [201, 1]);
  link.cut();
  await linkState(replica, 'waiting');
  const second = put(new Connection(t, master), 'second', 'v', 1, FOR_EVER);
  await until('it is written', async () => (await textOf(master, 'second')) === 'v');
  link.restore();
  assert.deepEqual([(await second).status, json(await second).acks], [201, 1]);
  assert.equal(await textOf(replica, 'second'), 'v');
});

test('a replica that comes back while a write waits is asked at once too, not with the ACK of the next second', async (t) => {
  const cluster = await Cluster.create(t);
  const master = await cluster.start('master');
  await master.client.set('k', 'old');
  const { runId, offset } = await master.client.replication();
  const answer = put(new Connection(t, master), 'k', 'new', 1, FOR_EVER);
  await until('it is written', async () => (await textOf(master, 'k')) === 'new');
  // One that acknowledges nothing by itself.
  const replica = await RawReplica.connect(t, master);
  const asked = new Promise<void>((resolve) => {
    replica.socket.on('ping', (data: Buffer) => {
      if (data.toString() === 'GETACK') resolve();
    });
  });
  replica.say('PSYNC', runId, String(offset + 1));
  assert.match(await replica.line(), /^\+CONTINUE/);
  await asked;
  replica.say('REPLCONF', 'ACK', String((await master.client.replication()).offset));
  assert.deepEqual([(await answer).status, json(await answer).acks], [200, 1]);
});

test('acks come at once, not with the ACK of every second; frozen replicas do not count until they go on', async (t) => {
  const cluster = await Cluster.create(t);
  const [master, frozen, running] = await masterAnd(cluster, 2);
  assert.ok(frozen !== undefined && running !== undefined);
  const connection = new Connection(t, master);
  let inTime = 0;
  for (let value = 0; value < 200; value += 1) {
    // One that has to wait for the next second is not answered with 200: the last ACK came just now.
    const answer = await put(connection, 'k', String(value), 2, 900);
    if (answer.status === (value === 0 ? 201 : 200)) inTime += 1;
    else assert.equal(answer.status, 202);
  }
  // A busy machine may keep a replica from its answer for as long now and then.
  assert.ok(inTime > 150, `${inTime} of 200 were acknowledged at once`);
  for (let round = 1; round <= 3; round += 1) {
    frozen.process.kill('SIGSTOP');
    const one = await put(connection, 'k', `one of two, ${round}`, 1, FOR_EVER);
    assert.deepEqual([one.status, json(one).acks], [200, 1]);
    const both = await put(connection, 'k', `both, ${round}`, 2, ENOUGH);
    assert.deepEqual([both.status, json(both).acks], [202, 1]);
    const waiting = put(connection, 'k', `both, later, ${round}`, 2, FOR_EVER);
    assert.equal(await answeredMeanwhile(master, waiting), undefined);
    frozen.process.kill('SIGCONT');
    assert.deepEqual([(await waiting).status, json(await waiting).acks], [200, 2]);
    assert.equal(await textOf(frozen, 'k'), `both, later, ${round}`);
  }
  running.process.kill('SIGSTOP');
  frozen.process.kill('SIGSTOP');
  const none = await put(connection, 'k', 'none', 1, 50);
  assert.deepEqual([none.status, json(none).acks], [202, 0]);
  for (const replica of [running, frozen]) replica.process.kill('SIGCONT');
  await converged(master, running, frozen);
});

test('many writes that wait for the ACK of a frozen replica get it when it goes on, and its link is not cut', async (t) => {
  const cluster = await Cluster.create(t);
  const [master, replica] = await masterAnd(cluster, 1);
  replica?.process.kill('SIGSTOP');
  const waiting: Promise<Answer>[] = [];
  // More than the pings that a WebSocket takes at once; each in a turn of its own.
  for (let number = 0; number < 100; number += 1) {
    waiting.push(put(new Connection(t, master), `waits/${number}`, 'v', 1, FOR_EVER));
    await master.client.set(`between/${number}`, 'v');
  }
  replica?.process.kill('SIGCONT');
  for (const each of waiting) assert.equal((await each).status, 201);
  await converged(master, replica as ChildNode);
  assert.deepEqual(await counters(master), { syncFull: 1, syncPartialOk: 0, syncPartialErr: 0 });
});

test('writes that wait for acks are answered with 202 at once when the node becomes a replica, and when it stops', async (t) => {
  const cluster = await Cluster.create(t);
  const [node, other] = [await cluster.start('node'), await cluster.start('other')];
  await converged(other);
  const demoted = put(new Connection(t, node), 'a', 'v', 1, FOR_EVER);
  assert.equal(await answeredMeanwhile(node, demoted), undefined);
  await node.client.replicaOf(other.wsUrl);
  assert.deepEqual([(await demoted).status, json(await demoted).acks], [202, 0]);
  const stopped = put(new Connection(t, other), 'b', 'v', 100, FOR_EVER);
  assert.equal(await answeredMeanwhile(other, stopped), undefined);
  const ended = other.stop('SIGTERM');
  assert.equal((await stopped).status, 202);
  assert.equal(await ended, 0);
});

test('a node that stops answers the reads that wait, and does not wait for them', async (t) => {
  const cluster = await Cluster.create(t);
  const node = await cluster.start('node');
  const { runId, offset } = await node.client.replication();
  const path = `/v1/keys/k?position=${runId}:${offset + 1}&timeout=${FOR_EVER}`;
  const outcome = new Connection(t, node).send('GET', path).then(
    ({ status }) => status,
    () => 'the connection was dropped',
  );
  assert.equal(await answeredMeanwhile(node, outcome), undefined);
  assert.equal(await node.stop('SIGTERM'), 0);
  const inTime = !node.log.includes('stopped-late');
  assert.deepEqual({ outcome: await outcome, inTime }, { outcome: 503, inTime: true });
});

test('min-replicas: without replicas writes are refused and change nothing; reads go on, and so do writes with them', async (t) => {
  const cluster = await Cluster.create(t);
  const flags = ['--min-replicas-to-write', '1', '--min-replicas-max-lag', '2s'];
  const master = await cluster.start('master', ...flags);
  const connection = new Connection(t, master);
  const refused = async (): Promise<void> => {
    const { position } = await master.client.replication();
    for (const { method, path, body, headers } of [...WRITES, ...WRITES]) {
      const answer = await connection.send(method, path, body, headers);
      isProblem(answer, 503, 'NOREPLICAS', /1 are required/);
      assert.equal(answer.headers['retry-after'], '1');
    }
    const { role, goodReplicas, position: after } = await master.client.replication();
    assert.deepEqual({ role, goodReplicas, after }, { role: 'master', goodReplicas: 0, after: position });
    assert.equal((await infoOf(master)).min_slaves_good_slaves, '0');
  };
  const accepted = async (value: string): Promise<void> => {
    await until(
      'a write is taken',
      async () => (await connection.send('PUT', '/v1/keys/kept', value)).status < 300,
    );
    await until(
      'there is a good replica',
      async () => (await master.client.replication()).goodReplicas === 1,
    );
    await until('INFO says so', async () => (await infoOf(master)).min_slaves_good_slaves === '1');
  };
  const notGood = (): Promise<boolean> =>
    until('no replica is good', async () => (await master.client.replication()).goodReplicas === 0);

  await refused();
  let replica = await cluster.start('replica', '--replica-of', master.wsUrl);
  await accepted('1');
  for (const value of ['2', '3']) {
    replica.process.kill('SIGSTOP');
    await notGood();
    await refused();
    assert.equal((await connection.send('GET', '/v1/keys/kept')).status, 200);
    assert.equal((await connection.send('GET', '/v1/keys?values=true')).status, 200);
    assert.equal((await connection.send('GET', '/v1/export')).status, 200);
    replica.process.kill('SIGCONT');
    await accepted(value);
  }
  await converged(master, replica);
  await replica.stop('SIGKILL');
  await notGood();
  await refused();
  replica = await cluster.restart('replica', replica);
  await accepted('4');
  await converged(master, replica);
});

test('min-replicas can be changed while the node runs, and has no effect on a replica', async (t) => {
  const cluster = await Cluster.create(t);
  const [master, replica] = await masterAnd(cluster, 1);
  assert.ok(replica !== undefined);
  const connection = new Connection(t, master);
  assert.equal((await master.client.replication()).goodReplicas, undefined);
  assert.equal((await infoOf(master)).min_slaves_good_slaves, undefined);
  const changed = await configure(connection, { minReplicasToWrite: 2, minReplicasMaxLag: '1h' });
  assert.deepEqual(
    [changed.status, json(changed).minReplicasToWrite, json(changed).minReplicasMaxLag],
    [200, 2, 3_600_000],
  );
  isProblem(await connection.send('PUT', '/v1/keys/k', 'v'), 503, 'NOREPLICAS', /2 are required/);
  assert.equal((await master.client.replication()).goodReplicas, 1);
  assert.equal((await configure(connection, { minReplicasToWrite: 1 })).status, 200);
  assert.equal((await connection.send('PUT', '/v1/keys/k', 'v')).status, 201);
  isProblem(await configure(connection, { minReplicasToWrite: -1 }), 400, 'BAD_REQUEST');
  isProblem(await configure(connection, { minReplicasMaxLag: '999ms' }), 400, 'BAD_REQUEST');
  assert.equal((await configure(connection, { minReplicasToWrite: 2 })).status, 200);
  assert.equal((await configure(connection, { minReplicasToWrite: 0 })).status, 200);
  assert.equal((await connection.send('PUT', '/v1/keys/k', 'w')).status, 200);
  // A replica takes what its master sends, and sends writes to it.
  const toReplica = new Connection(t, replica);
  assert.equal((await configure(toReplica, { minReplicasToWrite: 5 })).status, 200);
  isProblem(await toReplica.send('PUT', '/v1/keys/k', 'v'), 307, 'READONLY');
  await converged(master, replica);
});

test('with the smallest lag a replica that acknowledges every second is always good: no write is refused', async (t) => {
  const cluster = await Cluster.create(t);
  const [master, replica] = await masterAnd(cluster, 1, '--min-replicas-max-lag', '2s');
  assert.ok(replica !== undefined);
  const connection = new Connection(t, master);
  assert.equal((await configure(connection, { minReplicasToWrite: 1 })).status, 200);
  let refusals: unknown[] = [];
  let [taken, writing] = [0, true];
  const writers = Promise.all(
    Array.from({ length: 3 }, async (_, writer) => {
      const own = new Connection(t, master);
      while (writing) {
        const answer = await own.send('PUT', `/v1/keys/${writer}`, 'v');
        if (answer.status < 300) taken += 1;
        else refusals.push(json(answer).detail);
      }
    }),
  );
  let [last, heard, heardAt] = [0, 0, performance.now()];
  await until(
    'six acknowledgements came, none of them late',
    async () => {
      const age = (await master.client.replication()).replicas[0]?.ackAgeMs ?? 0;
      const now = performance.now();
      if (age < last) {
        // On a busy machine a replica may say late what it says every second; then what was refused was refused rightly.
        const isLate = now - age - heardAt > LATE_ACK_MS;
        if (isLate) refusals = [];
        heard = isLate ? 0 : heard + 1;
        heardAt = now - age;
      }
      last = age;
      return heard >= 6;
    },
    60_000,
  );
  writing = false;
  await writers;
  assert.deepEqual(refusals, [], `${refusals.length} writes were refused, ${taken} taken`);
  await converged(master, replica);
});

test('a replica counts once: also when it has connected anew, and its old connection is still open', async (t) => {
  const cluster = await Cluster.create(t);
  const [master, replica] = await masterAnd(cluster, 1);
  assert.ok(replica !== undefined);
  const connection = new Connection(t, master);
  // Of a history of no bytes a node knows nothing, and asks for a snapshot.
  await put(connection, 'k', 'first', 1, FOR_EVER);
  const links = [await byteProxy(t, master.port), await byteProxy(t, master.port)];
  for (const link of [...links, null]) {
    await replica.client.replicaOf(link?.wsUrl ?? master.wsUrl);
    await linkState(replica, 'streaming');
    const both = await put(connection, 'k', 'for two', 2, ENOUGH);
    assert.deepEqual([both.status, json(both).acks], [202, 1]);
    const one = await put(connection, 'k', 'for one', 1, FOR_EVER);
    assert.deepEqual([one.status, json(one).acks], [200, 1]);
    await online(master, 1);
    // The master does not notice how this one ends.
    link?.silence();
  }
  await converged(master, replica);
  assert.equal((await counters(master)).syncFull, 1);
});

test('in a chain only the direct replicas count, and a write to a replica is redirected with its query', async (t) => {
  const cluster = await Cluster.create(t);
  const [master, middle] = await masterAnd(cluster, 1);
  assert.ok(middle !== undefined);
  const leaf = await cluster.start('leaf', '--replica-of', middle.wsUrl);
  await linkState(leaf, 'streaming');
  const connection = new Connection(t, master);
  const one = await put(connection, 'k', '1', 1, FOR_EVER);
  assert.deepEqual([one.status, json(one).acks], [201, 1]);
  const two = await put(connection, 'k', '2', 2, ENOUGH);
  assert.deepEqual([two.status, json(two).acks], [202, 1]);
  await converged(master, middle, leaf);
  for (const [node, upstream] of [
    [middle, master],
    [leaf, middle],
  ] as const) {
    const to = new Connection(t, node);
    for (const write of WRITES) {
      const answer = await sendWith(to, write, 1, 1_234);
      isProblem(answer, 307, 'READONLY');
      const query = `${write.path.includes('?') ? '&' : '?'}acks=1&timeout=1234`;
      assert.equal(answer.headers.location, `${upstream.url}${write.path}${query}`);
    }
  }
  const followed = await fetch(`${leaf.url}/v1/keys/k?acks=1&timeout=${FOR_EVER}`, {
    method: 'PUT',
    body: '3',
  });
  const { acks } = (await followed.json()) as { acks: number };
  assert.deepEqual([followed.status, acks], [200, 1]);
  assert.equal(await textOf(middle, 'k'), '3');
});

/** Every read that can wait for a position. */
const READS = [
  ['GET', '/v1/keys/k'],
  ['HEAD', '/v1/keys/k'],
  ['GET', '/v1/keys?prefix=k&values=true'],
  ['GET', '/v1/export'],
  ['GET', '/v1/digest'],
] as const;

type Read = (typeof READS)[number];

/** Sends the read with the position in its query, and once more with the header. */
async function readAt(
  t: TestContext,
  node: ChildNode,
  [method, path]: Read,
  position: string,
  timeoutMs: number,
): Promise<readonly [Answer, Answer]> {
  const query = `${path.includes('?') ? '&' : '?'}timeout=${timeoutMs}`;
  return Promise.all([
    new Connection(t, node).send(method, `${path}${query}&position=${position}`),
    new Connection(t, node).send(method, path + query, undefined, { 'psync-position': position }),
  ]);
}

/** As `isProblem`, but the answer to a HEAD has no body. */
function isRefused(answer: Answer, read: Read, status: number, code: string): void {
  if (read[0] === 'HEAD') assert.equal(answer.status, status);
  else isProblem(answer, status, code);
}

test('reads wait until the node has reached their position, on a replica that is behind too', async (t) => {
  const cluster = await Cluster.create(t);
  const { master, link, replica } = await cluster.linked();
  await master.client.set('k', 'old');
  await converged(master, replica);
  link.cut();
  await linkState(replica, 'waiting');
  const { position, version } = await master.client.set('k', 'new');
  for (const read of READS) {
    for (const answer of await readAt(t, replica, read, position, 5)) {
      isRefused(answer, read, 503, 'NOT_REACHED');
      assert.equal(answer.headers['retry-after'], '1');
    }
    for (const answer of await readAt(t, master, read, position, 0)) assert.equal(answer.status, 200);
  }
  // Without a position it is answered with what there is.
  assert.equal(await textOf(replica, 'k'), 'old');
  const waiting = Promise.all(READS.map((read) => readAt(t, replica, read, position, FOR_EVER)));
  assert.equal(await answeredMeanwhile(replica, waiting), undefined);
  link.restore();
  for (const [index, answers] of (await waiting).entries()) {
    for (const answer of answers) {
      assert.equal(answer.status, 200);
      assert.equal(offsetOf(answer.headers['psync-position']), offsetOf(position));
      const text = answer.body.toString();
      if (index === 0) assert.equal(text, 'new');
      else if (index === 1) assert.equal(answer.headers.etag, `"${version}"`);
      else if (index < 4) assert.match(text, /"value":"new"/);
      else assert.equal(json(answer).digest, (await master.client.digest()).digest);
    }
  }
  assert.equal((await counters(master)).syncFull, 1);
});

test('a position of another history is refused at once, on a master and on a connected replica; so is what is none', async (t) => {
  const cluster = await Cluster.create(t);
  const [master, replica] = await masterAnd(cluster, 1);
  assert.ok(replica !== undefined);
  await master.client.set('k', 'v');
  await converged(master, replica);
  const { runId, offset } = await master.client.replication();
  const malformed = ['x', runId, `${runId}:`, `${runId}:-1`, `${runId}:1e3`, `${runId}x:1`, ':1'];
  for (const node of [master, replica]) {
    for (const read of READS) {
      // It would wait for ever if it waited.
      for (const answer of await readAt(t, node, read, `${STRANGE}:1`, FOR_EVER)) {
        isRefused(answer, read, 412, 'UNKNOWN_HISTORY');
      }
      for (const answer of await readAt(t, node, read, `${runId}:${offset + 1}`, 5)) {
        isRefused(answer, read, 503, 'NOT_REACHED');
        assert.equal(answer.headers['retry-after'], '1');
      }
      for (const position of malformed) {
        for (const answer of await readAt(t, node, read, position, 0)) {
          isRefused(answer, read, 400, 'BAD_REQUEST');
        }
      }
    }
  }
});

test('after a promotion a position of the old history is good as far as it is shared, and refused past that', async (t) => {
  const cluster = await Cluster.create(t);
  const [old, promoted] = await masterAnd(cluster, 1);
  assert.ok(promoted !== undefined);
  const link = await cluster.proxy(promoted);
  const replica = await cluster.start('leaf', '--replica-of', link.wsUrl);
  const shared = await old.client.set('k', 'shared');
  await samePosition(old, promoted, replica);
  link.cut();
  await linkState(replica, 'waiting');
  await promoted.client.promote();
  const newer = await promoted.client.set('k', 'by the new master');
  const past = await old.client.set('k', 'by the old master');

  // A replica that is not connected may yet learn of a history: it waits, and is sure when time is up.
  for (const answer of await readAt(t, replica, READS[0], newer.position, 5)) {
    isProblem(answer, 412, 'UNKNOWN_HISTORY');
  }
  const known = readAt(t, replica, READS[0], newer.position, FOR_EVER);
  const strange = readAt(t, replica, READS[0], `${STRANGE}:1`, FOR_EVER);
  assert.equal(await answeredMeanwhile(replica, Promise.race([known, strange])), undefined);
  link.restore();
  for (const answer of await known) {
    assert.deepEqual([answer.status, answer.body.toString()], [200, 'by the new master']);
  }
  for (const answer of await strange) isProblem(answer, 412, 'UNKNOWN_HISTORY');

  for (const node of [promoted, replica]) {
    for (const read of READS) {
      for (const answer of await readAt(t, node, read, shared.position, 0)) assert.equal(answer.status, 200);
      for (const answer of await readAt(t, node, read, newer.position, 0)) assert.equal(answer.status, 200);
      for (const answer of await readAt(t, node, read, past.position, FOR_EVER)) {
        isRefused(answer, read, 412, 'UNKNOWN_HISTORY');
      }
    }
  }
  // The old master does not know the new history until it follows it.
  for (const answer of await readAt(t, old, READS[0], newer.position, FOR_EVER)) {
    isProblem(answer, 412, 'UNKNOWN_HISTORY');
  }
  await old.client.replicaOf(promoted.wsUrl);
  await converged(promoted, old, replica);
  for (const answer of await readAt(t, old, READS[0], newer.position, 0)) assert.equal(answer.status, 200);
  for (const answer of await readAt(t, old, READS[0], past.position, FOR_EVER)) {
    isProblem(answer, 412, 'UNKNOWN_HISTORY');
  }
});

test('read your own writes: 500 writes, each read at once on any node with its position, and never an old value', async (t) => {
  const { seed, random } = seeded();
  t.diagnostic(`PSYNCD_SEED=${seed}`);
  const cluster = await Cluster.create(t);
  const [master, replica] = await masterAnd(cluster, 1);
  assert.ok(replica !== undefined);
  const leaf = await cluster.start('leaf', '--replica-of', replica.wsUrl);
  await linkState(leaf, 'streaming');
  const nodes = [master, replica, leaf];
  const clients = 5;
  const drawn = Array.from({ length: 500 }, () => ({
    writer: nodes[Math.floor(random() * nodes.length)],
    reader: nodes[Math.floor(random() * nodes.length)],
    header: random() < 0.5,
  }));
  await Promise.all(
    Array.from({ length: clients }, async (_, client) => {
      for (let index = client; index < drawn.length; index += clients) {
        const { writer, reader, header } = drawn[index] as (typeof drawn)[number];
        const path = `/v1/keys/client${client}`;
        const written = await fetch(`${writer?.url}${path}`, { method: 'PUT', body: String(index) });
        assert.ok(written.ok);
        const { position } = (await written.json()) as { position: string };
        const query = `?timeout=${FOR_EVER}${header ? '' : `&position=${position}`}`;
        const init = header ? { headers: { 'psync-position': position } } : {};
        const read = await fetch(`${reader?.url}${path}${query}`, init);
        const text = await read.text();
        assert.deepEqual([read.status, text], [200, String(index)], `PSYNCD_SEED=${seed}`);
      }
    }),
  );
  await converged(master, replica, leaf);
});

/** Sends one request, and does not read the answer. @returns what makes the client go */
async function waitingClient(node: ChildNode, method: string, path: string): Promise<() => void> {
  const socket = connect(node.port, '127.0.0.1');
  await once(socket, 'connect');
  socket.write(`${method} ${path} HTTP/1.1\r\nHost: 127.0.0.1:${node.port}\r\nContent-Length: 0\r\n\r\n`);
  return () => socket.destroy();
}

test('with --max-waiting waiting writes, one more is refused with 429; a client that disconnects frees its place', async (t) => {
  const cluster = await Cluster.create(t);
  const node = await cluster.start('node', '--max-waiting', '3');
  const connection = new Connection(t, node);
  const leave = await Promise.all(
    [0, 1, 2].map((index) => waitingClient(node, 'PUT', `/v1/keys/w${index}?acks=1000&timeout=${FOR_EVER}`)),
  );
  await until('they wait', async () => {
    const written = await Promise.all([0, 1, 2].map((index) => textOf(node, `w${index}`)));
    return written.every((value) => value !== null);
  });
  const { position } = await node.client.replication();
  for (const write of WRITES) {
    const refused = await sendWith(connection, write, 1, ENOUGH);
    isProblem(refused, 429, 'TOO_MANY_REQUESTS');
    assert.equal(refused.headers['retry-after'], '1');
  }
  assert.equal((await node.client.replication()).position, position, 'nothing was written');
  assert.equal(
    (await put(connection, 'k', 'v', 0, FOR_EVER)).status,
    201,
    'who does not wait needs no place',
  );
  for (const go of leave) go();
  await until('there are places again', async () => (await put(connection, 'k', 'v', 1, 1)).status === 202);
});

test('with --max-waiting waiting reads, one more is refused with 429; a client that disconnects frees its place', async (t) => {
  const cluster = await Cluster.create(t);
  const node = await cluster.start('node', '--max-waiting', '3');
  const connection = new Connection(t, node);
  const { runId, offset } = await node.client.replication();
  const path = `/v1/keys/k?position=${runId}:${offset + 1_000_000}`;
  const ask = async (): Promise<Answer> => connection.send('GET', `${path}&timeout=1`);
  const leave = await Promise.all(
    [0, 1, 2].map(() => waitingClient(node, 'GET', `${path}&timeout=${FOR_EVER}`)),
  );
  await until('they wait', async () => (await ask()).status === 429);
  const refused = await ask();
  isProblem(refused, 429, 'TOO_MANY_REQUESTS');
  assert.equal(refused.headers['retry-after'], '1');
  for (const go of leave) go();
  await until('there are places again', async () => (await ask()).status === 503);
});
