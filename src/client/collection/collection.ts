/// <reference lib="esnext.disposable" preserve="true" />
/**
 * Entries of a mirror as a page wants them: those with a prefix, in the order of their keys, with typed values. Any
 * number of collections share one mirror, and so one connection.
 *
 * A collection keeps its entries as a sorted array. Changes are noted, and the next reading merges them into a new
 * array: the cost is that of copying the array, and sorting only what has changed. Values are decoded when they are
 * first read, once for each version.
 */
import type { Entry, Value } from '../mirror/entry.ts';
import type { MirrorState } from '../mirror/mirror-events.ts';
import { type ChangeListener, type EntryFilter, Subscriptions } from '../mirror/subscriptions.ts';
import { call } from '../report.ts';
import { type Decode, decoderOf, type StandardSchema } from './decoder.ts';
import { compareKeys } from './key-order.ts';
import { byKey, firstAt, merged } from './sorted-entries.ts';
import type { EntrySource } from './source.ts';

/** Number of noted changes, beyond half the number of entries, from which the next reading looks at all entries. */
const MAX_MORE_CHANGES = 1_000;

/** An entry with its typed value, and whatever else its source says of it. */
export type TypedEntry<T, Source extends Entry = Entry> = Omit<Source, 'value'> & { readonly value: T };

/** A value that does not decode. */
export interface DecodeFault {
  readonly key: string;
  /** The entry as the node has it. */
  readonly entry: Entry;
  /** What the function has thrown, or a TypeError that names what the schema says. */
  readonly error: unknown;
}

export interface CollectionOptions {
  /** Only keys with this prefix; default: all keys of the mirror. */
  readonly prefix?: string | undefined;
  /**
   * Called once for each version of an entry that is read and does not decode. Default: it is reported as an uncaught
   * error of the page, and in Node on the console.
   */
  readonly onFault?: ((fault: DecodeFault) => void) | undefined;
}

/**
 * @param source a mirror that has the prefix; many collections may share it
 * @param options.decode makes the typed value: a function of the value, or a schema (Standard Schema: zod, valibot,
 * arktype …), which gets the value parsed as JSON
 */
export function collection<T, Source extends Entry = Entry>(
  source: EntrySource<Source>,
  options: CollectionOptions & { readonly decode: StandardSchema<T> },
): Collection<T, Source>;
export function collection<T, Source extends Entry = Entry>(
  source: EntrySource<Source>,
  options: CollectionOptions & { readonly decode: Decode<T> },
): Collection<T, Source>;
export function collection<Source extends Entry = Entry>(
  source: EntrySource<Source>,
  options?: CollectionOptions & { readonly decode?: undefined },
): Collection<Value, Source>;
export function collection(
  source: EntrySource,
  options: CollectionOptions & { readonly decode?: Decode<unknown> | StandardSchema | undefined } = {},
): Collection<unknown> {
  return new Collection(source, options);
}

export class Collection<T = Value, Source extends Entry = Entry> {
  /** The array of `snapshot` is in the order of the keys. */
  readonly isSorted = true;
  readonly #source: EntrySource<Source>;
  readonly #prefix: string;
  readonly #decode: Decode<T> | undefined;
  readonly #onFault: (fault: DecodeFault) => void;
  /** The typed entry of each entry that was read; undefined: it has a fault. */
  readonly #decoded = new WeakMap<Source, TypedEntry<T, Source> | undefined>();
  readonly #faults = new WeakMap<Source, DecodeFault>();
  readonly #subscriptions = new Subscriptions();
  /** Holds this collection once for each listener. */
  readonly #listenedTo = new Map<object, Collection<T, Source>>();
  readonly #end: () => void;
  /** Revision of the source up to which changes are noted. */
  #seen: number;
  #revision = 0;
  /** The entries at the last reading, in order; null: they have to be looked at anew. */
  #entries: readonly TypedEntry<T, Source>[] | null = null;
  /** Time of that reading, in milliseconds since 1970: what had expired then may be there again if the clock is set back. */
  #from = 0;
  /** Time until which none of them expires, in milliseconds since 1970. */
  #until = Number.POSITIVE_INFINITY;
  /** Keys that have changed since. */
  readonly #changed = new Set<string>();

