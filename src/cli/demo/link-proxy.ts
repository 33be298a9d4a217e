/** A TCP relay that can be cut, to act as a broken network. */
import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';

export class LinkProxy {
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  #targetPort: number;
  #isCut = false;

  private constructor(server: Server, targetPort: number) {
    this.#server = server;
    this.#targetPort = targetPort;
    server.on('connection', (socket) => this.#relay(socket));
  }

  /** @param targetPort on loopback */
  static async to(targetPort: number): Promise<LinkProxy> {
    const server = createServer();
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    return new LinkProxy(server, targetPort);
  }

  get wsUrl(): string {
    return `ws://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  /** Breaks all connections, and all new ones until `restore`. */
  cut(): void {
    this.#isCut = true;
    for (const socket of this.#sockets) socket.destroy();
  }

  restore(targetPort = this.#targetPort): void {
    this.#targetPort = targetPort;
    this.#isCut = false;
  }

  async close(): Promise<void> {
    this.cut();
    const closed = once(this.#server, 'close');
    this.#server.close();
    await closed;
  }

  #relay(from: Socket): void {
    if (this.#isCut) {
      from.destroy();
      return;
    }
    relay(from, this.#targetPort, this.#sockets);
  }
}

/**
 * Relays both directions; when one side ends, so does the other.
 * @param targetPort on loopback
 * @param open holds both sockets as long as they are open
 */
export function relay(from: Socket, targetPort: number, open: Set<Socket>): void {
  const to = connect(targetPort, '127.0.0.1');
  for (const [socket, other] of [
    [from, to],
    [to, from],
  ] as const) {
    open.add(socket);
    socket.setNoDelay();
    socket.on('error', () => other.destroy());
    socket.on('close', () => {
      open.delete(socket);
      other.destroy();
    });
    socket.pipe(other);
  }
}
