/** A peer that goes on sending after the node has closed its WebSocket costs nothing that grows. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import type { IncomingMessage } from 'node:http';
import type { AddressInfo } from 'node:net';
import test, { type TestContext } from 'node:test';
import { WebSocket, WebSocketServer } from 'ws';
import { until } from '../../src/cli/until.ts';
import { CloseCode } from '../../src/replication/close-code.ts';
import { WebSocketFollower } from '../../src/ws/follower-socket.ts';
import { Socket } from '../../src/ws/socket.ts';

const MESSAGES = 2_000;

/** @returns both ends of a WebSocket; the client never answers a close frame, and sends what it likes */
async function pair(
  t: TestContext,
): Promise<{ client: WebSocket; server: WebSocket; upgrade: IncomingMessage }> {
  const servers = new WebSocketServer({ port: 0, host: '127.0.0.1' });
  t.after(() => servers.close());
  await once(servers, 'listening');
  const client = new WebSocket(`ws://127.0.0.1:${(servers.address() as AddressInfo).port}`);
  client.on('error', () => undefined);
  t.after(() => client.terminate());
  const [[server, upgrade]] = (await Promise.all([once(servers, 'connection'), once(client, 'open')])) as [
    [WebSocket, IncomingMessage],
    unknown,
  ];
  return { client, server, upgrade };
}

/** Sends texts in frames of its own making, as a client does that ignores the close frame. */
async function chatter(client: WebSocket, server: WebSocket): Promise<void> {
  let seen = 0;
  server.on('message', () => {
    seen += 1;
  });
  // FIN and text, one masked byte.
  const frame = Buffer.from([0x81, 0x81, 0, 0, 0, 0, 0x78]);
  const { _socket: raw } = client as unknown as { _socket: NodeJS.WritableStream };
  raw.write(Buffer.concat(Array<Buffer>(MESSAGES).fill(frame)));
  await until('all have come', () => seen === MESSAGES);
}

test('messages of a follower behind its end add no listeners', async (t) => {
  const { client, server, upgrade } = await pair(t);
  const follower = new WebSocketFollower(server, upgrade.socket, 'peer');
  follower.close(CloseCode.unauthorized, 'no token');
  const listeners = server.listenerCount('close');
  await chatter(client, server);
  assert.ok(server.listenerCount('close') <= listeners);
});

test('texts of a replica close its WebSocket once', async (t) => {
  const { client, server } = await pair(t);
  const socket = new Socket(server, 'peer');
  socket.listen({
    message: () => undefined,
    alive: () => undefined,
    pinged: () => undefined,
    closed: () => undefined,
  });
  let ends = 0;
  const terminate = server.terminate.bind(server);
  server.terminate = () => {
    ends += 1;
    terminate();
  };
  await chatter(client, server);
  await until('the node gives up on the peer', () => ends > 0);
  await new Promise((resolve) => setImmediate(resolve));
  assert.equal(ends, 1);
});
