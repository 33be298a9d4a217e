/** Room for those who ask: idle connections end when there are too many. */
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { belowTls } from '../../runtime/below-tls.ts';

/**
 * From now on each new connection beyond `most` ends the one that has been idle longest: that has not sent a request yet, or whose
 * requests are answered. If none is idle, it ends the oldest one on which nobody has said who he is: some answers need no token, and
 * whoever does not read them could stay for ever.
 * @param isKnown whether the sender of a request may do something here that not everybody may
 */
export function endIdleBeyond(
  server: Server,
  most: number,
  isKnown: (request: IncomingMessage) => boolean,
): void {
  /** Number of requests under way, of each open connection. */
  const open = new Map<Socket, number>();
  /** The longest idle first. */
  const idle = new Set<Socket>();
  /** The oldest first. */
  const strangers = new Set<Socket>();
  // Before Node's own listener, which begins the handshake of TLS.
  server.prependListener('connection', (socket: Socket) => {
    const [oldest = [...strangers][0]] = idle;
    if (open.size >= most && oldest !== undefined) {
      // It closes later, and more connections may come until then.
      forget(oldest);
      oldest.destroy();
    }
    open.set(socket, 0);
    idle.add(socket);
    strangers.add(socket);
    socket.once('close', () => forget(socket));
  });
  const forget = (socket: Socket): void => {
    open.delete(socket);
    idle.delete(socket);
    strangers.delete(socket);
  };
  const asked = (request: IncomingMessage, response: ServerResponse): void => {
    const socket = belowTls(request.socket) ?? request.socket;
    if (strangers.has(socket) && isKnown(request)) strangers.delete(socket);
    count(socket, 1);
    response.once('close', () => count(socket, -1));
  };
  const count = (socket: Socket, change: number): void => {
    const before = open.get(socket);
    if (before === undefined) return;
    open.set(socket, before + change);
    idle.delete(socket);
    if (before + change === 0) idle.add(socket);
  };
  server.on('request', asked);
  server.on('checkContinue', asked);
}
