/**
 * The names that this node answers to. A page of evil.example can let its name point to this machine's address (DNS rebinding):
 * its browser then takes the node for a part of that site, and lets the page read and write it. The name still stands in `Host`,
 * so a node answers only where nobody else can choose the name.
 */
import { Problem } from '../node/problem.ts';

/** `NAME`, `ADDRESS`, `[ADDRESS]`, each with a port or without. */
const HOST = /^(?:[^:[\]/?#@\\\s]+|\[[^[\]/?#@\\\s]+\])(?::\d{0,5})?$/;
const IPV4 = /^\d{1,3}(?:\.\d{1,3}){3}$/;
/** The most characters of a refused name that its refusal repeats. */
const MAX_SHOWN = 80;

export class KnownHosts {
  readonly #names: ReadonlySet<string>;
  /** The last `Host` that was found good: nearly all requests bring the same. */
  #lastGood: string | null = null;

  /** @param names DNS names by which others reach this node, in any spelling */
  constructor(names: readonly string[]) {
    this.#names = new Set(names.map((name) => hostName(name)).filter((name) => name !== null));
  }

  /** @param host a `Host` header: whether it names an IP address, this machine, or this node by a name that it was given */
  isKnown(host: string): boolean {
    if (host === this.#lastGood) return true;
    const name = hostName(host);
    if (name === null) return false;
    const isGood = isAddress(name) || isLocalhost(name) || this.#names.has(name);
    if (isGood) this.#lastGood = host;
    return isGood;
  }

  /**
   * @param host the `Host` header; undefined: the request has none
   * @param httpVersion as in `1.1`; only before that a request may come without a Host (RFC 9112, 3.2)
   * @returns why the request is not answered, or null
   */
  refusal(host: string | undefined, httpVersion: string): Problem | null {
    if (host === undefined) {
      return httpVersion === '1.0' ? null : new Problem('BAD_REQUEST', 'the request has no Host header');
    }
    if (this.isKnown(host)) return null;
    const shown = JSON.stringify(host.slice(0, MAX_SHOWN));
    return new Problem(
      'FORBIDDEN',
      `this node does not answer to the Host ${shown}; --allow-host NAME adds a name that it answers to`,
    );
  }
}

/**
 * The name in a `Host` header, as a URL parser writes it: in lowercase, IP addresses in their usual form, and without the dot that
 * may end it.
 * @returns null for what is no host
 */
function hostName(host: string): string | null {
  const url = `http://${host}`;
  if (!HOST.test(host) || !URL.canParse(url)) return null;
  return new URL(url).hostname.replace(/\.$/, '');
}

function isAddress(name: string): boolean {
  return name.startsWith('[') || IPV4.test(name);
}

/** Browsers and systems look for these names nowhere else than on this machine (RFC 6761, 6.3). */
function isLocalhost(name: string): boolean {
  return name === 'localhost' || name.endsWith('.localhost');
}
