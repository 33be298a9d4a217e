/** Two nodes are compared at one position, while both go on; and a replica that holds other data than its master is found. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readdir } from 'node:fs/promises';
import { createServer, type IncomingMessage, request, type ServerResponse } from 'node:http';
import { type AddressInfo, connect } from 'node:net';
import { join } from 'node:path';
import test, { type TestContext } from 'node:test';
import Database from 'better-sqlite3';
import type { ChildNode } from '../../src/cli/child-node.ts';
import { until } from '../../src/cli/until.ts';
import { entryChecksum } from '../../src/store/keyspace/entry-checksum.ts';
import { Cluster, converged, counters, textOf, writeMany } from '../support/cluster.ts';

interface Compared {
  readonly status: number;
  readonly code?: string;
  readonly detail?: string;
  readonly position?: string;
  readonly keys?: number;
  readonly digest?: string;
  readonly against?: {
    readonly url: string;
    readonly position: string;
    readonly keys: number;
    readonly digest: string;
  };
  readonly equal?: boolean;
}

async function compared(node: ChildNode, against: string, timeoutMs = 60_000): Promise<Compared> {
  const query = `against=${encodeURIComponent(against)}&timeout=${timeoutMs}`;
  const answer = await fetch(`${node.url}/v1/digest?${query}`);
  return { ...((await answer.json()) as object), status: answer.status };
}

function isEqual(answer: Compared): void {
  assert.deepEqual([answer.status, answer.equal], [200, true], JSON.stringify(answer));
  assert.deepEqual(
    [answer.position, answer.keys, answer.digest],
    [answer.against?.position, answer.against?.keys, answer.against?.digest],
  );
}

test('a master, its replica and a replica of that compare as equal whichever is asked; a node refuses itself and strangers', async (t) => {
  const cluster = await Cluster.create(t);
  const master = await cluster.start('master');
  const replica = await cluster.start('replica', '--replica-of', master.wsUrl);
  const last = await cluster.start('last', '--replica-of', replica.wsUrl);
  await writeMany(master, 'k', 50);
  await master.client.set('large', 'x'.repeat(100_000));
  await converged(master, replica, last);
  for (const [one, other] of [
    [master, replica],
    [replica, master],
    [master, last],
    [last, master],
    [last, replica],
  ] as const) {
    isEqual(await compared(one, other.url));
    isEqual(await compared(one, other.wsUrl));
  }
  const keys = (await compared(master, last.url)).keys;
  assert.equal(keys, 51);
  const both = await Promise.all([compared(master, replica.url), compared(replica, master.url)]);
  for (const answer of both) isEqual(answer);

  const stranger = await cluster.start('stranger');
  await writeMany(stranger, 'k', 50);
  const proxy = await cluster.proxy(master);
  for (const [url, status, code] of [
    [master.url, 400, 'BAD_REQUEST'],
    // Under another address.
    [proxy.wsUrl, 400, 'BAD_REQUEST'],
    [`${replica.url}/v1/digest?against=${master.url}`, 400, 'BAD_REQUEST'],
    ['ftp://127.0.0.1:1', 400, 'BAD_REQUEST'],
    ['ws://127.0.0.1:1', 502, 'BAD_PEER'],
    [stranger.url, 412, 'UNKNOWN_HISTORY'],
  ] as const) {
    const answer = await compared(master, url);
    assert.deepEqual([answer.status, answer.code], [status, code], `${url}: ${JSON.stringify(answer)}`);
  }
});

test('nodes under constant writes of all kinds are compared at one position, and are equal', async (t) => {
  const cluster = await Cluster.create(t);
  const master = await cluster.start('master');
  const replica = await cluster.start('replica', '--replica-of', master.wsUrl);
  await writeMany(master, 'k', 200);
  let stop = false;
  let writes = 0;
  const write = async (): Promise<void> => {
    for (; !stop; writes += 1) {
      const key = `k${writes % 300}`;
      await master.client.set(key, `v${writes}`, writes % 7 === 0 ? { ttl: 1_000 } : {});
      if (writes % 3 === 0) await master.client.delete(`k${(writes * 7) % 300}`);
      if (writes % 7 === 0) await fetch(`${master.url}/v1/keys/${key}/expiry`, { method: 'DELETE' });
      if (writes % 5 === 0)
        await fetch(`${master.url}/v1/keys/${key}/expiry`, {
          method: 'PUT',
          headers: { 'content-type': 'application/json' },
          body: '{"ttl":2000}',
        });
      if (writes % 11 === 0) await master.client.set('large', Buffer.alloc(30_000, `${writes}`));
      if (writes % 97 === 96) await fetch(`${master.url}/v1/keys?all=true`, { method: 'DELETE' });
    }
  };
  const writing = Promise.all([write(), write()]);
  const positions = new Set<string>();
  try {
    for (let round = 0; round < 6; round += 1) {
      for (const [one, other] of [
        [master, replica],
        [replica, master],
      ] as const) {
        const answer = await compared(one, other.url);
        isEqual(answer);
        positions.add(answer.position ?? '');
      }
    }
  } finally {
    stop = true;
    await writing;
  }
  assert.ok(positions.size > 6, `${positions.size} positions`);
  await converged(master, replica);
});

/** Changes an entry of a stopped node as nothing notices: the value, and its checksum. */
async function tampered(cluster: Cluster, name: string, key: string): Promise<void> {
  const [file = ''] = (await readdir(cluster.data(name))).filter((each) => /^keyspace-\d+\.db$/.test(each));
  const db = new Database(join(cluster.data(name), file));
  const [version, expiresAt] = db
    .prepare('SELECT version, expires_at FROM entries WHERE key = ?')
    .raw()
    .get(key) as [number, number | null];
  const value = Buffer.from('something else');
  db.prepare('UPDATE entries SET value = ?, checksum = ? WHERE key = ?').run(
    value,
    entryChecksum(key, value, version, expiresAt),
    key,
  );
  db.close();
}

