/** A thin, typed client of psyncd's REST API. It uses no code of the server, so it runs wherever there is `fetch`. */
import type { BatchAnswer, BatchOperation } from './batch.ts';

/** An error answer with its stable code. */
export class ApiError extends Error {
  override readonly name = 'ApiError';
  readonly status: number;
  readonly code: string;
  /** The problem+json object. */
  readonly problem: Readonly<Record<string, unknown>>;

  constructor(status: number, problem: Readonly<Record<string, unknown>>) {
    super(typeof problem.detail === 'string' ? problem.detail : `HTTP status ${status}`);
    this.status = status;
    this.code = typeof problem.code === 'string' ? problem.code : 'UNKNOWN';
    this.problem = problem;
  }
}

/**
 * A key that consists of a `.` or `..` segment. URL parsers resolve these segments even when they are percent-encoded,
 * and so does `fetch` (WHATWG URL, "single-dot URL path segment"). Batches and imports accept such keys.
 */
export class UnsendableKey extends Error {
  override readonly name = 'UnsendableKey';

  constructor(key: string) {
    super(`a key of nothing but . or .. segments cannot be sent by this client: ${JSON.stringify(key)}`);
  }
}

export interface Written {
  readonly key: string;
  readonly version: number;
  readonly created: boolean;
  /** Time of expiry in milliseconds since 1970; null: the entry does not expire. */
  readonly expiresAt: number | null;
  readonly position: string;
}

export interface Incremented {
  /** The new value; rounded beyond 2^53, where `get` returns all digits. */
  readonly value: number;
  readonly version: number;
  readonly position: string;
}

export interface Appended {
  /** Size of the value in bytes. */
  readonly size: number;
  readonly version: number;
  readonly position: string;
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

export interface Imported {
  readonly imported: number;
  readonly position: string;
}

export interface DigestAnswer {
  readonly position: string;
  readonly keys: number;
  readonly digest: string;
}

export interface ReplicaAnswer {
  readonly id: string;
  readonly url?: string;
  readonly peer: string;
  readonly state: string;
  readonly offset: number;
  readonly lagBytes: number;
  /** Age of the data that the replica lacks, on the clock of the node that it follows. */
  readonly lagSeconds: number;
  readonly ackAgeMs?: number;
  readonly progress?: { readonly sent: number; readonly total: number };
  readonly sync?: { readonly kind: 'full' | 'partial'; readonly reason?: string; readonly bytes: number };
}

export interface ReplicationAnswer {
  readonly role: 'master' | 'replica';
  readonly nodeId: string;
  readonly runId: string;
  readonly offset: number;
  readonly position: string;
  /** Hash of the stream's bytes up to `position`, 16 hex digits; null: unknown. */
  readonly historyHash: string | null;
  readonly lineage: readonly { readonly runId: string; readonly validTo: number; readonly reason: string }[];
  readonly backlog: { readonly size: number; readonly firstOffset: number; readonly length: number };
  readonly upstream: null | {
    readonly url: string;
    /** URL of the master for clients, if it differs from the one that its replica dials. */
    readonly announcedUrl?: string;
    readonly state: string;
    readonly detail?: string;
    readonly lastSync?: {
      readonly kind: 'full' | 'partial';
      readonly reason: string | null;
      readonly bytes: number | null;
      readonly durationMs: number;
    };
    readonly progress?: { readonly received: number; readonly total: number };
    readonly downMs?: number;
    readonly guarded?: boolean;
  };
  readonly replicas: readonly ReplicaAnswer[];
  readonly goodReplicas?: number;
  readonly failover: null | { readonly state: string; readonly to: string | null };
  /** Last comparison of a replica with its master; older nodes do not report it. */
  readonly verified?: {
    readonly at: number;
    readonly against: string;
    readonly position: string;
    readonly equal: boolean;
  } | null;
  readonly kept: readonly {
    readonly file: string;
    readonly position: string;
    readonly reason: string | null;
    readonly at: number;
  }[];
  readonly counters: {
    readonly syncFull: number;
    readonly syncPartialOk: number;
    readonly syncPartialErr: number;
  };
}

export interface CheckAnswer {
  readonly decision: 'continue' | 'full-resync';
  readonly reason: string | null;
  readonly bytes: number;
  readonly notNow: string | null;
}

export interface FailoverAnswer {
  readonly master: string;
  readonly position: string;
  readonly heldMs: number;
  readonly replicas: readonly string[];
}

/** Calls one node, and follows its redirects of writes to the master. */
export class Client {
  readonly #base: string;

  /** @param base `http://HOST:PORT` */
  constructor(base: string) {
    this.#base = base.replace(/\/+$/, '');
  }

  /** @returns the bytes of the value; null: there is no such entry */
  async get(key: string): Promise<Uint8Array | null> {
    const response = await fetch(this.#keyUrl(key));
    if (response.ok) return new Uint8Array(await response.arrayBuffer());
    const problem = await problemOf(response);
    if (problem.code === 'NOT_FOUND') return null;
    throw problem;
  }

  async set(
    key: string,
    value: Uint8Array<ArrayBuffer> | string,
    options: SetOptions = {},
  ): Promise<Written> {
    const query = options.ttl === undefined ? '' : `?ttl=${options.ttl}`;
    return this.#json(this.#keyUrl(key) + query, { ...write('PUT', options), body: value });
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
    return this.#json(`${this.#keyUrl(key)}/append`, { ...write('POST', condition), body: value });
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
    const response = await fetch(this.#keyUrl(key), write('DELETE', condition));
    if (response.ok) {
      await response.body?.cancel();
      return true;
    }
    const problem = await problemOf(response);
    if (problem.code === 'NOT_FOUND') return false;
    throw problem;
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
    const response = await fetch(`${this.#base}/v1/export${query}`);
    if (!response.ok || response.body === null) throw await problemOf(response);
    return { position: response.headers.get('psync-position') ?? '', lines: response.body };
  }

  replication(): Promise<ReplicationAnswer> {
    return this.#json(`${this.#base}/v1/replication`, {});
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
    if (key === '.' || key === '..') throw new UnsendableKey(key);
    return `${this.#base}/v1/keys/${encodeURIComponent(key)}`;
  }

  async #json<T>(url: string, init: RequestInit): Promise<T> {
    const response = await fetch(url, init);
    if (!response.ok) throw await problemOf(response);
    return (await response.json()) as T;
  }
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

async function problemOf(response: Response): Promise<ApiError> {
  const text = await response.text();
  try {
    return new ApiError(response.status, JSON.parse(text) as Record<string, unknown>);
  } catch {
    const detail = `${response.url} does not answer like psyncd: HTTP status ${response.status}`;
    return new ApiError(response.status, { detail });
  }
}
