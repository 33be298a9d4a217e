/**
 * Ports on loopback for nodes that are stopped and started again at the same address. While a node is down the system would
 * give its port to the next process that asks for a free one, and the node could not come back.
 */
import { once } from 'node:events';
import { type AddressInfo, connect, createServer } from 'node:net';

export interface KeptPort {
  readonly port: number;
  /** From now on the system may give the port to anybody. */
  release(): void;
}

/** Where the connections that keep ports end. */
let anchor: Promise<number> | null = null;

/**
 * @returns a free port that the system gives to nobody who asks for a free one, because a connection has it; whoever names
 *   the port can listen there all the same
 */
export async function keptPort(): Promise<KeptPort> {
  anchor ??= listening();
  const anchorPort = await anchor;
  for (;;) {
    const free = createServer().listen(0, '127.0.0.1');
    await once(free, 'listening');
    const { port } = free.address() as AddressInfo;
    await once(free.close(), 'close');
    const socket = connect({
      host: '127.0.0.1',
      port: anchorPort,
      localAddress: '127.0.0.1',
      localPort: port,
    });
    try {
      await once(socket, 'connect');
    } catch (error) {
      // Somebody else was given it in between.
      if ((error as NodeJS.ErrnoException).code === 'EADDRINUSE') continue;
      throw error;
    }
    socket.on('error', () => undefined);
    socket.unref();
    return { port, release: () => socket.resetAndDestroy() };
  }
}

async function listening(): Promise<number> {
  const server = createServer((socket) => socket.on('error', () => undefined).unref());
  await once(server.listen(0, '127.0.0.1').unref(), 'listening');
  return (server.address() as AddressInfo).port;
}
