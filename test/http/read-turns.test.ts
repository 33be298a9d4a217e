/** Connections whose reads cost much take turns, and a connection with many requests is not read before they are answered. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { type AddressInfo, connect, type Socket } from 'node:net';
import test, { type TestContext } from 'node:test';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { until } from '../../src/cli/until.ts';
import { ReadTurns, SURPRISES_MS } from '../../src/http/fast-path/read-turns.ts';
import type { Loop } from '../../src/node/turns.ts';
import { EVENT_LOOP } from '../../src/runtime/event-loop.ts';

const HEAD = 'PUT / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n';
const TINY_CHUNKS = '1\r\nx\r\n'.repeat(50_000);
const MANY = 200;

interface Stage {
  readonly turns: ReadTurns;
  /** The server's side of each connection. */
  readonly sockets: Socket[];
  /** How many requests have come. */
  readonly requests: () => number;
  readonly client: () => Promise<Socket>;
}

/** @param readMs what each read seems to cost */
async function staged(
  t: TestContext,
  readMs: number,
  handle: (request: IncomingMessage, response: ServerResponse, turns: ReadTurns) => void,
): Promise<Stage> {
  let ms = 0;
  const loop: Loop = { monotonic: () => (ms += readMs), soon: (callback) => void setImmediate(callback) };
  const turns = new ReadTurns({ ...loop, after: EVENT_LOOP.after });
  const sockets: Socket[] = [];
  let requests = 0;
  const server = createServer((request, response) => {
    requests += 1;
    handle(request, response, turns);
  });
  server.on('connection', (socket: Socket) => {
    sockets.push(socket);
    turns.opened(socket);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const clients: Socket[] = [];
  t.after(() => {
    for (const each of clients) each.destroy();
    server.close();
    server.closeAllConnections();
  });
  return {
    turns,
    sockets,
    requests: () => requests,
    client: async () => {
      const socket = connect((server.address() as AddressInfo).port, '127.0.0.1');
      socket.on('error', () => undefined);
      clients.push(socket);
      await once(socket, 'connect');
      return socket;
    },
  };
}

/** Answers when the body has come, with its length. */
function take(request: IncomingMessage, response: ServerResponse, turns: ReadTurns): void {
  turns.watch(request.socket, null);
  let bytes = 0;
  request.on('data', (chunk: Buffer) => {
    bytes += chunk.length;
  });
  request.on('end', () => response.end(`<${bytes}>`));
}

test('of many connections with bodies in one-byte chunks only one is read in each turn of the event loop', async (t) => {
  const stage = await staged(t, 10, take);
  const clients = await Promise.all(Array.from({ length: 6 }, stage.client));
  let text = '';
  for (const each of clients) {
    each.setEncoding('latin1').on('data', (chunk: string) => {
      text += chunk;
    });
    each.write(HEAD + TINY_CHUNKS);
  }
  // Each is read once before it is known.
  await until(
    'all have been read',
    () => stage.sockets.filter(({ bytesRead }) => bytesRead > 0).length === 6,
  );
  await nextTurn();
  const most = { connections: 0, bytes: 0 };
  const bytesOf = (): number[] => stage.sockets.map(({ bytesRead }) => bytesRead);
  for (let before = bytesOf(); before.some((bytes) => bytes < HEAD.length + TINY_CHUNKS.length); ) {
    await nextTurn();
    const now = bytesOf();
    const read = now.map((bytes, index) => bytes - (before[index] as number)).filter((bytes) => bytes > 0);
    most.connections = Math.max(most.connections, read.length);
    most.bytes = Math.max(most.bytes, ...read);
    before = now;
  }
  assert.equal(most.connections, 1);
  assert.ok(most.bytes <= 64 * 1024, `${most.bytes}`);
  for (const each of clients) each.write('0\r\n\r\n');
  await until('all are answered', () => text.match(/<50000>/g)?.length === 6);
});

test('of many connections that send such bodies for the first time only some are read in one turn of the event loop', async (t) => {
  const stage = await staged(t, SURPRISES_MS / 4, take);
  const clients = await Promise.all(Array.from({ length: 40 }, stage.client));
  await until('all are there', () => stage.sockets.length === clients.length);
  for (const each of clients) each.write(HEAD + TINY_CHUNKS);
  let most = 0;
  for (let before = stage.requests(); before < clients.length; before = stage.requests()) {
    await nextTurn();
    most = Math.max(most, stage.requests() - before);
  }
  // The clock goes on a quarter with each of them.
  assert.ok(most >= 1 && most <= 6, `${most}`);
});

test('a connection whose reads cost little is not held up', async (t) => {
  const stage = await staged(t, 0, take);
  const client = await stage.client();
  client.write(HEAD);
  await until('it is known', () => (stage.sockets[0]?.bytesRead ?? 0) > 0);
  await nextTurn();
  await nextTurn();
  let pauses = 0;
  stage.sockets[0]?.on('pause', () => {
    pauses += 1;
  });
  for (let sent = 0; sent < 100; sent += 1) {
    client.write('1\r\nx\r\n');
    await nextTurn();
  }
  client.setEncoding('latin1').end('0\r\n\r\n');
  let text = '';
  for await (const chunk of client) text += chunk;
  assert.match(text, /<100>/);
  assert.equal(pauses, 0);
});

test('a connection with requests that wait is not read before they are answered, whatever Node does', async (t) => {
  const responses: ServerResponse[] = [];
  const stage = await staged(t, 0, (request, response, turns) => {
    responses.push(response);
    request.resume();
    if (responses.length > 10) turns.watch(request.socket, response);
  });
  const client = await stage.client();
  let text = '';
  client.setEncoding('latin1').on('data', (chunk: string) => {
    text += chunk;
  });
  const request = `PUT / HTTP/1.1\r\nHost: localhost\r\nX: ${'x'.repeat(900)}\r\nContent-Length: 1\r\n\r\nx`;
  client.write(request.repeat(MANY));
  await until('some have come', () => responses.length > 10);
  for (let turn = 0; turn < 100; turn += 1) await nextTurn();
  const came = responses.length;
  assert.ok(came < MANY / 2, `${came} of ${MANY}`);
  // The answer to the last one is what it waits for; the others before go on as Node likes.
  for (let next = 0; next < MANY; next += 1) {
    await until('the next one has come', () => responses.length > next);
    responses[next]?.end('.');
  }
  await until('all are answered', () => text.match(/HTTP\/1.1 200/g)?.length === MANY);
});

test('a long body behind many requests is read to its end', async (t) => {
  const ended: string[] = [];
  const stage = await staged(t, 10, (request, response, turns) => {
    turns.watch(request.socket, response);
    request.resume().on('end', () => {
      ended.push(request.method ?? '');
      setImmediate(() => response.end());
    });
  });
  const client = await stage.client();
  client.write('GET / HTTP/1.1\r\nHost: localhost\r\n\r\n'.repeat(10));
  client.write(
    `PUT / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\n${'x'.repeat(1_000_000)}`,
  );
  await until('it has ended', () => ended.at(-1) === 'PUT');
});

test('a connection that becomes a WebSocket is no longer paused', async (t) => {
  let taken = '';
  const stage = await staged(t, 10, take);
  const client = await stage.client();
  client.write(`${HEAD}1\r\nx\r\n0\r\n\r\n`);
  await once(client.setEncoding('latin1'), 'data');
  const [socket] = stage.sockets as [Socket];
  stage.turns.forget(socket);
  socket.removeAllListeners('data');
  socket.on('data', (chunk: Buffer) => {
    taken += chunk.toString();
  });
  socket.resume();
  let pauses = 0;
  socket.on('pause', () => {
    pauses += 1;
  });
  client.write('something else');
  await until('it came', () => taken === 'something else');
  assert.equal(pauses, 0);
});

test('of many connections that are reset at once only one drops its waiting requests in each turn of the event loop', async (t) => {
  const waiting: IncomingMessage[] = [];
  const stage = await staged(t, 10, (request, response, turns) => {
    waiting.push(request);
    turns.watch(request.socket, response);
  });
  const count = 5;
  const clients = await Promise.all(Array.from({ length: count }, stage.client));
  for (const client of clients) client.write('GET / HTTP/1.1\r\nHost: localhost\r\n\r\n'.repeat(MANY));
  await until('all requests have come', () => stage.requests() === count * MANY);
  for (const socket of stage.sockets) socket.destroy();
  const dropped = (): number => waiting.filter(({ destroyed }) => destroyed).length;
  let before = 0;
  while (before < count * MANY) {
    await nextTurn();
    const now = dropped();
    assert.ok(now - before <= MANY, `${now - before} requests were dropped in one turn`);
    before = now;
  }
});
