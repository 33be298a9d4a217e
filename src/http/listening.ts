/** Where the server is reached: on each address that `localhost` has, with one server behind all of them. */
import { lookup } from 'node:dns/promises';
import { once } from 'node:events';
import type { IncomingMessage } from 'node:http';
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net';
import type { FastifyInstance } from 'fastify';
import { endIdleBeyond } from './request/idle-connections.ts';

/** Errors of an address that the machine does not have after all. */
export const NO_SUCH_ADDRESS: ReadonlySet<unknown> = new Set(['EADDRNOTAVAIL', 'EAFNOSUPPORT']);

export class Listening {
  readonly #app: FastifyInstance;
  readonly #endHandshakes: () => void;
  /** They listen on the further addresses and hand their connections to the HTTP server. */
  readonly #others: Server[] = [];
  #closed: readonly Promise<unknown>[] = [];

  /**
   * @param app not ready yet
   * @param endHandshakes ends the connections that the server does not know of yet, because their TLS handshakes are not over
   */
  constructor(app: FastifyInstance, endHandshakes: () => void) {
    this.#app = app;
    this.#endHandshakes = endHandshakes;
    app.addHook('preClose', (done) => {
      this.#closed = this.#others.map((server) => once(server.close(), 'close'));
      done();
    });
    app.addHook('onClose', async () => {
      await Promise.all(this.#closed);
    });
  }

  /**
   * @param host an IP address or a name; of `localhost` every address, of another name the first
   * @param port 0: a free one
   * @param maxConnections of all addresses together; more are closed at once
   * @returns the port
   * @throws Error with the system's code; then the server is closed
   */
  async listen(host: string, port: number, maxConnections: number): Promise<number> {
    try {
      const [first = host, ...more] = await addressesOf(host);
      this.#app.server.maxConnections = maxConnections;
      await this.#app.listen({ host: first, port });
      const { port: bound } = this.#app.server.address() as AddressInfo;
      if (more.length > 0) await this.#listenToo(more, bound, maxConnections);
      return bound;
    } catch (error) {
      await this.#app.close();
      throw error;
    }
  }

  /** From now on connections of strangers end when there are more than so many. @see endIdleBeyond */
  endIdleBeyond(most: number, isKnown: (request: IncomingMessage) => boolean): void {
    endIdleBeyond(this.#app.server, most, isKnown);
  }

  /** Takes no more connections, and resolves when those that are there have ended. */
  async close(): Promise<void> {
    await this.#app.close();
  }

  /** Ends all connections that are not upgraded, answered or not. */
  closeAllConnections(): void {
    this.#app.server.closeAllConnections();
    this.#endHandshakes();
  }

  async #listenToo(addresses: readonly string[], port: number, maxConnections: number): Promise<void> {
    const http = this.#app.server;
    const open = new Set<Socket>();
    http.on('connection', (socket: Socket) => {
      open.add(socket);
      socket.once('close', () => open.delete(socket));
    });
    for (const host of addresses) {
      // As Node's HTTP server has it.
      const other = createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
        if (open.size >= maxConnections) {
          socket.destroy();
          return;
        }
        // Its own limit does not know of these.
        http.maxConnections -= 1;
        socket.once('close', () => {
          http.maxConnections += 1;
        });
        http.emit('connection', socket);
      });
      try {
        await once(other.listen({ host, port }), 'listening');
        this.#others.push(other);
      } catch (error) {
        if (!NO_SUCH_ADDRESS.has((error as NodeJS.ErrnoException).code)) throw error;
      }
    }
  }
}

/** @returns where a server for this host listens: at every address of `localhost`, else at the host itself */
export async function addressesOf(host: string): Promise<readonly string[]> {
  if (host !== 'localhost') return [host];
  const found = await lookup(host, { all: true });
  return [...new Set(found.map(({ address }) => address))];
}
