/** Takes the WebSockets of replicas on the HTTP server's port. */
import type { IncomingMessage, Server } from 'node:http';
import type { Duplex } from 'node:stream';
import { WebSocketServer } from 'ws';
import type { SocketEvents, StreamSocket } from '../node/ports.ts';
import { MAX_MESSAGE_BYTES, Socket, STREAM_PATH, SUBPROTOCOL } from './socket.ts';

/**
 * @param server its `upgrade` requests are answered from now on: the stream's path with the subprotocol is
 *   accepted, everything else is refused with 404 or 400
 * @param accept gets each new socket and says where its events go
 */
export function acceptReplicas(server: Server, accept: (socket: StreamSocket) => SocketEvents): void {
  const webSockets = new WebSocketServer({
    noServer: true,
    clientTracking: false,
    maxPayload: MAX_MESSAGE_BYTES,
    perMessageDeflate: false,
    handleProtocols: () => SUBPROTOCOL,
  });
  server.on('upgrade', (request: IncomingMessage, connection: Duplex, head: Buffer) => {
    const path = (request.url ?? '').split('?')[0];
    if (path !== STREAM_PATH) {
      refuse(connection, '404 Not Found', `there is no WebSocket at ${path}`);
      return;
    }
    // Browsers send it, nodes do not: a page of anybody's must not read the database, or pose as a replica.
    if (request.headers.origin !== undefined) {
      refuse(connection, '403 Forbidden', 'replication is not for web pages');
      return;
    }
    const offered = (request.headers['sec-websocket-protocol'] ?? '').split(',').map((name) => name.trim());
    if (!offered.includes(SUBPROTOCOL)) {
      refuse(connection, '400 Bad Request', `the subprotocol ${SUBPROTOCOL} is required`);
      return;
    }
    webSockets.handleUpgrade(request, connection, head, (ws) => {
      const { remoteAddress, remotePort } = request.socket;
      const socket = new Socket(ws, `${remoteAddress}:${remotePort}`);
      socket.listen(accept(socket));
    });
  });
}

function refuse(connection: Duplex, status: string, detail: string): void {
  const body = `${detail}\n`;
  connection.on('error', () => connection.destroy());
  // HTTP's time-outs do not cover what was to be upgraded.
  connection.once('finish', () => connection.destroy());
  connection.end(
    `HTTP/1.1 ${status}\r\nContent-Type: text/plain; charset=utf-8\r\n` +
      `Content-Length: ${Buffer.byteLength(body)}\r\nConnection: close\r\n\r\n${body}`,
  );
}
