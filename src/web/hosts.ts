/**
 * The host names that this node answers to. A page of evil.example can point its name at this machine's address (DNS
 * rebinding); the browser then treats the node as part of that site and lets the page read and write it. The `Host`
 * header still holds the page's name, so the node only answers to names that no attacker can choose.
 */
import { Problem } from '../node/problem.ts';
import type { Forwarded, Proxies } from './proxies.ts';

/** Matches `NAME`, `ADDRESS` or `[ADDRESS]`, with or without a port. */
const HOST = /^(?:[^:[\]/?#@\\\s]+|\[[^[\]/?#@\\\s]+\])(?::\d{0,5})?$/;
/** Characters of names and addresses. URL parsers take others too, and `Host` goes into documents and headers. */
const SENT = /^[\w.:[\]-]+$/;
const IPV4 = /^\d{1,3}(?:\.\d{1,3}){3}$/;
/** Number of characters of a refused name that the refusal shows. */
const MAX_SHOWN = 80;

export class KnownHosts {
  readonly #names: ReadonlySet<string>;
  /** The last accepted `Host`: nearly all requests send the same. */
  #lastGood: string | null = null;

  /** @param names DNS names under which clients reach this node, in any spelling */
  constructor(names: readonly string[]) {
    this.#names = new Set(names.map((name) => hostName(name)).filter((name) => name !== null));
  }

  /**
   * @param host a `Host` header
   * @returns whether it is an IP address by which browsers know what they call, this machine, or one of the node's names
   */
  isKnown(host: string): boolean {
    if (host === this.#lastGood) return true;
    const name = SENT.test(host) ? hostName(host) : null;
    if (name === null) return false;
    const isGood = (isAddress(name) && !isDisguised(name)) || isLocalhost(name) || this.#names.has(name);
    if (isGood) this.#lastGood = host;
    return isGood;
  }

  /**
   * @param host the `Host` header; undefined: the request has none
   * @param httpVersion such as `1.1`; only older requests may lack a Host (RFC 9112, 3.2)
   * @returns the reason to refuse the request, or null
   */
  refusal(host: string | undefined, httpVersion: string): Problem | null {
    if (host === undefined) {
      return httpVersion === '1.0' ? null : new Problem('BAD_REQUEST', 'the request has no Host header');
    }
    if (this.isKnown(host)) return null;
    const shown = JSON.stringify(host.slice(0, MAX_SHOWN));
    const name = hostName(host);
    const instead =
      name !== null && isDisguised(name) ? 'use an address of one machine, such as 127.0.0.1; ' : '';
    return new Problem(
      'FORBIDDEN',
      `this node does not answer to the Host ${shown}; ${instead}--allow-host NAME adds a name that it answers to`,
    );
  }
}

/**
 * @returns the reason to refuse a request for its `Host`, or for the `X-Forwarded-Host` of a trusted proxy; null: there is none. Both
 *   are looked at: a page in a browser on the proxy's machine comes from a trusted address, and can set the second but not the first.
 */
export function hostRefusal(
  request: Forwarded & { readonly httpVersion: string },
  { hosts, proxies }: { readonly hosts: KnownHosts; readonly proxies: Proxies },
): Problem | null {
  const refusal = hosts.refusal(request.headers.host, request.httpVersion);
  const forwarded = proxies.forwardedHost(request);
  return refusal ?? (forwarded === undefined ? null : hosts.refusal(forwarded, request.httpVersion));
}

/**
 * Normalizes the name in a `Host` header like a URL parser: lowercase, IP addresses in their usual form, no final dot.
 * @returns null if it is not a host
 */
export function hostName(host: string): string | null {
  const url = `http://${host}`;
  if (!HOST.test(host) || !URL.canParse(url)) return null;
  return new URL(url).hostname.replace(/\.$/, '');
}

/**
 * Whether this is an address by which systems reach this machine while browsers do not know it: one that stands for all addresses
 * (`0.0.0.0`, `[::]`), or an IPv4 address within an IPv6 one (`[::ffff:127.0.0.1]`). Browsers then do not say that a page of another
 * site asks.
 * @param name as `hostName` gives it
 */
export function isDisguised(name: string): boolean {
  return (name.startsWith('0.') && IPV4.test(name)) || (name.startsWith('[::') && name !== '[::1]');
}

function isAddress(name: string): boolean {
  return name.startsWith('[') || IPV4.test(name);
}

/** Browsers and systems resolve these names to this machine only (RFC 6761, 6.3). */
function isLocalhost(name: string): boolean {
  return name === 'localhost' || name.endsWith('.localhost');
}
