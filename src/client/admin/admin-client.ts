/** A client for operators: roles, settings, tokens and the state of one node. */
import type {
  CheckAnswer,
  DeletedMany,
  DigestAnswer,
  FailoverAnswer,
  ReplicationAnswer,
} from '../answers.ts';
import { jsonOf, textOf } from '../api-error.ts';
import { Client } from '../full/client.ts';
import type { FullCallOptions, FullClientOptions } from '../full/full-options.ts';
import type { Call } from '../request/exchange.ts';
import type { AckOptions, CallOptions, ReadOptions, WaitOptions } from '../request/options.ts';
import type {
  BacklogAnswer,
  ConfigAnswer,
  ConfigPatch,
  CreatedToken,
  EndedSession,
  HealthAnswer,
  RevokedToken,
  SessionsAnswer,
  TokenRequest,
  TokensAnswer,
  WriteHoldAnswer,
} from './answers.ts';

/** What each call of `AdminClient` takes. */
export type OwnOptions = CallOptions & FullCallOptions;

/** The node that a caller of `readiness` looks for. */
export interface WantedNode {
  /** Default: any. */
  readonly role?: 'master' | 'replica' | 'any' | undefined;
  /** How far a replica may be behind, with a unit: `5s`, `1mb`. Default: its link to the master must be up. */
  readonly maxLag?: string | undefined;
}

/** Calls one node. Only writes of entries go on to its master. */
export class AdminClient extends Client {
  /**
   * @param url `http://HOST:PORT`; one, because what changes a node must not reach another one
   * @throws TypeError for a malformed URL
   */
  constructor(url: string, options?: FullClientOptions) {
    super(url, options);
  }

  /**
   * Makes the node follow a master (REPLICAOF).
   * @param url `ws://HOST:PORT`
   */
  replicaOf(url: string, options?: OwnOptions): Promise<ReplicationAnswer> {
    return this.#change('PUT', '/v1/replication/upstream', options, { url });
  }

  /** Makes the node a master (REPLICAOF NO ONE). */
  promote(options?: OwnOptions): Promise<ReplicationAnswer> {
    return this.#change('DELETE', '/v1/replication/upstream', options);
  }

  /**
   * Asks what PSYNC would answer to a replica at this position.
   * @param hash the replica's history hash there, if it is known
   */
  check(position: string, hash?: string | null, options?: OwnOptions): Promise<CheckAnswer> {
    return this.#ask('/v1/replication/check', options, { position, hash });
  }

  /** The events of each replica's session. */
  sessions(options?: OwnOptions): Promise<SessionsAnswer> {
    return this.#ask('/v1/replication/sessions', options);
  }

  /** Closes the connection of a replica, which then connects anew. @param id of the list of sessions */
  endSession(id: string, options?: OwnOptions): Promise<EndedSession> {
    return this.#change('DELETE', `/v1/replication/sessions/${encodeURIComponent(id)}`, options);
  }

  /** @param seconds that a replica may be away, for the advice; without it: the longest outage that the node has seen, or 60 s */
  backlog(seconds?: number, options?: OwnOptions): Promise<BacklogAnswer> {
    return this.#ask('/v1/replication/backlog', options, { seconds });
  }

  /**
   * Hands the master's role over to a replica, and resolves when that is done.
   * @param to the replica, `ws://HOST:PORT`; undefined: the first one that has everything
   * @param holdMs milliseconds for which the node may hold writes; default 10 s. The call may take as much longer.
   */
  failover(to?: string, holdMs?: number, options?: OwnOptions): Promise<FailoverAnswer> {
    const body = { to, timeoutMs: holdMs };
    return this.#change('POST', '/v1/replication/failover', { ...options, waitMs: holdMs }, body);
  }

  /** Aborts a hand-over. */
  abortFailover(options?: OwnOptions): Promise<ReplicationAnswer> {
    return this.#change('DELETE', '/v1/replication/failover', options);
  }

  /** Lets a full resync happen that the node has refused because it would replace its data by nothing. */
  acceptEmptyMaster(options?: OwnOptions): Promise<ReplicationAnswer> {
    return this.#change('POST', '/v1/replication/accept', options);
  }

