/** A TCP relay between a replica and its master. It can cut their connection, and reports when the replica connects again. */
import { once } from 'node:events';
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net';
import { relay } from '../src/cli/demo/link-proxy.ts';
import type { Stoppable } from './scope.ts';

export class Relay implements Stoppable {
  readonly #server: Server;
  readonly #port: number;
  readonly #sockets = new Set<Socket>();

  private constructor(server: Server, targetPort: number) {
    this.#server = server;
    this.#port = (server.address() as AddressInfo).port;
    server.on('connection', (from) => relay(from, targetPort, this.#sockets));
  }

  /** @param targetPort port of the master on loopback */
  static async to(targetPort: number): Promise<Relay> {
    const server = createServer().listen(0, '127.0.0.1');
    await once(server, 'listening');
    return new Relay(server, targetPort);
  }

  get wsUrl(): string {
    return `ws://127.0.0.1:${this.#port}`;
  }

  /** Breaks the present connections and refuses new ones. */
  async cut(): Promise<void> {
    const closed = once(this.#server, 'close');
    this.#server.close();
    for (const socket of this.#sockets) socket.destroy();
    await closed;
  }

  /** Accepts connections again. Resolves when the first one has come. */
  async restored(): Promise<void> {
    const connection = once(this.#server, 'connection');
    this.#server.listen(this.#port, '127.0.0.1');
    await connection;
  }

  async stop(): Promise<void> {
    if (this.#server.listening) await this.cut();
  }
}
