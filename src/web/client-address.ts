/** Where a request comes from. Limits and logs that name a client by its address ask here. */
import type { IncomingMessage } from 'node:http';

/** @returns the IP address of the client; empty if the connection has ended already */
export function clientAddress({ socket }: Pick<IncomingMessage, 'socket'>): string {
  return socket.remoteAddress ?? '';
}
