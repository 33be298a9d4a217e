/** A TCP relay that breaks each connection after so many bytes of what the target sends, goes silent, or holds everything up. */
import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import type { TestContext } from 'node:test';

export interface ByteProxy {
  readonly wsUrl: string;
  /** Connections that were broken. */
  readonly breaks: number;
  /** Bytes that the target has sent and that have passed, on all connections. */
  readonly passedBytes: number;
  /** From now on nothing passes on the present connections, and neither end is told: they are half open. */
  silence(): void;
  /** From now on nothing that the target sends passes, until `flow`: nothing is lost, and the target finds its socket full. */
  stall(): void;
  flow(): void;
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
  const targets = new Set<Socket>();
  const state = { breaks: 0, passedBytes: 0, stalled: false };
  const server = createServer((from) => {
    const to = connect(targetPort, '127.0.0.1');
    const most = limit();
    let passed = 0;
    targets.add(to);
    to.on('close', () => targets.delete(to));
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
      state.passedBytes += part.length;
      spoil(part);
      if (!from.write(part)) {
        to.pause();
        from.once('drain', () => {
          if (!state.stalled) to.resume();
        });
      }
      if (most === null || passed < most) return;
      state.breaks += 1;
      from.destroySoon();
      to.destroy();
    });
    if (state.stalled) to.pause();
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
    get passedBytes() {
      return state.passedBytes;
    },
    stall: () => {
      state.stalled = true;
      for (const target of targets) target.pause();
    },
    flow: () => {
      state.stalled = false;
      for (const target of targets) target.resume();
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
