/** A `Client` that finds a node that answers, gives it a time, and repeats what failed. */
import type { DeletedMany, DiffAnswer, Imported, KeyPage } from '../answers.ts';
import { ApiError, checkAnswer, jsonOf } from '../api-error.ts';
import { compareKeys } from '../collection/key-order.ts';
import { isEntry, isKey, type SentEntry } from '../event.ts';
import { MAX_LIMIT } from '../follow-options.ts';
import { type Entry, entryOf } from '../mirror/entry.ts';
import type { ByteStream } from '../platform.ts';
import { parsePosition } from '../position.ts';
import { reading } from '../request/calls.ts';
import type { Call } from '../request/exchange.ts';
import type { AckOptions, ReadOptions } from '../request/options.ts';
import { sendable } from '../request/sendable.ts';
import { Client as PageClient } from '../rest.ts';
import type { FullCallOptions, FullClientOptions } from './full-options.ts';
import { Requester } from './requester.ts';

export interface PageOptions extends ReadOptions, FullCallOptions {
  /** Only keys that begin with it. */
  readonly prefix?: string | undefined;
  /** Only keys after this one. */
  readonly after?: string | undefined;
  /** Largest number of entries of a page: 1 to 1,000; default 100. `entries` reads all pages, whatever it is. */
  readonly limit?: number | undefined;
}

/** What a difference is asked for. */
export type DiffQuery = {
  /** Position since which the changes count. */
  readonly from: string;
  /** Position until which they count; without it until now. With `after` it is needed. */
  readonly to?: string | undefined;
  /** Only keys that begin with it. */
  readonly prefix?: string | undefined;
  /** Only keys after this one: `next` of the page before. */
  readonly after?: string | undefined;
  /** Largest number of keys of the page: 1 to 1,000, which is the default. */
  readonly limit?: number | undefined;
};

/** @throws ApiError for a page of something else than entries in their order, and for one that leads no further */
function must(isRight: boolean): void {
  if (!isRight) throw new ApiError(200, { detail: 'page out of order' });
}

/** Most pages without entries that `entries` reads one after the other. A node leaves out up to 2,000 expired entries in each. */
const MAX_EMPTY_PAGES = 10_000;

/**
 * Calls a node, or one of several with the same data, and the master for writes. It has all calls of `Client` of psyncd/client, which
 * is `PageClient` here.
 *
 * A failed call is repeated after a pause (as long as the node says in `Retry-After`, else 0.5 s, doubled each time), and at the
 * next URL, if that cannot carry a write out twice:
 * - any call that a node has refused before it did anything: `LOADING`, `NOREPLICAS`, `SHUTTING_DOWN`, `TOO_MANY_REQUESTS`; and once
 *   more at once after `UNAUTHORIZED` if the token is a function;
 * - after a cut, a time-out, or another answer of 502 to 504: reads, and `set`, `expire` and `delete` without a condition. With a
 *   condition, the second try could fail because the first did not. After an answer that is not psyncd's, or not the master's, the
 *   same calls, but only at another URL.
 *
 * `deletePrefix` and `import`, which a node may have carried out in part, are sent once. A node that wants a pause of more than 10 s
 * is not asked again.
 */
export class Client extends PageClient<FullCallOptions> {
  /** @internal */
  declare protected node: Requester;

  /**
   * @param urls `http://HOST:PORT` of a node, or of several with the same data. The client uses the first one until that fails,
   * then the next. It remembers the master, which it knows from the redirect of a replica.
   * @throws TypeError for a malformed URL or a wrong option
   */
  constructor(urls: string | readonly string[], options: FullClientOptions = {}) {
    const all = [urls].flat();
    super(all[0] as string, options);
    this.node = new Requester(all, options);
  }

  /**
   * Position after the last write of this client, for which its reads wait with `readOwnWrites`; null: there is none. Set it to null if
   * a promotion has lost the write, or to the position of another client whose writes this one has to read.
   */
  get position(): string | null {
    return this.node.position;
  }

