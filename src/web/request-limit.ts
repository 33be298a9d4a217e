/** `--rate-limit`: how many requests a second one client may send, over HTTP and to open WebSockets. */
import type { IncomingMessage } from 'node:http';
import type { Access } from '../access/access.ts';
import { LimitProblem } from '../access/access-problem.ts';
import { Buckets } from '../access/buckets.ts';
import { clientKind, clientName } from '../access/client-name.ts';
import { clientAddress } from './client-address.ts';

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
  readonly #access: Pick<Access, 'find' | 'isOpen'>;
  readonly #buckets: Buckets;

  /**
   * @param perSecond requests of one client; as many may come at once
   * @param monotonic milliseconds
   */
  constructor(perSecond: number, access: Pick<Access, 'find' | 'isOpen'>, monotonic: () => number) {
    this.#perSecond = perSecond;
    this.#access = access;
    this.#buckets = new Buckets(perSecond, perSecond, monotonic);
  }

  /**
   * Counts a request. A request with a token that is not valid counts for its address.
   * @param authorization the `Authorization` header, or what stands for it
   */
  count(request: IncomingMessage, authorization = request.headers.authorization): Counted {
    const principal = this.#access.isOpen ? null : this.#access.find(authorization, request.socket);
    const kind = clientKind(principal);
    const { allowed, left, seconds } = this.#buckets.take(clientName(principal, clientAddress(request)));
    const headers = {
      'ratelimit-policy': `"${kind}";q=${this.#perSecond};w=1`,
      ratelimit: `"${kind}";r=${left};t=${seconds}`,
    };
    if (allowed) return { problem: null, headers };
    const detail = `one ${kind} may send ${this.#perSecond} requests a second`;
    return { problem: new LimitProblem(detail, seconds, headers), headers };
  }
}
