/// <reference lib="esnext.disposable" preserve="true" />
/**
 * Shows writes at once, before the node has carried them out. A pending write lies above the mirror's entries until the
 * mirror has reached the write's position; then the mirror's entry is shown again. If the node refuses the write, what it
 * has changed is gone at once, and its promise rejects.
 *
 *   waiting ──its turn──► sent ──answer──► accepted ──the mirror reaches the position──► over: the promise resolves
 *      │                    └──refusal──┐     └──its history has ended, or stays unknown──┐
 *      └──signal, close────────────────►┴────────────────────────────────────────────────►┴─► over: the promise rejects
 *
 * A request goes on when its write is over before the answer, because it may still be carried out; the next write of the
 * key is sent when it has ended.
 *
 * Over 350 lines: it has the members of a mirror, each with its documentation, and the transitions of the picture above.
 */
import type { EntrySource } from '../collection/source.ts';
import { checkedLimit } from '../follow-options.ts';
import type { Entry, Value } from '../mirror/entry.ts';
import { Listeners } from '../mirror/listeners.ts';
import type { Mirror } from '../mirror/mirror.ts';
import { MirrorClosedError, type MirrorState } from '../mirror/mirror-events.ts';
import { type ChangeListener, type EntryFilter, Subscriptions } from '../mirror/subscriptions.ts';
import { type ParsedPosition, parsePosition } from '../position.ts';
import { sendable } from '../request/sendable.ts';
import type { Condition, SetOptions } from '../rest.ts';
import { connected } from './connected.ts';
import {
  LostBasisError,
  type OptimisticEvents,
  type OptimisticOptions,
  type WriteOptions,
} from './optimistic-options.ts';
import {
  type Accepted,
  hasEffect,
  type Operation,
  type OptimisticEntry,
  type PendingWrite,
} from './pending-write.ts';
import { type SendingOptions, sent, UncertainWriteError, type Writer } from './sending.ts';
import { WriteQueue } from './write-queue.ts';

/** Most requests at a time: browsers open no more connections to one server. */
const MAX_SENT = 6;
/** Most keys with requests under way, also those of writes that are over: then no other write is sent. */
export const MAX_UNDER_WAY = 24;
/** Time that one attempt to send a write may take, in milliseconds. */
const ANSWER_MS = 30_000;
/** Longest such time: a timer accepts its double. */
const MAX_ANSWER_MS = 1e9;

/**
 * @param mirror holds the keys that are written
 * @param writer carries the writes out: a `Client` of the same nodes
 * @throws TypeError for a limit that is not a positive number
 */
export function optimistic(
  mirror: Mirror,
  writer: Writer,
  options: OptimisticOptions = {},
): OptimisticMirror {
  return new OptimisticMirror(mirror, writer, options);
}

