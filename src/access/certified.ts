/**
 * Which connection belongs to which client with a certificate. TLS has checked the certificate before; here its names are
 * looked up in the list.
 */

import { showable } from '../node/ports/peer-words.ts';
import { clientOf } from './address.ts';
import { Buckets } from './buckets.ts';
import type { Principal } from './principal.ts';
import { MAX_SAN_LENGTH } from './tokens/token-list.ts';

/** Lines of the log about certificates that are not in the list, for each client: at once, and later in a minute. */
const REFUSALS_LOGGED = 5;
/** Largest number of names in such a line: a certificate may have thousands. */
const NAMES_LOGGED = 10;

interface Connected {
  /** In the order in which they are looked up. */
  readonly names: readonly string[];
  /** The list in which they were looked up last. */
  list: ReadonlyMap<string, Principal> | null;
  principal: Principal | null;
  isRefusalLogged: boolean;
}

export class Certified {
  readonly #connections = new WeakMap<object, Connected>();
  readonly #refusals: Buckets;
  #byName: ReadonlyMap<string, Principal> = new Map();

  /** @param monotonic milliseconds */
  constructor(monotonic: () => number) {
    this.#refusals = new Buckets(REFUSALS_LOGGED / 60, REFUSALS_LOGGED, monotonic);
  }

  /** Takes over the principals, by the names of their certificates. */
  replace(byName: ReadonlyMap<string, Principal>): void {
    this.#byName = byName;
  }

  /**
   * Takes a connection whose client has shown a certificate.
   * @param names of the certificate; the first one that is in the list counts
   */
  add(connection: object, names: readonly string[]): void {
    this.#connections.set(connection, { names, list: null, principal: null, isRefusalLogged: false });
  }

  /** @returns whose certificate the connection has shown; null: it has shown none that is in the list and valid now */
  principalOf(connection: object): Principal | null {
    const connected = this.#connections.get(connection);
    if (connected === undefined) return null;
    if (connected.list !== this.#byName) {
      connected.list = this.#byName;
      const known = connected.names.find((name) => this.#byName.has(name));
      connected.principal = known === undefined ? null : (this.#byName.get(known) ?? null);
    }
    const { principal } = connected;
    return principal === null || principal.hasExpired ? null : principal;
  }

  /** Whether the connection has shown a certificate, in the list or not. */
  has(connection: object): boolean {
    return this.#connections.has(connection);
  }

  /**
   * Takes the refusal of a certificate that is not in the list.
   * @param address of the client
   * @returns names of the certificate for the log; null: nothing is to be logged, because the log has this connection, or enough of this
   * client
   */
  refusalToLog(connection: object, address: string): readonly string[] | null {
    const connected = this.#connections.get(connection);
    if (connected === undefined || connected.isRefusalLogged) return null;
    connected.isRefusalLogged = true;
    if (!this.#refusals.take(clientOf(address)).allowed) return null;
    return connected.names.slice(0, NAMES_LOGGED).map((name) => showable(name, [], MAX_SAN_LENGTH));
  }
}
