/** Where the server is reached: on each address that `localhost` has, with one server behind all of them. */
import { lookup } from 'node:dns/promises';
import { once } from 'node:events';
import { type AddressInfo, createServer, type Server } from 'node:net';
import type { FastifyInstance } from 'fastify';
import type { Places } from './request/places.ts';

/** Errors of an address that the machine does not have after all. */
export const NO_SUCH_ADDRESS: ReadonlySet<unknown> = new Set(['EADDRNOTAVAIL', 'EAFNOSUPPORT']);

export class Listening {
  readonly #app: FastifyInstance;
  readonly #places: Places;
  readonly #endHandshakes: () => void;
  /** They listen on the further addresses and hand their connections to the HTTP server. */
  readonly #others: Server[] = [];
  #closed: readonly Promise<unknown>[] = [];

  /**
   * @param app not ready yet
   * @param places of the app's server
   * @param endHandshakes ends the connections that the server does not know of yet, because their TLS handshakes are not over
   */
  constructor(app: FastifyInstance, places: Places, endHandshakes: () => void) {
    this.#app = app;
    this.#places = places;
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
   * @param maxConnections of all addresses together; a further one takes the place of another, or is closed at once (`Places`)
   * @returns the port
   * @throws Error with the system's code; then the server is closed
   */
  async listen(host: string, port: number, maxConnections: number): Promise<number> {
    try {
      const [first = host, ...more] = await addressesOf(host);
      this.#places.limitTo(maxConnections);
      await this.#app.listen({ host: first, port });
      const { port: bound } = this.#app.server.address() as AddressInfo;
      if (more.length > 0) await this.#listenToo(more, bound);
      return bound;
    } catch (error) {
      await this.#app.close();
      throw error;
    }
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

  async #listenToo(addresses: readonly string[], port: number): Promise<void> {
    for (const host of addresses) {
      // As Node's HTTP server has it.
      const other = createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
        if (this.#places.isFull) socket.destroy();
        else this.#app.server.emit('connection', socket);
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
