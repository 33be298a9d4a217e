/**
 * Which connection belongs to which client with a certificate. TLS has checked the certificate before; here its names are
 * looked up in the list.
 */
import type { Principal } from './principal.ts';

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
  #byName: ReadonlyMap<string, Principal> = new Map();

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

  /** @returns the names of a certificate that is not in the list; null: the connection has shown none */
  namesOf(connection: object): readonly string[] | null {
    return this.#connections.get(connection)?.names ?? null;
  }

  /** @returns true once for each connection */
  isFirstRefusal(connection: object): boolean {
    const connected = this.#connections.get(connection);
    if (connected === undefined || connected.isRefusalLogged) return false;
    connected.isRefusalLogged = true;
    return true;
  }
}
