/** A thin, typed client of psyncd's REST API. It uses no code of the server, so it runs wherever there is `fetch`. */
import type {
  Appended,
  BatchAnswer,
  CheckAnswer,
  DigestAnswer,
  FailoverAnswer,
  Imported,
  Incremented,
  ReplicationAnswer,
  Written,
} from './answers.ts';

import { checkAnswer, isNotFound, jsonOf } from './api-error.ts';
import { sentToMaster } from './redirect.ts';
import { type Token, type Transport, tokenOf } from './token.ts';

export type * from './answers.ts';

/**
 * A key that `fetch` cannot send in a URL: a `.` or `..` segment, which URL parsers resolve even when it is
 * percent-encoded (WHATWG URL, "single-dot URL path segment"), or text with half of a surrogate pair, which has no UTF-8.
 * Batches and imports accept `.` and `..`.
 */
export class UnsendableKey extends TypeError {
  override readonly name = 'UnsendableKey';

  constructor(key: string) {
    const what = key.isWellFormed() ? 'of nothing but . or .. segments' : 'with half of a surrogate pair';
    super(`a key ${what} cannot be sent by this client: ${JSON.stringify(key)}`);
  }
}

/**
 * State that the entry must have for the write; otherwise ApiError PRECONDITION_FAILED, with the actual state in
 * `problem`.
 */
export interface Condition {
  /** The entry must have exactly this version. */
  readonly ifVersion?: number | undefined;
  /** The entry must not exist. */
  readonly ifAbsent?: boolean | undefined;
}

export interface SetOptions extends Condition {
  /** Time to live in seconds. Without it the entry does not expire. */
  readonly ttl?: number | undefined;
}

/** Text, or as `encoding` says: base64 for any bytes, or any JSON. */
type Sent =
  | { readonly value: string; readonly encoding?: 'utf8' | 'base64' }
  | { readonly value: unknown; readonly encoding: 'json' };
/** `ttl` in seconds, or `expiresAt` in milliseconds since 1970. */
type Expiring =
  | { readonly ttl: number; readonly expiresAt?: undefined }
  | { readonly expiresAt: number; readonly ttl?: undefined };
type Never = { readonly ttl?: undefined; readonly expiresAt?: undefined };
type IfVersion = { readonly ifVersion?: number };
type IfAbsent = { readonly ifAbsent: true; readonly ifVersion?: undefined };

/** One operation of a batch. */
export type BatchOperation = { readonly key: string } & (
  | ({ readonly op: 'set' } & Sent & (Expiring | Never) & (IfVersion | IfAbsent))
  | ({ readonly op: 'append' } & Sent & IfVersion)
  | ({ readonly op: 'increment'; readonly by?: number | string } & IfVersion)
  | ({ readonly op: 'expire' } & Expiring & IfVersion)
  | ({ readonly op: 'delete' | 'persist' } & IfVersion)
  | { readonly op: 'get' }
);

/** Result of one operation; its members depend on the operation. */
export type BatchResult = BatchAnswer['results'][number];

/** One replica of the node, as `ReplicationAnswer` lists it. */
export type ReplicaAnswer = ReplicationAnswer['replicas'][number];

/** Calls one node, and follows its redirects of writes to the master. */
export class Client {
  readonly #base: string;
  readonly #token: Token | undefined;
  readonly #transport: Transport | undefined;

  /**
   * @param base `http://HOST:PORT`
   * @param options.token for a node with tokens
   * @param options.transport for a node with certificates of its own
   */
  constructor(
    base: string,
    options: { readonly token?: Token | undefined; readonly transport?: Transport | undefined } = {},
  ) {
    this.#base = base.replace(/\/+$/, '');
    this.#token = options.token;
    this.#transport = options.transport;
  }

  /** @returns the bytes of the value; null: there is no such entry */
  async get(key: string): Promise<Uint8Array | null> {
    const response = await this.#fetch(this.#keyUrl(key));
    if (await isNotFound(response)) return null;
    await checkAnswer(response, 'application/octet-stream');
    return new Uint8Array(await response.arrayBuffer());
  }

  async set(
    key: string,
    value: Uint8Array<ArrayBuffer> | string,
    options: SetOptions = {},
  ): Promise<Written> {
    const query = options.ttl === undefined ? '' : `?ttl=${options.ttl}`;
    return this.#json(this.#keyUrl(key) + query, { ...write('PUT', options), body: sendable(value) });
  }

  /**
   * Adds to an integer; a missing entry counts as 0.
   * @param by a string of digits if it is beyond 2^53
   */
  async increment(key: string, by: number | string = 1, condition: Condition = {}): Promise<Incremented> {
    return this.#json(`${this.#keyUrl(key)}/increment`, write('POST', condition, { by }));
  }

  /** Appends to the value; creates a missing entry. */
  async append(
    key: string,
    value: Uint8Array<ArrayBuffer> | string,
    condition: Condition = {},
  ): Promise<Appended> {
    return this.#json(`${this.#keyUrl(key)}/append`, { ...write('POST', condition), body: sendable(value) });
  }