  constructor(
    source: EntrySource<Source>,
    options: CollectionOptions & { readonly decode?: Decode<T> | StandardSchema<T> | undefined } = {},
  ) {
    const { prefix = '', decode, onFault = throwFault } = options;
    this.#source = source;
    this.#prefix = prefix;
    this.#decode = decode && decoderOf(decode);
    this.#onFault = onFault;
    this.#seen = source.revision;
    // A collection that nobody holds and nobody listens to must not live as long as its mirror.
    const weak = new WeakRef(this);
    const listenedTo = this.#listenedTo;
    const end = source.subscribe((changes) => {
      const collection = listenedTo.values().next().value ?? weak.deref();
      if (collection === undefined) end();
      else collection.#note(changes);
    });
    this.#end = end;
  }

  /** @returns the typed value; undefined: there is no such entry, it has expired, or its value does not decode */
  get(key: string): T | undefined {
    return this.getEntry(key)?.value;
  }

  /** @returns value, version and expiry; undefined as for `get` */
  getEntry(key: string): TypedEntry<T, Source> | undefined {
    return this.#typed(this.#sourceEntry(key));
  }

  has(key: string): boolean {
    return this.getEntry(key) !== undefined;
  }

  /** @returns why `get` has no value, if there is an entry whose value does not decode */
  fault(key: string): DecodeFault | undefined {
    const entry = this.#sourceEntry(key);
    this.#typed(entry);
    return entry && this.#faults.get(entry);
  }

  /** Number of entries whose values decode. */
  get size(): number {
    return this.#sorted().length;
  }

  /**
   * Yields entries in the order of their keys, which is that of a node's pages: by the bytes of their UTF-8. What
   * changes meanwhile is not seen.
   * @param range.prefix only keys with this prefix
   * @param range.after only keys behind this one
   */
  *entries(
    range: { readonly prefix?: string | undefined; readonly after?: string | undefined } = {},
  ): IterableIterator<TypedEntry<T, Source>> {
    const { prefix = '', after } = range;
    const sorted = this.#sorted();
    let at = firstAt(sorted, prefix);
    if (after !== undefined) at = Math.max(at, firstAt(sorted, `${after}\0`));
    for (; at < sorted.length; at += 1) {
      const entry = sorted[at] as TypedEntry<T, Source>;
      if (!entry.key.startsWith(prefix)) return;
      yield entry;
    }
  }

  /** Yields keys in their order; the parameter is that of `entries`. */
  *keys(range: Parameters<this['entries']>[0] = {}): IterableIterator<string> {
    for (const { key } of this.entries(range)) yield key;
  }

  /**
   * @returns all entries in the order of their keys: the same array as long as none of them changes or expires, with
   * the same object for each entry that has not changed. It needs no `this`.
   */
  readonly snapshot = (): readonly TypedEntry<T, Source>[] => this.#sorted();

  /**
   * Calls the listener when entries of the collection have changed or expired, once for all that change together. It
   * needs no `this`.
   * @param filter `{ key }`, or `{ prefix }` of the keys; default: all entries of the collection
   * @returns a function that removes the listener
   */
  readonly subscribe = (listener: ChangeListener, filter: EntryFilter = {}): (() => void) => {
    const end = this.#subscriptions.add(listener, filter);
    this.#listenedTo.set(end, this);
    return () => {
      this.#listenedTo.delete(end);
      end();
    };
  };

  /** A number that changes whenever entries of the collection change or expire. */
  get revision(): number {
    this.#look();
    return this.#revision;
  }

  /** Prefixes of the keys that the mirror holds. */
  get prefixes(): readonly string[] | undefined {
    return this.#source.prefixes;
  }

  /**
   * @param entry of a mirror, such as one that a server has rendered
   * @returns what `getEntry` would return if the mirror had it; undefined: the key has another prefix, or the value does not
   * decode
   */
  typed(entry: Source): TypedEntry<T, Source> | undefined {
    return this.#typed(entry.key.startsWith(this.#prefix) ? entry : undefined);
  }

  /** Position of the mirror's copy; null: it has none yet. */
  get position(): string | null {
    return this.#source.position;
  }

  /** State of the mirror. */
  get state(): MirrorState {
    return this.#source.state;
  }

  /** Calls the listener for each state of the mirror. */
  on(name: 'state', listener: (state: MirrorState) => void): () => void {
    return this.#source.on(name, listener);
  }

