/** A master that says what the test tells it to, for what a real one never does. */
import { once } from 'node:events';
import { createServer, type RequestListener } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { TestContext } from 'node:test';
import { type WebSocket, WebSocketServer } from 'ws';

export interface ScriptedMaster {
  readonly wsUrl: string;
  /** The PSYNC requests that came, as words. */
  readonly requests: string[][];
  /** The parts of snapshots that were announced before them. */
  readonly parts: string[];
}

/**
 * @param answer called with the socket when PSYNC has come; the handshake before it is answered as it should be
 * @param rest what it answers over HTTP; without it 404
 */
export async function scriptedMaster(
  t: TestContext,
  answer: (socket: WebSocket, request: readonly string[]) => void,
  rest?: RequestListener,
): Promise<ScriptedMaster> {
  // Unless the test says otherwise, whoever asks the master who it is learns at once that it does not tell.
  const http = createServer(rest ?? ((_, response) => response.writeHead(404).end())).listen(0, '127.0.0.1');
  await once(http, 'listening');
  const server = new WebSocketServer({ server: http, handleProtocols: () => 'psync.v1' });
  const requests: string[][] = [];
  const parts: string[] = [];
  server.on('connection', (socket) => {
    socket.on('error', () => undefined);
    socket.on('message', (data) => {
      const words = [...data.toString().matchAll(/\$\d+\r\n([^\r]*)\r\n/g)].map(
        (match) => match[1] as string,
      );
      if (words[0] === 'PING') socket.send(Buffer.from('+PONG\r\n'));
      else if (words[0] === 'PSYNC') {
        requests.push(words);
        answer(socket, words);
      } else if (words[1] !== 'ACK') {
        if (words[1] === 'snapshot') parts.push(words[2] ?? '');
        socket.send(Buffer.from('+OK\r\n'));
      }
    });
  });
  t.after(() => {
    for (const socket of server.clients) socket.terminate();
    server.close();
    http.close();
    http.closeAllConnections();
  });
  return { wsUrl: `ws://127.0.0.1:${(http.address() as AddressInfo).port}`, requests, parts };
}