  /** @throws TypeError for what is no position */
  set position(position: string | null) {
    if (position !== null && !parsePosition(position)) throw new TypeError(`${position} is no position`);
    this.node.position = position;
  }

  /**
   * Yields the entries in the order of their keys' UTF-8 bytes. It reads page after page, each as it is then.
   * @throws ApiError `BAD_ANSWER` too if a page does not come after the one before, or has a key without the prefix, and
   * after more than 10,000 pages without entries
   */
  async *entries(options: PageOptions = {}): AsyncGenerator<Entry, void, undefined> {
    const { prefix = '' } = options;
    let { after } = options;
    let last = after ?? '';
    /** Number of pages without entries since the last one with some. */
    let empty = 0;
    for (;;) {
      const { keys, next }: KeyPage = await this.page({ ...options, after, values: true });
      must(Array.isArray(keys));
      for (const entry of keys) {
        must(isEntry(entry, [prefix]) && compareKeys(entry.key, last) > 0);
        last = entry.key;
        yield entryOf(entry as SentEntry);
      }
      if (next === null) return;
      empty = keys[0] ? 0 : empty + 1;
      // A page may have no entries, because they have expired. But neither pages that lead back nor ones that only lead on may keep the
      // caller reading for ever.
      must(empty <= MAX_EMPTY_PAGES && isKey(next, [prefix]) && compareKeys(next, after ?? '') > 0);
      after = next;
    }
  }

  /**
   * Reads one page of entries.
   * @param options.values whether the page has the values too
   */
  page(options: PageOptions & { readonly values?: boolean | undefined } = {}): Promise<KeyPage> {
    const { prefix, after, limit, values } = options;
    const call = reading('/v1/keys', options, { prefix, after, limit, values });
    return this.node.send(call, options, jsonOf<KeyPage>);
  }

  /**
   * Reads one page of the keys that were added, changed and removed between two positions.
   * @throws ApiError `POSITION_LOST` if the node no longer has the stream after the first one
   */
  diff(query: DiffQuery, options?: ReadOptions & FullCallOptions): Promise<DiffAnswer> {
    const call = reading('/v1/diff', options, query);
    return this.node.send(call, options, jsonOf<DiffAnswer>);
  }

  /**
   * Deletes all entries whose keys begin with a text.
   * @param prefix not empty
   */
  deletePrefix(prefix: string, options?: AckOptions & FullCallOptions): Promise<DeletedMany> {
    return this.deleteMany({ prefix }, options);
  }

  /** @internal */
  protected deleteMany(
    query: NonNullable<Call['query']>,
    options: (AckOptions & FullCallOptions) | undefined,
  ): Promise<DeletedMany> {
    return this.write({ method: 'DELETE', path: '/v1/keys', query, isSingle: true }, options);
  }

  /**
   * @param lines NDJSON. A replica cannot redirect a stream: unless this client has written before, its node has to be the master.
   */
  import(lines: ByteStream | string, options: AckOptions & FullCallOptions = {}): Promise<Imported> {
    const body =
      typeof lines === 'string'
        ? { body: sendable(lines) }
        : { body: lines, duplex: 'half' as const, redirect: 'error' as const };
    // A stream may take as long as a timer can be set.
    return this.write(
      { path: '/v1/import', type: 'application/x-ndjson', isSingle: true, ...body },
      { timeoutMs: MAX_LIMIT, ...options },
    );
  }

  /**
   * @param prefix of the keys; empty: all keys
   * @returns NDJSON that `import` accepts, all at one position
   */
  export(
    prefix = '',
    options?: ReadOptions & FullCallOptions,
  ): Promise<{ readonly position: string; readonly lines: ByteStream }> {
    const call = reading('/v1/export', options, { prefix });
    return this.node.send(call, options, async (response) => {
      await checkAnswer(response, 'application/x-ndjson');
      const position = response.headers.get('psync-position') as string;
      return { position, lines: response.body as ByteStream };
    });
  }
}
