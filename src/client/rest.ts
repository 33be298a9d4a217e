/** A typed client of psyncd's REST API. It uses no code of the server, so it runs wherever there is `fetch`. */
import type {
  Appended,
  BatchAnswer,
  ExpiryAnswer,
  Incremented,
  ReplicationAnswer,
  Written,
} from './answers.ts';
import { badAnswer, bytesOf, jsonOf, orNull } from './api-error.ts';
import { isNumber, isTime } from './event.ts';
import { baseOf } from './follow-options.ts';
import { type Entry, textOrBytes, type Value } from './mirror/entry.ts';
import type { BatchOperation, Expiring } from './request/batch-operation.ts';
import { reading, writing } from './request/calls.ts';
import { exchange, type Read, type Sender } from './request/exchange.ts';
import type { AckOptions, CallOptions, ClientOptions, ReadOptions, WriteOptions } from './request/options.ts';
import { pathOf, sendable } from './request/sendable.ts';
import { unless } from './within.ts';

export type * from './answers.ts';
export type { BatchOperation } from './request/batch-operation.ts';
export type * from './request/options.ts';
export { UnsendableKey } from './request/sendable.ts';

/** Result of one operation of a batch; its members depend on the operation. */
export type BatchResult = BatchAnswer['results'][number];

/** One replica of the node, as `ReplicationAnswer` lists it. */
export type ReplicaAnswer = ReplicationAnswer['replicas'][number];

export interface SetOptions extends WriteOptions {
  /** Time to live in seconds. Without it the entry does not expire. */
  readonly ttl?: number | undefined;
}

/**
 * Calls one node, and follows its redirects of writes to the master; a page cannot follow them to another server, and needs the URL
 * of the master. `Client` of psyncd/client/full is the same with several nodes, time-outs and repetitions.
 * @typeParam More further options of each call
 */
export class Client<More extends object = object> {
  /** @internal */
  declare protected node: Sender;

  /**
   * @param url `http://HOST:PORT`; it may have a path, of a proxy in front of the node
   * @throws TypeError for a malformed URL
   */
  constructor(url: string, options: ClientOptions = {}) {
    const base = baseOf(url).replace(/^ws/i, 'http');
    this.node = {
      // Not everything on the way heeds the signal: a token function and a hook do not get it.
      send: (call, given, read) => unless(given?.signal, exchange(base, call, options, given?.signal, read)),
    };
  }

  /** @internal */
  protected write<T>(
    call: Parameters<typeof writing>[0],
    options: WriteOptions | undefined,
    read: Read<T> = jsonOf,
  ): Promise<T> {
    return this.node.send(writing(call, options), options, read);
  }

  /** @returns the bytes of the value; null: there is no such entry */
  async get(key: string, options?: ReadOptions & More): Promise<Uint8Array<ArrayBuffer> | null> {
    return this.node.send(reading(pathOf(key), options), options, orNull(bytesOf));
  }

  /** @returns value, version and expiry; null: there is no such entry */
  async entry(key: string, options?: ReadOptions & More): Promise<Entry | null> {
    const read = async (response: Response): Promise<Entry> => {
      const value = textOrBytes(await bytesOf(response));
      const numberIn = (name: string): number => Number(response.headers.get(name)?.replace(/\D+/g, ''));
      const version = numberIn('etag');
      const expiresAt = numberIn('psync-expires-at') || null;
      if (!version || !isNumber(version) || !isTime(expiresAt)) throw await badAnswer(response);
      return { key, value, version, expiresAt };
    };
    return this.node.send(reading(pathOf(key), options), options, orNull(read));
  }

  /** Sets a value: bytes as they are when it is called, whatever becomes of them. */
  async set(key: string, value: Value | Uint8Array, options?: SetOptions & More): Promise<Written> {
    const call = {
      method: 'PUT',
      path: pathOf(key),
      query: { ttl: options?.ttl },
      body: sendable(value),
    };
    return this.write(call, options);
  }

  /**
   * Adds to an integer; a missing entry counts as 0. The sum has 64 bits: beyond 2^53 `value` is the nearest number that JavaScript has,
   * `Number.isSafeInteger(value)` is false, and `get` returns all digits.
   * @param by a string of digits if it is beyond 2^53
   */
  async increment(key: string, by: number | string = 1, options?: WriteOptions & More): Promise<Incremented> {
    return this.write({ path: `${pathOf(key)}/increment`, json: { by } }, options);
  }

  /** Appends to the value; creates a missing entry. */
  async append(key: string, value: Value | Uint8Array, options?: WriteOptions & More): Promise<Appended> {
    return this.write({ path: `${pathOf(key)}/append`, body: sendable(value) }, options);
  }

  /** Applies a JSON Merge Patch to a JSON value: null removes a member. @throws ApiError `NOT_FOUND` if there is no entry */
  async patch(key: string, patch: unknown, options?: WriteOptions & More): Promise<Written> {
    const type = 'application/merge-patch+json';
    return this.write({ method: 'PATCH', path: pathOf(key), json: patch, type }, options);
  }

  /**
   * Lets an entry expire, or stay.
   * @param when `ttl` in seconds, or `expiresAt` in milliseconds since 1970; null: never
   * @returns null: there is no such entry
   */
  async expire(
    key: string,
    when: Expiring | null,
    options?: WriteOptions & More,
  ): Promise<ExpiryAnswer | null> {
    const call = { method: when ? 'PUT' : 'DELETE', path: `${pathOf(key)}/expiry`, json: when ?? undefined };
    return this.write(call, options, orNull(jsonOf<ExpiryAnswer>));
  }

  /** @returns whether the entry existed. After a cut the client deletes again, and then false may also mean that it did. */
  async delete(key: string, options?: WriteOptions & More): Promise<boolean> {
    return (await this.write({ method: 'DELETE', path: pathOf(key) }, options, orNull(jsonOf))) !== null;
  }

  /**
   * Runs several operations, all or nothing; `problem.op` of an ApiError is the index of the one that failed.
   * @param options.position the master has to have reached it before
   */
  batch(ops: readonly BatchOperation[], options?: AckOptions & ReadOptions & More): Promise<BatchAnswer> {
    return this.write({ path: '/v1/batch', query: { position: options?.position }, json: { ops } }, options);
  }

  /** Role, position, master and replicas of the node. */
  replication(options?: CallOptions & More): Promise<ReplicationAnswer> {
    return this.node.send({ path: '/v1/replication' }, options, jsonOf<ReplicationAnswer>);
  }
}
