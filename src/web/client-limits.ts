/** What one client may do at most, by the settings: a token, or an address without a token. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Duplex } from 'node:stream';
import type { Access } from '../access/access.ts';
import { LimitProblem } from '../access/access-problem.ts';
import type { Principal } from '../access/principal.ts';
import { Tally } from '../node/ports/counts.ts';
import { ConnectionLimit } from './connection-limit.ts';
import { FollowerLimit } from './follower-limit.ts';
import type { Proxies } from './proxies.ts';
import { type RateHeaders, RequestLimit } from './request-limit.ts';

export interface LimitSettings {
  /** Requests a second; in each of these settings 0 means no limit. */
  readonly rateLimit: number;
  readonly maxConnectionsPerToken: number;
  readonly maxFollowersPerToken: number;
}

export type LimitName = 'requests' | 'connections' | 'followers';

/** The limits that the settings set; null: none. */
export interface ClientLimits {
  /** What they have refused since the start. */
  readonly refused: Tally<LimitName>;
  readonly requests: RequestGate | null;
  readonly followers: FollowerLimit | null;
}

/** A request that was counted. */
export interface Gated {
  /** The reason to refuse it; null: it is within the limits. */
  readonly problem: LimitProblem | null;
  /** Whether the connection has to end behind a refusal. */
  readonly isLast: boolean;
  /** Headers of its answer; null: requests have no limit. */
  readonly headers: RateHeaders | null;
}

/** What the gate asks about senders. */
export type Senders = Pick<Access, 'find' | 'isOpen' | 'verifyFirst'>;

/** What a request, or the opening of a WebSocket, has to pass. */
export class RequestGate {
  readonly #access: Senders;
  readonly #proxies: Proxies;
  readonly #connections: ConnectionLimit | null;
  readonly #requests: RequestLimit | null;
  readonly #refused: Tally<LimitName>;

  constructor(
    access: Senders,
    proxies: Proxies,
    connections: ConnectionLimit | null,
    requests: RequestLimit | null,
    refused: Tally<LimitName>,
  ) {
    this.#access = access;
    this.#proxies = proxies;
    this.#connections = connections;
    this.#requests = requests;
    this.#refused = refused;
  }

  /**
   * Counts a request. A request with a token that is not valid counts for its address.
   * @param response null: the request opens a WebSocket
   * @param authorization the `Authorization` header, or what stands for it
   * @returns a promise only if a signed token has to be verified first: a valid one is not refused for what others at its address do
   */
  pass(
    request: IncomingMessage,
    response: ServerResponse | null,
    authorization = request.headers.authorization,
  ): Gated | Promise<Gated> {
    const verifying = this.#access.verifyFirst(authorization, request.socket);
    if (verifying === null) return this.#count(request, response, authorization);
    return verifying.then(
      () => this.#count(request, response, authorization),
      (error: unknown) => {
        // Nobody knows whose it is, because too many tokens are being verified.
        if (error instanceof LimitProblem) return { problem: error, isLast: false, headers: null };
        throw error;
      },
    );
  }

  /**
   * Counts the connection of a WebSocket for the owner of a token that was shown on it.
   * @throws LimitProblem if that one has as many connections as it may have
   */
  move(connection: Duplex, principal: Principal, address: string): void {
    const refused = this.#connections?.move(connection, principal, address) ?? null;
    if (refused === null) return;
    this.#refused.add('connections');
    throw refused;
  }

  #count(
    request: IncomingMessage,
    response: ServerResponse | null,
    authorization: string | undefined,
  ): Gated {
    const principal = this.#access.isOpen ? null : this.#access.find(authorization, request.socket);
    const address = this.#proxies.addressOf(request);
    const refused = this.#connections?.claim(request, principal, address, response) ?? null;
    const counted = this.#requests?.count(principal, address) ?? null;
    if (refused !== null) this.#refused.add('connections');
    else if (counted !== null && counted.problem !== null) this.#refused.add('requests');
    return {
      problem: refused ?? counted?.problem ?? null,
      isLast: refused !== null,
      headers: counted?.headers ?? null,
    };
  }
}

/** @param monotonic milliseconds */
export function clientLimits(
  { rateLimit, maxConnectionsPerToken, maxFollowersPerToken }: LimitSettings,
  access: Senders,
  proxies: Proxies,
  monotonic: () => number,
): ClientLimits {
  const connections = maxConnectionsPerToken === 0 ? null : new ConnectionLimit(maxConnectionsPerToken);
  const requests = rateLimit === 0 ? null : new RequestLimit(rateLimit, monotonic);
  const isGated = connections !== null || requests !== null;
  const refused = new Tally<LimitName>();
  return {
    refused,
    requests: isGated ? new RequestGate(access, proxies, connections, requests, refused) : null,
    followers: maxFollowersPerToken === 0 ? null : new FollowerLimit(maxFollowersPerToken, refused),
  };
}