test('a replica with a changed but intact file is found, gets a full resync with reason different-data, and keeps that file', async (t) => {
  const cluster = await Cluster.create(t);
  const master = await cluster.start('master');
  let replica = await cluster.start('replica', '--replica-of', master.wsUrl);
  await writeMany(master, 'k', 50);
  const { position } = await converged(master, replica);
  await replica.stop();
  await tampered(cluster, 'replica', 'k7');
  replica = await cluster.start('replica', '--verify-interval', '0');
  await until('it streams', async () => (await replica.client.replication()).upstream?.state === 'streaming');
  assert.equal(await textOf(replica, 'k7'), 'something else');
  assert.equal((await replica.client.replication()).verified, null);
  const answer = await compared(master, replica.url);
  assert.deepEqual([answer.status, answer.equal, answer.position], [200, false, position]);
  assert.equal((await compared(replica, master.url)).equal, false);

  await fetch(`${replica.url}/v1/config`, {
    method: 'PATCH',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ verifyInterval: '200ms' }),
  });
  const status = await until('it was compared and is equal', async () => {
    const now = await replica.client.replication();
    return now.verified?.equal === true ? now : null;
  });
  await converged(master, replica);
  assert.equal(await textOf(replica, 'k7'), 'v7');
  assert.equal(status.upstream?.lastSync?.reason, 'different-data');
  assert.equal((await master.client.replication()).replicas[0]?.sync?.reason, 'different-data');
  assert.match(replica.log, /this node holds other data than its master at the same position.*data-differs/);
  const [kept] = status.kept;
  assert.deepEqual([status.kept.length, kept?.reason, kept?.position], [1, 'different-data', position]);
  const db = new Database(join(cluster.data('replica'), kept?.file ?? ''), { readonly: true });
  const found = db.prepare("SELECT value FROM entries WHERE key = 'k7'").pluck().get() as Buffer;
  db.close();
  assert.equal(found.toString(), 'something else');
});

type Answering = (request: IncomingMessage, response: ServerResponse) => void;

