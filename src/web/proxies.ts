/**
 * What a request was before proxies passed it on: the address of its client, and the scheme and host that the client used. Only the
 * proxies that `--trust-proxy` names may say so, in `X-Forwarded-For`, `X-Forwarded-Proto` and `X-Forwarded-Host`; from everybody
 * else these headers mean nothing.
 */
import type { IncomingMessage } from 'node:http';
import { BlockList, isIP, isIPv6 } from 'node:net';

/** Number of proxies that a request may have passed, counted from this node; addresses beyond are not looked at. */
const MAX_HOPS = 16;

/** The parts of a request that this module reads. */
export type Forwarded = Pick<IncomingMessage, 'headers'> & {
  readonly socket: Pick<IncomingMessage['socket'], 'remoteAddress' | 'remotePort'> & {
    readonly encrypted?: boolean;
  };
};

export class Proxies {
  readonly #trusted: BlockList | null;

  /** @param trusted addresses and networks, such as `10.0.0.7` and `10.0.0.0/8`, as `proxies` in settings/parse.ts allows them */
  constructor(trusted: readonly string[]) {
    this.#trusted = trusted.length === 0 ? null : new BlockList();
    for (const each of trusted) {
      const [address = '', bits] = each.split('/');
      const family = familyOf(address);
      if (bits === undefined) this.#trusted?.addAddress(address, family);
      else this.#trusted?.addSubnet(address, Number(bits), family);
    }
  }

  /**
   * @returns the address of the client: the last one in `X-Forwarded-For` that is no trusted proxy. Addresses before it are the
   *   client's own words.
   */
  addressOf({ headers, socket: { remoteAddress = '' } }: Forwarded): string {
    if (!this.#isTrusted(remoteAddress)) return remoteAddress;
    const hops = String(headers['x-forwarded-for'] ?? '').split(',');
    let client = remoteAddress;
    for (const hop of hops.slice(-MAX_HOPS).reverse()) {
      const address = addressIn(hop.trim());
      if (address === null) return client;
      client = address;
      if (!this.#isTrusted(address)) return client;
    }
    return client;
  }

  /** @returns `ADDRESS:PORT` to tell clients apart; behind a proxy the port is the proxy's */
  peerOf(request: Forwarded): string {
    return `${this.addressOf(request)}:${request.socket.remotePort}`;
  }

  /** @returns the `X-Forwarded-Host` of a trusted proxy; undefined: there is none */
  forwardedHost(request: Forwarded): string | undefined {
    return this.#said(request, 'x-forwarded-host');
  }

  /** @returns the scheme that the client used; null: unknown, because a proxy that this node does not know may be in front */
  schemeOf(request: Forwarded): 'http' | 'https' | null {
    const said = this.#said(request, 'x-forwarded-proto')?.toLowerCase();
    if (said === 'http' || said === 'https') return said;
    return request.socket.encrypted === true ? 'https' : null;
  }

  /** @returns what the nearest proxy says, if it is trusted: the last of several values */
  #said({ headers, socket: { remoteAddress = '' } }: Forwarded, name: string): string | undefined {
    const said = headers[name];
    if (said === undefined || !this.#isTrusted(remoteAddress)) return undefined;
    return String(said).split(',').at(-1)?.trim();
  }

  #isTrusted(address: string): boolean {
    return this.#trusted !== null && isIP(address) !== 0 && this.#trusted.check(address, familyOf(address));
  }
}

/** For a node with no proxy in front that it knows. */
export const NO_PROXIES = new Proxies([]);

function familyOf(address: string): 'ipv4' | 'ipv6' {
  return isIPv6(address) ? 'ipv6' : 'ipv4';
}

/** @returns the address in `ADDRESS`, `IPV4:PORT` or `[IPV6]:PORT`; null: it is none */
function addressIn(text: string): string | null {
  const address = /^\[([^\]]+)\](?::\d+)?$/.exec(text)?.[1] ?? /^([\d.]+):\d+$/.exec(text)?.[1] ?? text;
  return isIP(address) === 0 ? null : address;
}
