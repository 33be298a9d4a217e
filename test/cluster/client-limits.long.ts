/** `--max-followers-per-token` and `--max-connections-per-token`: one client cannot take the places of all others. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { Agent, get, type IncomingMessage } from 'node:http';
import { join } from 'node:path';
import test, { type TestContext } from 'node:test';
import { WebSocket } from 'ws';
import { createToken } from '../../src/access/tokens/tokens.ts';
import type { ChildNode } from '../../src/cli/child-node.ts';
import { until } from '../../src/cli/until.ts';
import { tokenProtocol } from '../../src/client/request/token.ts';
import { Cluster } from '../support/cluster.ts';
import { seeded } from '../support/random.ts';
import { RawReplica } from '../support/raw-replica.ts';

async function tokenIn(cluster: Cluster): Promise<string> {
  const file = join(cluster.data('node'), 'tokens.json');
  const wanted = { name: 'test', rights: ['admin'], prefixes: null, expiresAt: null };
  return (await createToken(file, wanted, Date.now())).text;
}

const TRANSPORTS = ['websocket', 'text/event-stream', 'application/x-ndjson'] as const;

/** An attempt to follow: it was let in, or told a code. */
interface Attempt {
  readonly code: string | null;
  /** Ends the feed from this side; resolves when the connection is closed. */
  readonly leave: () => Promise<void>;
}

/** Follows, and waits until the node has answered. @param query ends the feed from the other side, for example */
async function attempt(
  node: ChildNode,
  transport: (typeof TRANSPORTS)[number],
  token: string | null,
  query = 'position=now',
): Promise<Attempt> {
  const path = `/v1/changes?${query}`;
  if (transport === 'websocket') {
    const bearer = token === null ? [] : [tokenProtocol(token)];
    const ws = new WebSocket(`${node.wsUrl}${path}`, ['psync.v1.json', ...bearer]);
    const closed = new Promise<number>((resolve) => ws.on('close', resolve));
    const first = new Promise<string>((resolve) => ws.once('message', (data) => resolve(String(data))));
    const { code } = JSON.parse(await first) as { code?: string };
    if (code === 'TOO_MANY_REQUESTS') assert.equal(await closed, 4429);
    return {
      code: code ?? null,
      leave: async () => {
        ws.terminate();
        await closed;
      },
    };
  }
  const gone = new AbortController();
  const authorization: Record<string, string> = token === null ? {} : { authorization: `Bearer ${token}` };
  const answer = await fetch(`${node.url}${path}`, {
    headers: { accept: transport, ...authorization },
    signal: gone.signal,
  });
  const reader = answer.body?.pipeThrough(new TextDecoderStream()).getReader();
  let text = '';
  while (!/\{.*\}/.test(text)) text += (await reader?.read())?.value ?? '{}';
  const leave = async (): Promise<void> => gone.abort();
  return { code: /"code":"([A-Z_]+)"/.exec(text)?.[1] ?? null, leave };
}

test('a client has as many followers as it may have, on all transports together, and gets their places back', async (t) => {
  const cluster = await Cluster.create(t);
  const tokens = [await tokenIn(cluster), await tokenIn(cluster)];
  const most = 3;
  const node = await cluster.start('node', '--max-followers-per-token', String(most));
  const { seed, random } = seeded();
  t.diagnostic(`PSYNCD_SEED=${seed}`);
  const below = (count: number): number => Math.floor(random() * count);
  const open = new Map<string, Attempt[]>(tokens.map((token) => [token, []]));
  for (let step = 0; step < 40; step += 1) {
    const token = tokens[below(tokens.length)] as string;
    const mine = open.get(token) as Attempt[];
    if (mine.length > 0 && below(3) === 0) {
      await mine.splice(below(mine.length), 1)[0]?.leave();
      continue;
    }
    const transport = TRANSPORTS[below(TRANSPORTS.length)] as (typeof TRANSPORTS)[number];
    if (mine.length < most) {
      // The node learns a moment later that an earlier one has gone.
      await until('there is a place', async () => {
        const made = await attempt(node, transport, token);
        if (made.code === null) mine.push(made);
        else assert.equal(made.code, 'TOO_MANY_REQUESTS');
        return made.code === null;
      });
    } else assert.equal((await attempt(node, transport, token)).code, 'TOO_MANY_REQUESTS', transport);
  }
  for (const each of [...open.values()].flat()) await each.leave();
});

test('feeds that the node ends free their places, and so do those that it refuses', async (t) => {
  const node = await (await Cluster.create(t)).start('node', '--max-followers-per-token', '1');
  for (const transport of TRANSPORTS) {
    for (const query of [
      'position=now&wait=0',
      'limit=1',
      `position=${'a'.repeat(40)}:1&snapshot=false`,
      'position=now',
    ]) {
      const made = await until(`${transport} ${query}`, async () => {
        const made = await attempt(node, transport, null, query);
        return made.code === 'TOO_MANY_REQUESTS' ? null : made;
      });
      await made.leave();
    }
  }
});

