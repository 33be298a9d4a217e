/** `--rate-limit`: how many requests a second one client may send, over HTTP and to open WebSockets. */
import { LimitProblem } from '../access/access-problem.ts';
import { Buckets } from '../access/buckets.ts';
import { type ClientKind, clientKind, clientName } from '../access/client-name.ts';
import type { Principal } from '../access/principal.ts';

/** Headers that tell a client its limit and what is left of it (draft-ietf-httpapi-ratelimit-headers of September 2025). */
export interface RateHeaders {
  readonly 'ratelimit-policy': string;
  readonly ratelimit: string;
}

/** One request, counted. */
export interface Counted {
  /** The reason to refuse the request; null: it is within the limit. */
  readonly problem: LimitProblem | null;
  /** Headers of its answer. */
  readonly headers: RateHeaders;
}

export class RequestLimit {
  readonly #perSecond: number;
  /** By the kind of the client. */
  readonly #policies: Readonly<Record<ClientKind, string>>;
  readonly #buckets: Buckets;

  /**
   * @param perSecond requests of one client; as many may come at once
   * @param monotonic milliseconds
   */
  constructor(perSecond: number, monotonic: () => number) {
    this.#perSecond = perSecond;
    const of = (kind: ClientKind): string => `"${kind}";q=${perSecond};w=1`;
    this.#policies = { token: of('token'), address: of('address') };
    this.#buckets = new Buckets(perSecond, perSecond, monotonic);
  }

  /**
   * Counts a request.
   * @param principal null: the sender has not been found
   * @param address of the sender
   */
  count(principal: Principal | null, address: string): Counted {
    const kind = clientKind(principal);
    const { allowed, left, seconds } = this.#buckets.take(clientName(principal, address));
    const headers = {
      'ratelimit-policy': this.#policies[kind],
      ratelimit: `"${kind}";r=${left};t=${seconds}`,
    };
    if (allowed) return { problem: null, headers };
    const detail = `the limit of requests of one ${kind} is ${this.#perSecond} a second`;
    return { problem: new LimitProblem(detail, seconds, headers), headers };
  }
}