/** A node for everything but `/v1/digest`: replicas and requests are passed on. */
async function inFrontOf(t: TestContext, node: ChildNode, digest: Answering): Promise<string> {
  const server = createServer((incoming, response) => {
    if (incoming.url?.startsWith('/v1/digest') === true) return digest(incoming, response);
    const { port } = new URL(node.url);
    const outgoing = request({ port, path: incoming.url, method: incoming.method }, (answer) => {
      response.writeHead(answer.statusCode ?? 0, answer.headers);
      answer.pipe(response);
    });
    outgoing.on('error', () => response.destroy());
    incoming.pipe(outgoing);
  });
  server.on('upgrade', (incoming, socket, head) => {
    const to = connect(Number(new URL(node.url).port), '127.0.0.1');
    const headers = incoming.rawHeaders.map((each, index) => (index % 2 === 0 ? `${each}: ` : `${each}\r\n`));
    to.write(`GET ${incoming.url} HTTP/1.1\r\n${headers.join('')}\r\n`);
    to.write(head);
    socket.pipe(to).pipe(socket);
    for (const each of [socket, to]) each.on('error', () => each.destroy());
    t.after(() => to.destroy());
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => {
    server.close();
    server.closeAllConnections();
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

function told(
  body: string | Buffer,
  status = 200,
  headers: Readonly<Record<string, string>> = {},
): Answering {
  return (_request, response) => {
    response.writeHead(status, { 'content-type': 'application/json', ...headers });
    response.end(body);
  };
}

function sameAs(position: (asked: string) => string): Answering {
  return (asked, response) => {
    const at = new URL(asked.url ?? '', 'http://x').searchParams.get('position') ?? '';
    told(JSON.stringify({ position: position(at), keys: 1, digest: '0'.repeat(32) }))(asked, response);
  };
}

test('the followers and replicas of a node that was corrected at its position get the data again', async (t) => {
  const cluster = await Cluster.create(t);
  const master = await cluster.start('master');
  let replica = await cluster.start('replica', '--replica-of', master.wsUrl);
  await writeMany(master, 'k', 10);
  const { position } = await converged(master, replica);
  await replica.stop();
  await tampered(cluster, 'replica', 'k7');
  replica = await cluster.start('replica', '--verify-interval', '0');
  await until('it streams', async () => (await replica.client.replication()).upstream?.state === 'streaming');
  const below = await cluster.start('below', '--replica-of', replica.wsUrl);
  await until('it has a copy', async () => (await textOf(below, 'k7')) === 'something else');
  const ndjson = { accept: 'application/x-ndjson' };
  const gone = new AbortController();
  t.after(() => gone.abort());
  const live = await fetch(`${replica.url}/v1/changes?prefix=k7`, { headers: ndjson, signal: gone.signal });
  let seen = '';
  const reading = (async () => {
    for await (const chunk of live.body ?? []) seen += Buffer.from(chunk).toString();
  })().catch(() => undefined);
  await until('the follower has the wrong value', () => seen.includes('"synced"'));

  await fetch(`${replica.url}/v1/config`, {
    method: 'PATCH',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ verifyInterval: '200ms' }),
  });
  await until('the live follower is told the right value', () => /different-data[\s\S]*"v7"/.test(seen));
  const again = await fetch(`${replica.url}/v1/changes?prefix=k7&position=${position}&wait=0`, {
    headers: ndjson,
  });
  assert.match(await again.text(), /^\{"type":"reset",[^\n]*"reason":"different-data"/);
  await until('the node below is corrected', async () => (await textOf(below, 'k7')) === 'v7');
  await converged(master, replica, below);
  gone.abort();
  await reading;
});

test('a comparison with a peer that answers nonsense, too much, elsewhere or nothing ends in time with a clear error', async (t) => {
  const cluster = await Cluster.create(t);
  const master = await cluster.start('master');
  const replica = await cluster.start('replica', '--replica-of', master.wsUrl);
  await writeMany(master, 'k', 5);
  await converged(master, replica);
  const { runId, offset } = await master.client.replication();
  const cases: readonly (readonly [string, Answering, number, string])[] = [
    ['no JSON', told('no'), 502, 'BAD_PEER'],
    ['an array', told('[]'), 502, 'BAD_PEER'],
    [
      'no digest',
      told(JSON.stringify({ position: `${runId}:${offset}`, keys: 1, digest: 'x' })),
      502,
      'BAD_PEER',
    ],
    [
      'half an entry',
      told(JSON.stringify({ position: `${runId}:${offset}`, keys: 0.5, digest: '0'.repeat(32) })),
      502,
      'BAD_PEER',
    ],
    ['100 kB', told(Buffer.alloc(100_000, ' ')), 502, 'BAD_PEER'],
    ['a redirect', told('{}', 307, { location: `${master.url}/v1/digest` }), 502, 'BAD_PEER'],
    ['an error', told('{"code":"INTERNAL","detail":"oh\\u0007no"}', 500), 502, 'BAD_PEER'],
    ['a closed connection', (_request, response) => response.destroy(), 502, 'BAD_PEER'],
    ['an earlier position', sameAs(() => `${runId}:0`), 502, 'BAD_PEER'],
    ['a position far away', sameAs(() => `${runId}:${2 ** 50}`), 503, 'NOT_REACHED'],
    ['a position soon', sameAs(() => `${runId}:${offset + 1_000}`), 503, 'NOT_REACHED'],
    ['another history', sameAs(() => `${'e'.repeat(40)}:5`), 412, 'UNKNOWN_HISTORY'],
    ['nothing', () => undefined, 503, 'NOT_REACHED'],
    [
      'a trickle',
      (_request, response) => {
        const timer = setInterval(() => response.write(' '), 20);
        response.on('close', () => clearInterval(timer));
      },
      503,
      'NOT_REACHED',
    ],
  ];
  for (const [what, digest, status, code] of cases) {
    const url = await inFrontOf(t, replica, digest);
    const answer = await compared(master, url, code === 'NOT_REACHED' ? 1_500 : 60_000);
    assert.deepEqual([answer.status, answer.code], [status, code], `${what}: ${JSON.stringify(answer)}`);
  }
  // A digest that is wrong is a difference, and nobody does anything by himself.
  const wrong = await compared(
    master,
    await inFrontOf(
      t,
      replica,
      sameAs((asked) => asked),
    ),
  );
  assert.deepEqual([wrong.status, wrong.equal], [200, false]);

  // A peer that asks the asking node, before it answers, to compare itself with that very peer.
  let nested: Promise<Compared> | null = null;
  const circle: string = await inFrontOf(t, replica, (asked, response) => {
    nested = compared(master, circle, 5_000);
    nested.then(
      () => sameAs((at) => at)(asked, response),
      () => response.destroy(),
    );
  });
  const outer = await compared(master, circle, 20_000);
  assert.equal(outer.status, 200);
  assert.equal(((await nested) as Compared | null)?.code, 'TOO_MANY_REQUESTS');
  isEqual(await compared(master, replica.url));
});

test('a replica that differs again after a full resync raises the alarm, and does not resync again and again', async (t) => {
  const cluster = await Cluster.create(t);
  const master = await cluster.start('master');
  await writeMany(master, 'k', 20);
  const liar = await inFrontOf(
    t,
    master,
    sameAs((asked) => asked),
  );
  const replica = await cluster.start(
    'replica',
    '--replica-of',
    liar.replace('http', 'ws'),
    '--verify-interval',
    '100ms',
  );
  await until('it was alarmed four times', () => replica.log.split('"data-differs"').length > 4);
  await converged(master, replica);
  assert.equal((await counters(master)).syncFull, 2);
  const status = await replica.client.replication();
  assert.deepEqual([status.verified?.equal, status.kept.length], [false, 1]);
  assert.match(replica.log, /find out which node is wrong/);
});

test('a comparison with a node that never tells its digest is given up when 64 MiB were written meanwhile', async (t) => {
  const cluster = await Cluster.create(t);
  const master = await cluster.start('master');
  const replica = await cluster.start('replica', '--replica-of', master.wsUrl);
  await master.client.set('k', 'v');
  await converged(master, replica);
  const mute = await inFrontOf(t, replica, () => undefined);
  const compared = fetch(`${master.url}/v1/digest?against=${mute}&timeout=110000`);
  const value = Buffer.alloc(4 * 1024 * 1024, 'v');
  let answer: Response | null = null;
  const answered = compared.then((response) => {
    answer = response;
  });
  for (let written = 0; answer === null && written < 100; written += 1) {
    assert.ok((await fetch(`${master.url}/v1/keys/k`, { method: 'PUT', body: value })).ok);
  }
  await answered;
  const problem = (await (answer as unknown as Response).json()) as { code: string; detail: string };
  assert.equal(problem.code, 'NOT_REACHED');
  assert.match(problem.detail, /more than 67108864 bytes were written/);
});
