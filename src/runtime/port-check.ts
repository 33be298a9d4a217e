/** Checks that the port is free before any file is created, so that a failed start leaves no files behind. */
import { once } from 'node:events';
import { createServer } from 'node:net';
import { addressesOf, NO_SUCH_ADDRESS } from '../http/listening.ts';
import { messageOf } from '../node/ports/failures.ts';
import type { Settings } from '../settings/table.ts';
import { StartError } from '../store/start-error.ts';

/**
 * @param flag that names the address
 * @throws StartError of one line if the node cannot listen there, at one of the addresses
 */
export async function checkPort(
  { host, port }: Pick<Settings, 'host' | 'port'>,
  flag = '--port',
): Promise<void> {
  // The system picks a free port.
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
    throw cannotListen(error, host, port, flag);
  }
}

async function tryPort(host: string, port: number): Promise<void> {
  const server = createServer((socket) => socket.destroy());
  await once(server.listen({ host, port, exclusive: true }), 'listening');
  await once(server.close(), 'close');
}

/** @param error of the attempt to listen @param flag that names the address */
export function cannotListen(error: unknown, host: string, port: number, flag = '--port'): StartError {
  if (error instanceof Error && 'code' in error && error.code === 'EADDRINUSE') {
    return new StartError(
      `port ${port} on ${host} is taken; choose another with ${flag}, or 0 for a free one`,
    );
  }
  return new StartError(`cannot listen on ${host}:${port}: ${messageOf(error)}`);
}