  /** Ends the subscriptions; the mirror goes on. A collection that is not held any more needs no call. */
  [Symbol.dispose](): void {
    this.#listenedTo.clear();
    this.#end();
  }

  #sourceEntry(key: string): Source | undefined {
    return key.startsWith(this.#prefix) ? this.#source.getEntry(key) : undefined;
  }

  #typed(entry: Source | undefined): TypedEntry<T, Source> | undefined {
    const decode = this.#decode;
    if (entry === undefined) return undefined;
    // Without a decoder T is the type of the entry's value.
    if (decode === undefined) return entry as unknown as TypedEntry<T, Source>;
    if (!this.#decoded.has(entry)) {
      const { key } = entry;
      let typed: TypedEntry<T, Source> | undefined;
      try {
        typed = Object.freeze({ ...entry, value: decode(entry.value, key) });
      } catch (error) {
        const fault = Object.freeze({ key, entry, error });
        this.#faults.set(entry, fault);
        // A page may be rendering now, and must not be called from within.
        queueMicrotask(() => call(this.#onFault, fault));
      }
      this.#decoded.set(entry, typed);
    }
    return this.#decoded.get(entry);
  }

  #note(changes: Iterable<{ readonly key: string }>): void {
    this.#seen = this.#source.revision;
    const isListenedTo = this.#listenedTo.size > 0;
    const own: { readonly key: string }[] = [];
    for (const change of changes) {
      if (!change.key.startsWith(this.#prefix)) continue;
      own.push(change);
      if (this.#entries === null) {
        // Nobody asks what else has changed.
        if (!isListenedTo) break;
      } else {
        this.#changed.add(change.key);
        if (this.#changed.size > this.#entries.length / 2 + MAX_MORE_CHANGES) this.#forget();
      }
    }
    if (own.length === 0) return;
    this.#revision += 1;
    if (isListenedTo) this.#subscriptions.notify(own);
  }

  #forget(): void {
    this.#entries = null;
    this.#changed.clear();
  }

  /** Notices changes that the source has not told yet, because it is still telling others. */
  #look(): void {
    const { revision } = this.#source;
    if (this.#seen === revision) return;
    this.#seen = revision;
    this.#revision += 1;
    this.#forget();
  }

  #sorted(): readonly TypedEntry<T, Source>[] {
    this.#look();
    const now = Date.now();
    if (now < this.#from) this.#forget();
    if (this.#entries === null) {
      this.#keep(this.#allSorted());
    } else if (this.#changed.size > 0) {
      const keys = [...this.#changed].sort(compareKeys);
      this.#changed.clear();
      this.#keep(merged(this.#entries, keys, (key) => this.getEntry(key)));
    } else if (now >= this.#until) this.#keep(this.#entries);
    return this.#entries ?? [];
  }

  #allSorted(): readonly TypedEntry<T, Source>[] {
    const entries: TypedEntry<T, Source>[] = [];
    // Nodes and storages mostly have them in order already.
    let isSorted = true;
    let last = '';
    for (const each of this.#source.snapshot()) {
      if (!each.key.startsWith(this.#prefix)) continue;
      const entry = this.#typed(each);
      if (entry === undefined) continue;
      isSorted &&= compareKeys(last, each.key) <= 0;
      last = each.key;
      entries.push(entry);
    }
    return isSorted ? entries : entries.sort(byKey);
  }

  /** Keeps the entries that have not expired. */
  #keep(entries: readonly (TypedEntry<T, Source> & { readonly isPending?: boolean })[]): void {
    const now = Date.now();
    this.#entries = Object.freeze(entries);
    this.#from = now;
    this.#until = Number.POSITIVE_INFINITY;
    for (const { expiresAt, isPending } of entries) {
      // A pending write shows its entry for as long as it is pending.
      if (expiresAt !== null && expiresAt < this.#until && (expiresAt > now || !isPending))
        this.#until = expiresAt;
    }
    if (this.#until > now) return;
    this.#keep(
      entries.filter(({ expiresAt, isPending }) => isPending || expiresAt === null || expiresAt > now),
    );
  }
}

/** Reports a fault as an error that nobody has caught. */
function throwFault({ key, error }: DecodeFault): never {
  throw new Error(`the value of ${JSON.stringify(key)} does not decode`, { cause: error });
}
