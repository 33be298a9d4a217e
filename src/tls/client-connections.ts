/** The open connections of clients that have shown a certificate, so that they end when it expires or its CA is removed. */
import type { X509Certificate } from 'node:crypto';
import type { TLSSocket } from 'node:tls';
import type { World } from '../node/ports/world.ts';
import { Turns } from '../node/turns.ts';
import { namesOf } from './certificate-names.ts';
import { isSignedBy, rootedOf } from './client-cas.ts';

/** Gets a connection with the names of the certificate that its client has shown. */
export type Identified = (connection: object, names: readonly string[]) => void;

export class ClientConnections {
  readonly #world: World;
  /** When the certificate of each expires, in milliseconds of Unix time. */
  readonly #open = new Map<TLSSocket, number>();
  #identified: Identified = () => undefined;

  constructor(world: World) {
    this.#world = world;
  }

  /** @param identified gets each connection with the names of its certificate, before its first request */
  onIdentified(identified: Identified): void {
    this.#identified = identified;
  }

  /** Takes a connection whose handshake is over. */
  add(socket: TLSSocket, certificate: X509Certificate): void {
    this.#open.set(socket, certificate.validToDate.getTime());
    this.#identified(socket, namesOf(certificate));
    socket.once('close', () => this.#open.delete(socket));
  }

  /** Ends the connections of clients whose certificates have expired. @param now Unix time in milliseconds */
  endExpired(now: number): void {
    for (const [socket, validTo] of this.#open) if (validTo <= now) socket.destroy();
  }

  /**
   * Ends the connections of clients that could not connect again with these CAs. Node does not tell the certificates between a
   * client's and its CA, so a client that has some is disconnected too: it may connect again, and is checked anew.
   * @param cas without those that have expired
   */
  async recheck(cas: readonly X509Certificate[]): Promise<void> {
    const turns = new Turns(this.#world);
    const rooted = await rootedOf(cas, turns);
    for (const socket of [...this.#open.keys()]) {
      await turns.next();
      const certificate = socket.destroyed ? undefined : socket.getPeerX509Certificate();
      if (certificate !== undefined && !rooted.some((ca) => isSignedBy(certificate, ca))) {
        socket.destroy();
      }
    }
  }
}