  /** Applies a JSON Merge Patch to a JSON value: null removes a member. */
  async patch(key: string, patch: unknown, condition: Condition = {}): Promise<Written> {
    const type = 'application/merge-patch+json';
    return this.#json(this.#keyUrl(key), write('PATCH', condition, patch, type));
  }

  /** Runs several operations, all or nothing; `problem.op` of an ApiError is the index of the one that failed. */
  batch(ops: readonly BatchOperation[]): Promise<BatchAnswer> {
    return this.#json(`${this.#base}/v1/batch`, write('POST', {}, { ops }));
  }

  /** @returns whether the entry existed */
  async delete(key: string, condition: Condition = {}): Promise<boolean> {
    const response = await this.#fetch(this.#keyUrl(key), write('DELETE', condition));
    if (await isNotFound(response)) return false;
    await jsonOf(response);
    return true;
  }

  /** @param lines NDJSON; a stream cannot be redirected, so this node has to be the master */
  import(lines: ReadableStream<Uint8Array>): Promise<Imported> {
    const request = {
      method: 'POST',
      body: lines,
      duplex: 'half' as const,
      headers: { 'content-type': 'application/x-ndjson' },
    };
    return this.#json(`${this.#base}/v1/import`, request);
  }

  /**
   * @param prefix of the keys; empty: all keys
   * @returns NDJSON that `import` accepts, all at one position
   */
  async export(
    prefix = '',
  ): Promise<{ readonly position: string; readonly lines: ReadableStream<Uint8Array> }> {
    const query = prefix === '' ? '' : `?prefix=${encodeURIComponent(prefix)}`;
    const response = await this.#fetch(`${this.#base}/v1/export${query}`);
    await checkAnswer(response, 'application/x-ndjson');
    const position = response.headers.get('psync-position') as string;
    return { position, lines: response.body as ReadableStream<Uint8Array> };
  }

  /** @param options.signal ends the request */
  replication(options: { readonly signal?: AbortSignal } = {}): Promise<ReplicationAnswer> {
    return this.#json(`${this.#base}/v1/replication`, options);
  }

  /**
   * Makes the node follow a master (REPLICAOF).
   * @param url `ws://HOST:PORT`
   */
  replicaOf(url: string): Promise<ReplicationAnswer> {
    return this.#json(`${this.#base}/v1/replication/upstream`, write('PUT', {}, { url }));
  }

  /** Makes the node a master (REPLICAOF NO ONE). */
  promote(): Promise<ReplicationAnswer> {
    return this.#json(`${this.#base}/v1/replication/upstream`, { method: 'DELETE' });
  }

  /**
   * Asks what PSYNC would answer to a replica at this position.
   * @param hash the replica's history hash there, if it is known
   */
  check(position: string, hash?: string | null): Promise<CheckAnswer> {
    const query = new URLSearchParams(hash ? { position, hash } : { position });
    return this.#json(`${this.#base}/v1/replication/check?${query}`, {});
  }

  /**
   * Hands the master's role over to a replica, and resolves when that is done.
   * @param to the replica, `ws://HOST:PORT`; undefined: the first one that has everything
   */
  failover(to?: string, timeoutMs?: number): Promise<FailoverAnswer> {
    return this.#json(`${this.#base}/v1/replication/failover`, write('POST', {}, { to, timeoutMs }));
  }

  digest(): Promise<DigestAnswer> {
    return this.#json(`${this.#base}/v1/digest`, {});
  }

  /** @throws UnsendableKey */
  #keyUrl(key: string): string {
    if (key === '.' || key === '..' || !key.isWellFormed()) throw new UnsendableKey(key);
    return `${this.#base}/v1/keys/${encodeURIComponent(key)}`;
  }

  async #fetch(url: string, init: RequestInit = {}): Promise<Response> {
    const { fetch } = this.#transport ?? globalThis;
    const token = await tokenOf(this.#token);
    if (!token) return fetch(url, init);
    const headers = { ...(init.headers as Record<string, string>), authorization: `Bearer ${token}` };
    return sentToMaster(fetch, url, { ...init, headers });
  }

  async #json<T>(url: string, init: RequestInit): Promise<T> {
    return jsonOf(await this.#fetch(url, init));
  }
}

/** @throws TypeError for text that has no UTF-8, which `fetch` would change */
function sendable(value: Uint8Array<ArrayBuffer> | string): Uint8Array<ArrayBuffer> | string {
  if (typeof value !== 'string' || value.isWellFormed()) return value;
  throw new TypeError('the value has half of a surrogate pair, so it is no text that can be sent');
}

/**
 * @param body sent as JSON, if there is one
 * @param type media type of the body
 */
function write(
  method: string,
  { ifVersion, ifAbsent }: Condition,
  body?: unknown,
  type = 'application/json',
): RequestInit {
  return {
    method,
    headers: {
      ...(ifVersion !== undefined && { 'if-match': `"${ifVersion}"` }),
      ...(ifAbsent && { 'if-none-match': '*' }),
      ...(body !== undefined && { 'content-type': type }),
    },
    ...(body !== undefined && { body: JSON.stringify(body) }),
  };
}
