/**
 * The connections whose TLS handshakes are under way. They end when the handshake takes too long, when the client goes, and when what a
 * client must show changes: Node takes the files of a handshake when the connection comes, not when the client shows its certificate.
 */
import type { Socket } from 'node:net';
import type { TLSSocket } from 'node:tls';
import type { World } from '../node/ports/world.ts';

/** Time for a whole handshake, in milliseconds. Node's own time-out begins anew with each byte. */
const HANDSHAKE_MS = 10_000;

export class Handshakes {
  readonly #world: Pick<World, 'after'>;
  /** What ends the wait for each, by the addresses of the connection. */
  readonly #waits = new Map<string, () => void>();
  readonly #sockets = new Set<Socket>();

  constructor(world: Pick<World, 'after'>) {
    this.#world = world;
  }

  /** Takes a connection that has just come, before Node begins its handshake. */
  add(socket: Socket): void {
    // With it Node would keep a connection whose client has gone until the time is up.
    socket.allowHalfOpen = false;
    const addresses = addressesOf(socket);
    const cancel = this.#world.after(HANDSHAKE_MS, () => socket.destroy());
    const over = (): void => {
      cancel();
      this.#sockets.delete(socket);
      if (this.#waits.get(addresses) === over) this.#waits.delete(addresses);
    };
    this.#waits.set(addresses, over);
    this.#sockets.add(socket);
    socket.once('close', over);
  }

  /** Takes a connection whose handshake is over: its client may close its side and still get its answers. */
  finish(socket: TLSSocket): void {
    socket.allowHalfOpen = true;
    this.#waits.get(addressesOf(socket))?.();
  }

  /** Ends the connections whose handshakes are not over. */
  endAll(): void {
    for (const socket of this.#sockets) socket.destroy();
  }
}

/** The same for a connection and for the TLS on it. */
function addressesOf({ remoteAddress, remotePort, localAddress, localPort }: Socket): string {
  return `${remoteAddress} ${remotePort} ${localAddress} ${localPort}`;
}
