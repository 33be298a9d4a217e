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
import { type Entry, textOrBytes, type Value } from './mirror/entry.ts';
import type { BatchOperation, Expiring } from './request/batch-operation.ts';
import { reading, writing } from './request/calls.ts';
import { exchange, type Sender } from './request/exchange.ts';
import type { AckOptions, CallOptions, ClientOptions, ReadOptions, WriteOptions } from './request/options.ts';
import { pathOf, sendable } from './request/sendable.ts';

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
  protected node: Sender;

  /** @param url `http://HOST:PORT` */
  constructor(url: string, options: ClientOptions = {}) {
    const base = url.replace(/\/+$/, '');
    this.node = {
      send: (call, given, read) => exchange(base, call, options, given?.signal, read),
    };
  }

  /** @returns the bytes of the value; null: there is no such entry */
  async get(key: string, options?: ReadOptions & More): Promise<Uint8Array<ArrayBuffer> | null> {
    return this.node.send(reading(pathOf(key), options), options, orNull(bytesOf));
  }

  /** @returns value, version and expiry; null: there is no such entry */
  async entry(key: string, options?: ReadOptions & More): Promise<Entry | null> {
    const read = async (response: Response): Promise<Entry> => {
      const value = textOrBytes(await bytesOf(response));
      const numberIn = (name: string): number => Number(response.headers.get(name)?.match(/\d+/)?.[0]);
      const version = numberIn('etag');
      if (!version) throw await badAnswer(response);
      return { key, value, version, expiresAt: numberIn('psync-expires-at') || null };
    };
    return this.node.send(reading(pathOf(key), options), options, orNull(read));
  }

  async set(key: string, value: Value | Uint8Array, options?: SetOptions & More): Promise<Written> {
    const query = { ttl: options?.ttl };
    return this.node.send(
      writing({ method: 'PUT', path: pathOf(key), query, body: sendable(value) }, options),
      options,
      jsonOf<Written>,
    );
  }

  /**
   * Adds to an integer; a missing entry counts as 0.
   * @param by a string of digits if it is beyond 2^53
   */
  async increment(key: string, by: number | string = 1, options?: WriteOptions & More): Promise<Incremented> {
    return this.node.send(
      writing({ path: `${pathOf(key)}/increment`, json: { by } }, options),
      options,
      jsonOf<Incremented>,
    );
  }

  /** Appends to the value; creates a missing entry. */
  async append(key: string, value: Value | Uint8Array, options?: WriteOptions & More): Promise<Appended> {
    return this.node.send(
      writing({ path: `${pathOf(key)}/append`, body: sendable(value) }, options),
      options,
      jsonOf<Appended>,
    );
  }

  /** Applies a JSON Merge Patch to a JSON value: null removes a member. */
  async patch(key: string, patch: unknown, options?: WriteOptions & More): Promise<Written> {
    const type = 'application/merge-patch+json';
    return this.node.send(
      writing({ method: 'PATCH', path: pathOf(key), json: patch, type }, options),
      options,
      jsonOf<Written>,
    );
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
    const path = `${pathOf(key)}/expiry`;
    const call = when === null ? { method: 'DELETE', path } : { method: 'PUT', path, json: when };
    return this.node.send(writing(call, options), options, orNull(jsonOf<ExpiryAnswer>));
  }

  /** @returns whether the entry existed. After a cut the client deletes again, and then false may also mean that it did. */
  async delete(key: string, options?: WriteOptions & More): Promise<boolean> {
    const call = writing({ method: 'DELETE', path: pathOf(key) }, options);
    return (await this.node.send(call, options, orNull(jsonOf))) !== null;
  }

  /**
   * Runs several operations, all or nothing; `problem.op` of an ApiError is the index of the one that failed.
   * @param options.position the master has to have reached it before
   */
  batch(ops: readonly BatchOperation[], options?: AckOptions & ReadOptions & More): Promise<BatchAnswer> {
    return this.node.send(
      writing({ path: '/v1/batch', query: { position: options?.position }, json: { ops } }, options),
      options,
      jsonOf<BatchAnswer>,
    );
  }

  /** Role, position, master and replicas of the node. */
  replication(options?: CallOptions & More): Promise<ReplicationAnswer> {
    return this.node.send({ path: '/v1/replication' }, options, jsonOf<ReplicationAnswer>);
  }
}
