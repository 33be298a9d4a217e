/** Whether the port can be had: asked before anything is made, so that a node that cannot start leaves nothing behind. */
import { once } from 'node:events';
import { createServer } from 'node:net';
import type { Settings } from '../config.ts';
import { addressesOf, NO_SUCH_ADDRESS } from '../http/listening.ts';
import { StartError } from '../store/start-error.ts';

/** @throws StartError, one line, if nobody can listen there now, at one of the addresses */
export async function checkPort({ host, port }: Pick<Settings, 'host' | 'port'>): Promise<void> {
  // A free one is there.
  if (port === 0) return;
  try {
    const [first = host, ...more] = await addressesOf(host);
    await tryPort(first, port);
    for (const address of more) {
      await tryPort(address, port).catch((error: NodeJS.ErrnoException) => {
        if (!NO_SUCH_ADDRESS.has(error.code)) throw error;
      });
    }
  } catch (error) {
    throw cannotListen(error, host, port);
  }
}

async function tryPort(host: string, port: number): Promise<void> {
  const server = createServer((socket) => socket.destroy());
  await once(server.listen({ host, port, exclusive: true }), 'listening');
  await once(server.close(), 'close');
}

/** @param error what listening has failed with */
export function cannotListen(error: unknown, host: string, port: number): StartError {
  if (error instanceof Error && 'code' in error && error.code === 'EADDRINUSE') {
    return new StartError(
      `port ${port} on ${host} is taken; choose another with --port, or 0 for a free one`,
    );
  }
  return new StartError(
    `cannot listen on ${host}:${port}: ${error instanceof Error ? error.message : error}`,
  );
}
