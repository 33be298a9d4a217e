/** Messages of the feed that are large, or small and become large: what `nodeTransport` takes of them. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import test from 'node:test';
import { WebSocketServer } from 'ws';
import { MAX_MESSAGE_BYTES, nodeTransport } from '../../src/client-node/transport.ts';

const ZEROS = 'of zeros that compression makes small';
for (const perMessageDeflate of [true, false]) {
  const what = perMessageDeflate ? ZEROS : 'that is not compressed';
  test(`a message ${what} is taken up to the length of the protocol, and ends the connection beyond it`, async (t) => {
    const server = new WebSocketServer({ host: '127.0.0.1', port: 0, perMessageDeflate });
    await once(server, 'listening');
    t.after(() => server.close());
    const lengths = [MAX_MESSAGE_BYTES, MAX_MESSAGE_BYTES + 1];
    server.on('connection', (socket) => {
      socket.on('error', () => undefined);
      socket.send(Buffer.alloc(lengths.shift() ?? 0), { binary: false });
    });
    const { WebSocket } = nodeTransport({});
    for (const isTaken of [true, false]) {
      const socket = new WebSocket(`ws://127.0.0.1:${(server.address() as AddressInfo).port}`);
      const end = Promise.withResolvers<string>();
      socket.onmessage = ({ data }) => end.resolve(`${data.length} characters`);
      socket.onclose = ({ code }) => end.resolve(`closed with ${code}`);
      assert.match(await end.promise, isTaken ? /^268435456 characters$/ : /^closed with (1009|1006)$/);
      socket.close();
    }
  });
}