  /** Sets the counters of `replication` and `info` to 0, but not those of `metrics`. */
  resetCounters(options?: OwnOptions): Promise<ReplicationAnswer> {
    return this.#change('POST', '/v1/replication/counters/reset', options);
  }

  /**
   * Counts the entries and hashes them, to compare nodes at equal positions.
   * @param options.against another node, `http://HOST:PORT`: this node compares with it, for at most `waitMs`
   */
  digest(
    options: ReadOptions & FullCallOptions & { readonly against?: string | undefined } = {},
  ): Promise<DigestAnswer> {
    const { against, position, waitMs } = options;
    return this.#ask('/v1/digest', options, { against, position, timeout: waitMs });
  }

  /** @returns the state under Redis's INFO names */
  info(options?: OwnOptions): Promise<string> {
    return this.node.send({ path: '/v1/info' }, options, textOf);
  }

  /** @returns the settings */
  config(options?: OwnOptions): Promise<ConfigAnswer> {
    return this.#ask('/v1/config', options);
  }

  /** Changes settings until the node stops: all of what is named, or none. */
  changeConfig(settings: ConfigPatch, options?: OwnOptions): Promise<ConfigAnswer> {
    return this.#change('PATCH', '/v1/config', options, settings);
  }

  /** @returns what the node knows of its tokens; the tokens themselves are kept nowhere */
  tokens(options?: OwnOptions): Promise<TokensAnswer> {
    return this.#ask('/v1/tokens', options);
  }

  /** @returns the new token too, this once */
  createToken(token: TokenRequest, options?: OwnOptions): Promise<CreatedToken> {
    return this.#change('POST', '/v1/tokens', options, token);
  }

  /** @param id of the list of tokens */
  revokeToken(id: string, options?: OwnOptions): Promise<RevokedToken> {
    return this.#change('DELETE', `/v1/tokens/${encodeURIComponent(id)}`, options);
  }

  /** @returns for how long writes wait */
  writeHold(options?: OwnOptions): Promise<WriteHoldAnswer> {
    return this.#ask('/v1/writes/hold', options);
  }

  /** Lets writes wait from now on (CLIENT PAUSE). @param ms milliseconds, whatever is left of an earlier hold; at most ten minutes */
  holdWrites(ms: number, options?: OwnOptions): Promise<WriteHoldAnswer> {
    return this.#change('PUT', '/v1/writes/hold', options, { ms });
  }

  /** Lets the node carry out writes again. */
  releaseWrites(options?: OwnOptions): Promise<WriteHoldAnswer> {
    return this.#change('DELETE', '/v1/writes/hold', options);
  }

  /** Deletes every entry (FLUSHALL), on the master. */
  deleteAll(options?: AckOptions & FullCallOptions): Promise<DeletedMany> {
    return this.deleteMany({ all: true }, options);
  }

  /** Whether the process answers. It asks once, unless `retries` says otherwise. */
  health(options?: OwnOptions): Promise<HealthAnswer> {
    return this.#ask('/healthz', { retries: 0, ...options });
  }

  /** Whether the node is ready to serve; if not, an ApiError says why. It asks once, unless `retries` says otherwise. */
  readiness({ role, maxLag, ...options }: OwnOptions & WantedNode = {}): Promise<HealthAnswer> {
    return this.#ask('/readyz', { retries: 0, ...options }, { role, maxLag });
  }

  /** @returns all metrics, in the text format of Prometheus */
  metrics(options?: OwnOptions): Promise<string> {
    return this.node.send({ path: '/metrics' }, options, textOf);
  }

  #ask<T>(path: string, options: OwnOptions | undefined, query?: Call['query']): Promise<T> {
    return this.node.send({ path, query }, options, jsonOf<T>);
  }

  /** @param body sent as JSON; undefined: there is none */
  #change<T>(
    method: string,
    path: string,
    options: (WaitOptions & FullCallOptions) | undefined,
    body?: object,
  ): Promise<T> {
    const json = body && { headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) };
    const call = { method, path, isOwn: true, isSingle: true, redirect: 'error' as const, ...json };
    return this.node.send(call, options, jsonOf<T>);
  }
}