export class OptimisticMirror implements EntrySource<OptimisticEntry> {
  readonly #mirror: Mirror;
  readonly #sending: SendingOptions;
  readonly #queue = new WriteQueue();
  /** Writes that the mirror has not reached, with their positions. */
  readonly #accepted = new Map<PendingWrite, ParsedPosition>();
  readonly #listeners = new Listeners<OptimisticEvents>();
  readonly #subscriptions = new Subscriptions();
  readonly #closing = new AbortController();
  readonly #ends: readonly (() => void)[];
  /** Keys whose pending writes are over, while the mirror tells its own changes. */
  readonly #untold = new Set<string>();
  #sentNow = 0;
  #lastId = 0;
  #toldPending = 0;
  #ownRevision = 0;
  #snapshot: {
    readonly of: readonly Entry[];
    readonly at: number;
    readonly entries: readonly OptimisticEntry[];
  } = { of: [], at: -1, entries: [] };

  constructor(mirror: Mirror, writer: Writer, options: OptimisticOptions) {
    this.#mirror = mirror;
    const answerMs = Math.min(
      Math.ceil(checkedLimit('answerMs', options.answerMs, ANSWER_MS)),
      MAX_ANSWER_MS,
    );
    this.#sending = {
      writer,
      answerMs,
      failed: (key, error) => this.#listeners.emit('unanswered', { key, error }),
      connected: (signal) => connected(mirror, signal),
      requested: (key, request) => this.#queue.requested(key, request).then(() => this.#send()),
      closing: this.#closing.signal,
    };
    this.#ends = [
      mirror.on('position', ({ position }) => this.#reached(position)),
      mirror.subscribe((changes) => this.#tell(changes)),
      mirror.on('state', (state) => this.#stateChanged(state)),
    ];
    this.#stateChanged(mirror.state);
  }

  /**
   * Sets a value; without `ttl` the entry does not expire.
   * @returns once the mirror has the write
   * @throws ApiError of the node; UncertainWriteError; LostPositionError; LostBasisError; TooManyWritesError; TypeError
   * for what cannot be sent; the signal's reason; MirrorClosedError
   */
  set(key: string, value: Value, options: SetOptions & WriteOptions = {}): Promise<Accepted> {
    return this.#write(key, () => ({ kind: 'set', value: sendable(value), ttl: options.ttl }), options);
  }

  /** Deletes an entry, if it exists. Returns and throws as `set`. */
  delete(key: string, options: Pick<Condition, 'ifVersion'> & WriteOptions = {}): Promise<Accepted> {
    return this.#write(key, () => ({ kind: 'delete' }), options);
  }

  /** Applies a JSON Merge Patch to a JSON value: null removes a member. Returns and throws as `set`. */
  patch(key: string, patch: unknown, options: Condition & WriteOptions = {}): Promise<Accepted> {
    return this.#write(key, () => ({ kind: 'patch', patch: JSON.parse(JSON.stringify(patch)) }), options);
  }

  /** Prefixes of the keys that the mirror holds. */
  get prefixes(): readonly string[] {
    return this.#mirror.prefixes;
  }

  /** Number of pending writes: above 0, a page that closes may lose some. */
  get pending(): number {
    return this.#queue.length;
  }

  /** @returns text, or bytes if the value is not valid UTF-8; undefined: there is no such entry, or it has expired */
  get(key: string): Value | undefined {
    return this.getEntry(key)?.value;
  }

  /** @returns the entry with the pending writes */
  getEntry(key: string): OptimisticEntry | undefined {
    return this.#queue.shown(key, this.#mirror.getEntry(key));
  }

  has(key: string): boolean {
    return this.getEntry(key) !== undefined;
  }

  /** Yields all entries, in no particular order. */
  entries(): IterableIterator<OptimisticEntry> {
    return this.snapshot().values();
  }

  /** @returns all entries, in no particular order; the same array as long as none of them changes. It needs no `this`. */
  readonly snapshot = (): readonly OptimisticEntry[] => {
    const of = this.#mirror.snapshot();
    const at = this.#ownRevision;
    if (this.#queue.length === 0) return of;
    if (this.#snapshot.of !== of || this.#snapshot.at !== at) {
      const keys = new Set(this.#queue.keys);
      const others = of.filter(({ key }) => !keys.has(key));
      const entries = Object.freeze([...others, ...[...keys].flatMap((key) => this.getEntry(key) ?? [])]);
      this.#snapshot = { of, at, entries };
    }
    return this.#snapshot.entries;
  };

  /** Calls the listener when entries or their pending writes change, as `subscribe` of the mirror. It needs no `this`. */
  readonly subscribe = (listener: ChangeListener, filter: EntryFilter = {}): (() => void) =>
    this.#subscriptions.add(listener, filter);

  /** A number that changes whenever entries or pending writes change. */
  get revision(): number {
    return this.#mirror.revision + this.#ownRevision;
  }

  /** Position of the mirror's copy; null: it has none yet. */
  get position(): string | null {
    return this.#mirror.position;
  }

  /** State of the mirror. */
  get state(): MirrorState {
    return this.#mirror.state;
  }

  /** @returns a function that removes the listener */
  on<Name extends keyof OptimisticEvents>(
    name: Name,
    listener: (event: OptimisticEvents[Name]) => void,
  ): () => void {
    return this.#listeners.on(name, listener);
  }

  /** Gives up all pending writes; the mirror goes on. */
  [Symbol.dispose](): void {
    for (const end of this.#ends) end();
    this.#close(new MirrorClosedError());
  }

  /** @param operationOf throws for what cannot be sent */
  #write(
    key: string,
    operationOf: () => Operation,
    { ifAbsent, ifVersion, signal }: Condition & WriteOptions,
  ): Promise<Accepted> {
    const done = Promise.withResolvers<Accepted>();
    // An application that listens to `refused` need not look at each promise.
    done.promise.catch(() => undefined);
    try {
      this.#signalOf({ signal }).throwIfAborted();
      sendable(key);
      if (!this.prefixes.some((prefix) => key.startsWith(prefix))) {
        throw new TypeError(`the mirror does not hold ${JSON.stringify(key)}`);
      }
      this.#lastId += 1;
      const write: PendingWrite = {
        id: this.#lastId,
        key,
        operation: operationOf(),
        condition: { ifAbsent, ifVersion },
        madeAt: Date.now(),
        done,
        signal,
        stage: 'waiting',
        accepted: null,
      };
      this.#queue.add(write);
      const abort = (): void => this.#refuse(signal?.reason, write);
      signal?.addEventListener('abort', abort);
      done.promise.finally(() => signal?.removeEventListener('abort', abort)).catch(() => undefined);
      this.#tell([write]);
      this.#send();
      return write.done.promise;
    } catch (error) {
      done.reject(error);
    }
    return done.promise;
  }

  #send(): void {
    while (this.#sentNow < MAX_SENT && this.#queue.underWay < MAX_UNDER_WAY) {
      const write = this.#queue.next();
      if (write === undefined) return;
      this.#sentNow += 1;
      this.#sendOne(write)
        .then((accepted) => this.#accept(write, accepted))
        .catch((error: unknown) => this.#refuse(error, write))
        .finally(() => {
          this.#sentNow -= 1;
          this.#send();
        });
    }
  }

  async #sendOne(write: PendingWrite): Promise<Accepted> {
    const { key, condition } = write;
    const { ifVersion: shown } = condition;
    const ifVersion = shown && this.#queue.versionOf(shown);
    if (shown !== undefined && typeof ifVersion !== 'number') throw new LostBasisError(key);
    return sent(
      write,
      { ...condition, ifVersion: ifVersion ?? undefined },
      this.#sending,
      this.#signalOf(write),
    );
  }

  /** Aborts with the write, and with all of them. */
  #signalOf({ signal }: Pick<PendingWrite, 'signal'>): AbortSignal {
    const closing = this.#closing.signal;
    return AbortSignal.any([closing, signal ?? closing]);
  }

  #accept(write: PendingWrite, accepted: Accepted): void {
    if (write.stage === 'over') return;
    const position = parsePosition(accepted?.position);
    if (position === null) {
      this.#refuse(new TypeError('the answer has no position'), write);
      return;
    }
    this.#queue.accepted(write, accepted);
    this.#accepted.set(write, position);
    this.#reached(this.#mirror.position);
    this.#tell([write]);
  }

  /** Refuses those of the writes that are not over, and tells it once, however many they are. */
  #refuse(error: unknown, ...writes: readonly PendingWrite[]): void {
    const refused = writes.filter(({ stage }) => stage !== 'over');
    for (const write of refused) {
      this.#over(write);
      write.done.reject(error);
    }
    this.#tell(refused);
    for (const { key } of refused) this.#listeners.emit('refused', { key, error });
    this.#send();
  }

  #over(write: PendingWrite): void {
    this.#queue.end(write);
    this.#accepted.delete(write);
  }

  /** The mirror is at a position: it may have accepted writes. */
  #reached(position: string | null): void {
    const at = parsePosition(position);
    if (at === null) return;
    for (const [write, { runId, offset }] of this.#accepted) {
      if (runId !== at.runId) this.#waitAcross(write);
      else if (offset <= at.offset) this.#confirm(write);
    }
  }

  /** Waits for the position of a write in another history, of which the mirror asks its node. */
  #waitAcross(write: PendingWrite): void {
    const { key } = write;
    const { position } = write.accepted as Accepted;
    this.#accepted.delete(write);
    const time = AbortSignal.timeout(this.#sending.answerMs);
    const signal = AbortSignal.any([this.#signalOf(write), time]);
    this.#mirror
      .waitFor(position, { signal })
      .catch((error: unknown) => {
        if (!time.aborted) throw error;
        // Nothing says whether the copy has the write, but it may have the same value.
        if (!hasEffect(write, this.#mirror.getEntry(key))) throw new UncertainWriteError(key, error);
      })
      .then(
        () => this.#confirm(write),
        (error: unknown) => this.#refuse(error, write),
      );
  }

  #confirm(write: PendingWrite): void {
    if (write.stage === 'over') return;
    this.#over(write);
    write.done.resolve(write.accepted as Accepted);
    this.#ownRevision += 1;
    // The mirror tells its own changes next, with which this belongs together.
    this.#untold.add(write.key);
    queueMicrotask(() => this.#tell([]));
  }

  /** Tells the subscribers what has changed in the mirror and in the pending writes, and whose writes are over. */
  #tell(changes: Iterable<{ readonly key: string }>): void {
    for (const { key } of changes) this.#untold.add(key);
    if (this.#untold.size === 0) return;
    this.#ownRevision += 1;
    const told = [...this.#untold].map((key) => ({ key }));
    this.#untold.clear();
    this.#subscriptions.notify(told);
    const { pending } = this;
    if (pending === this.#toldPending) return;
    this.#toldPending = pending;
    this.#listeners.emit('pending', { pending });
  }

  #stateChanged(state: MirrorState): void {
    if (state.kind === 'failed') this.#close(state.error);
    if (state.kind === 'closed') this.#close(new MirrorClosedError());
    this.#listeners.emit('state', state);
  }

  #close(reason: Error): void {
    this.#closing.abort(reason);
    this.#refuse(reason, ...this.#queue.all());
  }
}