test('without a token the address counts, and the answer says which limit was met', async (t) => {
  const node = await (await Cluster.create(t)).start('node', '--max-followers-per-token', '1');
  const first = await attempt(node, 'websocket', null);
  const answer = await fetch(`${node.url}/v1/changes`, { headers: { accept: 'application/x-ndjson' } });
  assert.equal(answer.status, 429);
  assert.equal(answer.headers.get('retry-after'), '1');
  const { code, detail } = (await answer.json()) as Record<string, unknown>;
  assert.deepEqual([code, detail], ['TOO_MANY_REQUESTS', 'the limit of followers of one address is 1']);
  await first.leave();
});

/** A client with connections of its own. */
function connection(t: TestContext, node: ChildNode): (token: string) => Promise<IncomingMessage> {
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  t.after(() => agent.destroy());
  return (token) =>
    new Promise((resolve, reject) => {
      const headers = { authorization: `Bearer ${token}` };
      get(`${node.url}/v1/keys?limit=1`, { agent, headers }, (response) => {
        response.resume().once('end', () => resolve(response));
      }).once('error', reject);
    });
}

test('a client has as many connections as it may have, and a closed or handed-on one no longer counts', async (t) => {
  const cluster = await Cluster.create(t);
  const [first, second] = [await tokenIn(cluster), await tokenIn(cluster)];
  const node = await cluster.start('node', '--max-connections-per-token', '2');
  const [one, two, three] = [connection(t, node), connection(t, node), connection(t, node)];
  assert.equal((await one(first)).statusCode, 200);
  assert.equal((await two(first)).statusCode, 200);
  assert.equal((await two(first)).statusCode, 200, 'the same connection counts once');
  const refused = await three(first);
  assert.equal(refused.statusCode, 429);
  assert.equal(refused.headers.connection, 'close');
  assert.equal(refused.headers['retry-after'], '1');
  const ws = new WebSocket(`${node.wsUrl}/v1/replication/stream`, ['psync.v1'], {
    headers: { authorization: `Bearer ${first}` },
  });
  t.after(() => ws.terminate());
  const status = await new Promise((resolve) => {
    ws.on('error', () => undefined);
    ws.on('unexpected-response', (_request, answer) => resolve(answer.statusCode));
  });
  assert.equal(status, 429, 'a replica needs a connection as well');
  // A proxy may send the requests of several clients on one connection.
  assert.equal((await two(second)).statusCode, 200);
  assert.equal((await three(first)).statusCode, 200);
  assert.equal((await two(first)).statusCode, 429);
});

/** Sends a message, and waits until the node has taken it: it answers a ping behind it, or it closes. */
async function shown(ws: WebSocket, message: string): Promise<void> {
  const answered = new Promise<void>((resolve) => {
    ws.once('pong', () => resolve());
    ws.once('close', () => resolve());
  });
  ws.send(message);
  ws.ping();
  await answered;
}

test('a follower counts for the token that it has shown last', async (t) => {
  const cluster = await Cluster.create(t);
  const [first, second] = [await tokenIn(cluster), await tokenIn(cluster)];
  const flags = ['--max-followers-per-token', '1', '--max-connections-per-token', '1'];
  const node = await cluster.start('node', ...flags);
  const open = async (token: string) => {
    const ws = new WebSocket(`${node.wsUrl}/v1/changes?position=now`, [
      'psync.v1.json',
      tokenProtocol(token),
    ]);
    t.after(() => ws.terminate());
    await once(ws, 'message');
    return ws;
  };
  const renewed = await open(first);
  const renewal = JSON.stringify({ type: 'auth', token: second });
  await shown(renewed, renewal);
  const other = await open(first);
  assert.equal(other.readyState, WebSocket.OPEN, 'the first token has its place back');
  const code = once(other, 'close');
  await shown(other, renewal);
  assert.deepEqual((await code)[0], 4429, 'the second token has no place for another');
  await shown(renewed, renewal);
  assert.equal(renewed.readyState, WebSocket.OPEN, 'the same token again needs no second place');
});

test('a replica that shows its token in the conversation counts for the token', async (t) => {
  const cluster = await Cluster.create(t);
  const [first, second] = [await tokenIn(cluster), await tokenIn(cluster)];
  const node = await cluster.start('node', '--max-connections-per-token', '2');
  const auth = async (token: string): Promise<string> => {
    const raw = await RawReplica.connect(t, node);
    raw.say('AUTH', token);
    return await raw.line();
  };
  for (const _ of [1, 2]) assert.equal((await connection(t, node)(first)).statusCode, 200);
  assert.match(await auth(first), /^-LOADING the limit of connections of one token is 2/);
  assert.equal(await auth(second), '+OK');
  assert.equal((await connection(t, node)(second)).statusCode, 200);
  assert.equal((await connection(t, node)(second)).statusCode, 429);
});
