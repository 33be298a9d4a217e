/** Waits for the connection of a mirror. */
import type { Mirror } from '../mirror/mirror.ts';
import type { MirrorState } from '../mirror/mirror-events.ts';
import type { Signal } from '../platform.ts';
import { unless } from '../within.ts';

/** States of a mirror in which its node has answered. */
const CONNECTED: ReadonlySet<MirrorState['kind']> = new Set(['syncing', 'catching-up', 'live']);

/**
 * Resolves when the mirror has a connection.
 * @throws the signal's reason
 */
export async function connected(mirror: Mirror, signal: Signal): Promise<void> {
  while (!CONNECTED.has(mirror.state.kind)) {
    const { promise, resolve } = Promise.withResolvers<unknown>();
    const end = mirror.on('state', resolve);
    await unless(signal, promise).finally(end);
  }
}
