/** A TCP relay that breaks each connection after so many bytes of what the target sends, or goes silent. */
import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import type { TestContext } from 'node:test';

export interface ByteProxy {
  readonly wsUrl: string;
  /** Connections that were broken. */
  readonly breaks: number;
  /** From now on nothing passes on the present connections, and neither end is told: they are half open. */
  silence(): void;
}

/**
 * @param limit of the next connection, in bytes; null: it is not broken
 * @param spoil may change in place what the target sends
 */
export async function byteProxy(
  t: TestContext,
  targetPort: number,
  limit: () => number | null = () => null,
  spoil: (chunk: Buffer) => void = () => undefined,
): Promise<ByteProxy> {
  const sockets = new Set<Socket>();
  const silent = new Set<Socket>();
  const state = { breaks: 0 };
  const server = createServer((from) => {
    const to = connect(targetPort, '127.0.0.1');
    const most = limit();
    let passed = 0;
    for (const [socket, other] of [
      [from, to],
      [to, from],
    ] as const) {
      sockets.add(socket);
      socket.on('error', () => other.destroy());
      socket.on('close', () => {
        sockets.delete(socket);
        if (!silent.has(socket)) other.destroy();
      });
    }
    from.pipe(to);
    to.on('data', (chunk: Buffer) => {
      const part = most === null ? chunk : chunk.subarray(0, most - passed);
      passed += part.length;
      spoil(part);
      if (!from.write(part)) {
        to.pause();
        from.once('drain', () => to.resume());
      }
      if (most === null || passed < most) return;
      state.breaks += 1;
      from.destroySoon();
      to.destroy();
    });
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => {
    server.close();
    for (const socket of sockets) socket.destroy();
  });
  const { port } = server.address() as AddressInfo;
  return {
    wsUrl: `ws://127.0.0.1:${port}`,
    get breaks() {
      return state.breaks;
    },
    silence: () => {
      for (const socket of sockets) {
        silent.add(socket);
        socket.unpipe();
        socket.removeAllListeners('data');
        // What still comes is read and lost: a full buffer would be noticed at the other end.
        socket.resume();
      }
    },
  };
}
