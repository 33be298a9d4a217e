/**
 * The head of the stream: the place where bytes are added to it, and the only code that moves the offset.
 *
 * Both kinds of node come through `commit`: a master with the effects of a write turn, a replica with what its
 * master sent. The order inside is the promise of the product:
 *   1. journal, and if that fails nothing has happened;
 *   2. overlay, backlog, applier;
 *   3. listeners (the sessions that pass the bytes on).
 * So no reader ever gets a byte that is not in the journal.
 *
 * It also keeps the applier busy: it seals the overlay's newest generation when that is old or large, asks the
 * applier to commit it, and trims the journal behind it.
 */

import { type Entry, isLive, type Outline, outlineOf } from '../../keyspace/entry.ts';
import { ChunkPool } from '../../keyspace/overlay/chunk-pool.ts';
import { Overlay } from '../../keyspace/overlay/overlay.ts';
import { type ListedEntry, type Page, type PageRequest, readPage } from '../../keyspace/page.ts';
import { Backlog } from '../../replication/backlog.ts';
import { CommitClock } from '../../replication/commit-clock.ts';
import type { Place } from '../../replication/decide.ts';
import type { History } from '../../replication/history.ts';
import { type Offset, offset, type Position } from '../../replication/position.ts';
import { WriteRate } from '../../replication/write-rate.ts';
import type { Run } from '../../stream/command.ts';
import { StreamDecoder } from '../../stream/decoder.ts';
import { ProtocolError } from '../../stream/protocol-error.ts';
import {
  type Digest,
  type DueCursor,
  type EntryReader,
  FilesDamaged,
  type FrozenFile,
  type Keyspace,
  type Log,
  NotInJournal,
  type OpenDigest,
  type Scrubbed,
  type StateStore,
  StorageError,
  type World,
} from '../ports.ts';
import { restAfter, TURN_MS, Turns } from '../turns.ts';
import { attempt, logUnexpected } from '../unattended.ts';
import type { LookAhead } from './look-ahead.ts';
import { Pace } from './pace.ts';
import { Places } from './places.ts';

export interface HeadSettings {
  /** The backlog's size at the start; `resizeBacklog` changes it. */
  readonly backlogBytes: number;
  /** At this many bytes of memory writers wait for the applier. */
  readonly overlayBytes: number;
  /** The longest that a write stays in the journal only, if the applier keeps up. */
  readonly applyIntervalMs: number;
}

export interface HeadParts {
  readonly world: World;
  readonly log: Log;
  readonly settings: HeadSettings;
  readonly state: StateStore;
  readonly keyspace: Keyspace;
  /** The node cannot go on; a restart mends it, and loses nothing. */
  failed(error: Error): void;
}

export type CommitListener = (run: Run, from: Offset) => void;

/** Rows of the journal dropped in one step at most: small ones take about a millisecond. */
const TRIM_ROWS = 128;
/** Looking at so many keys of the overlay for a page takes ten to twenty milliseconds. */
const PAGE_OVERLAY_KEYS = 500_000;
/** One of many pages, that nobody waits for, takes about a millisecond for it. */
const SERIES_OVERLAY_KEYS = 10_000;
/** Of the overlay's limit: what many writes at once leave to those that come one by one. */
const RESERVED_SHARE = 1 / 8;
/** Of the overlay's limit: so much of what was written last is looked up in memory while nothing new comes. */
const QUIET_SHARE = 1 / 4;
/** Of what `collect` reads. */
const TOO_MANY = Symbol('too many');
const REPLAY_BYTES = 1024 * 1024;
/** After a failed commit of the applier. */
const APPLY_RETRY_MS = 1_000;

export class StreamHead {
  readonly #world: World;
  readonly #log: Log;
  readonly #settings: HeadSettings;
  readonly #state: StateStore;
  readonly #failed: (error: Error) => void;
  #keyspace: Keyspace;
  #overlay: Overlay;
  #backlog: Backlog;
  #clock: CommitClock;
  readonly #places: Places;
  readonly #rate: WriteRate;
  #offset: Offset;
  /** What SQLite surely holds. */
  #applied: Offset;
  #applying = false;
  readonly #pace = new Pace();
  #cancelTimer: (() => void) | null = null;
  #trimming = false;
  /** How many rows a step of it drops: fewer, if they are large. */
  #trimRows = TRIM_ROWS;
  #cancelTrim: (() => void) | null = null;
  /** Names the refilling of the backlog that is wanted. */
  #refilling: object | null = null;
  #lastPageMs = 0;
  #appliedCount = 0;
  #closed = false;
  #roomWaiters: (() => void)[] = [];
  readonly #listeners = new Set<CommitListener>();
  readonly #pins = new Set<() => Offset | null>();

  private constructor(parts: HeadParts, at: Offset, backlogEnd: Offset) {
    this.#world = parts.world;
    this.#log = parts.log;
    this.#settings = parts.settings;
    this.#state = parts.state;
    this.#failed = (error) => parts.failed(error);
    this.#keyspace = parts.keyspace;
    this.#overlay = newOverlay(parts.settings);
    this.#offset = at;
    this.#applied = at;
    this.#backlog = new Backlog(parts.settings.backlogBytes, backlogEnd);
    this.#clock = new CommitClock(at, parts.world.monotonic());
    this.#places = new Places(this, parts.state);
    this.#rate = new WriteRate(parts.world.monotonic());
    this.#state.onSettled(() => {
      if (!this.full) this.#releaseWaiters();
    });
  }

  /**
   * Comes up from the files. A restart is a partial resync from one's own journal: what the keyspace file lacks is
   * decoded and applied by the same code that a replica uses, and the backlog is refilled.
   *
   * After a power cut the keyspace, whose commits are fsynced, may be ahead of the journal; it is a true state of
   * the history, so then it wins. The other way round there is a gap, and that is damage.
   * @throws FilesDamaged when journal and keyspace do not meet, or the journal holds what is no stream
   */
  static recover(parts: HeadParts): StreamHead {
    const { state, keyspace, settings } = parts;
    const held = keyspace.opened.offset;
    const start = state.journalStart ?? held;
    const end = state.journalEnd ?? held;
    if (start > held) {
      throw new FilesDamaged(
        `the journal begins after byte ${start}, but the keyspace file ends at byte ${held}`,
      );
    }
    if (end < held) {
      // What is flushed at a clean stop is all in the journal.
      if (state.wasClean && end > start)
        throw new FilesDamaged(
          `the keyspace file is at byte ${held}, but the journal of a clean stop ends at byte ${end}`,
        );
      const head = new StreamHead(parts, held, held);
      if (end > start) parts.log.warn('keyspace-ahead-of-journal', { keyspace: held, journal: end });
      state.switchKeyspace(state.keyspaceNumber, state.history, null, null);
      return head;
    }
    const refillFrom = Math.max(start, Math.min(held, end - settings.backlogBytes)) as Offset;
    const head = new StreamHead(parts, held, refillFrom);
    try {
      head.#replay(refillFrom, held, end);
      head.#places.recover(state);
    } catch (error) {
      const isNoStream = error instanceof ProtocolError || error instanceof NotInJournal;
      throw isNoStream ? new FilesDamaged(error.message, { cause: error }) : error;
    }
    return head;
  }

  #replay(from: Offset, held: Offset, end: Offset): void {
    const decoder = new StreamDecoder();
    let at = from;
    while (at < end) {
      let bytes = this.#state.read(at, REPLAY_BYTES);
      if (at < held && at + bytes.length > held) bytes = bytes.subarray(0, held - at);
      this.#backlog.append(bytes);
      if (at >= held) {
        const run = decoder.push(bytes);
        if (run !== null) this.#take(run);
      }
      at = offset(at + bytes.length);
    }
    if (this.#offset !== end) throw new FilesDamaged(`the journal ends inside a command, at byte ${end}`);
    this.#clock = new CommitClock(end, this.#world.monotonic());
    this.#keepApplying();
  }

  get offset(): Offset {
    return this.#offset;
  }

  get position(): Position {
    return { runId: this.#state.history.runId, offset: this.#offset };
  }

  get history(): History {
    return this.#state.history;
  }

  /** The history hash at the present offset; null: unknown. */
  get hash(): bigint | null {
    return this.#places.hash;
  }

  /** A master that does not know its history hash begins a new chain: from here on it can tell what it shares with others. */
  beginChain(): void {
    this.#places.begin();
  }

  /**
   * The master lets this node continue from the present offset: its history hash there is this node's. If both knew theirs they
   * are equal, but for where a chain begins.
   * @param hash null: unknown
   * @returns whether this node has told others another one
   */
  adoptHash(hash: bigint | null): boolean {
    return this.#places.adopt(hash);
  }

  /**
   * What is known of an offset that the backlog holds: whether a write ends there, and the history hash to compare with.
   * @throws StorageError when the journal cannot be read
   */
  placeAt(at: Offset): Place {
    return this.#places.placeAt(at);
  }

  /**
   * The history hash for whoever goes on from an offset where a write ends; null: unknown, or another chain begins behind it.
   * The journal or the backlog must hold what follows.
   * @throws StorageError when the journal cannot be read
   */
  hashAt(at: Offset): bigint | null {
    return this.#places.hashAt(at);
  }

  get backlog(): Backlog {
    return this.#backlog;
  }

  /** Whole milliseconds since the first byte after `has` was committed here; 0 if there is none. */
  lagMs(has: Offset): number {
    return Math.floor(this.#clock.lagMs(has, this.#world.monotonic()));
  }

  /** Bytes a second: now, and at most. */
  get rates(): { readonly current: number; readonly peak: number } {
    return this.#rate.rates(this.#world.monotonic());
  }

  /**
   * Replaces the backlog by one of this size. It keeps the newest bytes, and a larger one gets what the journal has. It is
   * filled in the background, a few milliseconds at a time; until then the one before serves. A small one is there at once.
   * @returns whether it has taken over; false: another size was asked for, or a snapshot has replaced the history
   * @throws StorageError when the journal cannot be read, RangeError when there is no memory; then the backlog is as before
   */
  async resizeBacklog(size: number): Promise<boolean> {
    const before = this.#backlog;
    const token = {};
    this.#refilling = token;
    if (size === before.size) return true;
    const held = Math.min(before.firstOffset - 1, this.#state.journalStart ?? this.#offset);
    let at = offset(Math.max(this.#offset - size, Math.min(held, this.#offset)));
    if (this.#offset - at <= REPLAY_BYTES && at >= before.firstOffset - 1) {
      before.resize(size);
      return true;
    }
    const refilled = new Backlog(size, at);
    const unpin = this.pin(() => at);
    try {
      for (;;) {
        const turns = new Turns(this.#world);
        const startedAt = this.#world.monotonic();
        while (at < this.#offset && !turns.isOver) {
          const bytes = this.read(at, REPLAY_BYTES);
          refilled.append(bytes);
          at = offset(at + bytes.length);
        }
        if (at === this.#offset) break;
        const restMs = restAfter(this.#world.monotonic() - startedAt);
        await new Promise<void>((resolve) => this.#world.after(restMs, resolve));
        if (this.#closed || this.#refilling !== token || this.#backlog !== before) return false;
      }
    } finally {
      unpin();
    }
    this.#backlog = refilled;
    return true;
  }

  get overlayBytes(): number {
    return this.#overlay.bytes;
  }

  /** Whether writers have to wait: for the applier, or a moment for a checkpoint of the journal. */
  get full(): boolean {
    return this.#overlayFull || this.#state.settling;
  }

  get #overlayFull(): boolean {
    return this.overlayBytes >= this.#settings.overlayBytes;
  }

  /** Whether requests that bring many writes at once have to wait: what room there is belongs to the others. */
  get crowded(): boolean {
    return this.overlayBytes >= this.#crowdedBytes;
  }

  /**
   * Whether a request that brings so many bytes leaves the others their room. One that is larger than all the room that
   * there ever is fits when the overlay is nearly empty.
   */
  fits(bytes: number): boolean {
    const { overlayBytes } = this;
    return (
      overlayBytes + bytes <= this.#crowdedBytes ||
      overlayBytes <= this.#settings.overlayBytes * RESERVED_SHARE
    );
  }

  get #crowdedBytes(): number {
    return this.#settings.overlayBytes * (1 - RESERVED_SHARE);
  }

  /** How long a writer should wait with its next turn, in milliseconds, lest the overlay becomes full. */
  get pauseMs(): number {
    return this.#pace.pauseMs(this.#world.monotonic());
  }

  /** Calls back once, when the applier or a checkpoint of the journal has made room. The applier begins at once. */
  whenRoom(callback: () => void): void {
    this.#roomWaiters.push(callback);
    // A checkpoint of the journal makes its room by itself.
    if (!this.#applying && !this.#closed && !this.#state.settling && this.#overlay.bytes > 0) this.#apply();
  }

  /** Calls back after each commit with what was committed and the offset before it. Its bytes never change. */
  onCommit(listener: CommitListener): void {
    this.#listeners.add(listener);
  }

  /**
   * The journal keeps everything after the offset that `pin` returns, as long as it returns one.
   * @returns what takes the pin out
   */
  pin(pin: () => Offset | null): () => void {
    this.#pins.add(pin);
    return () => this.#pins.delete(pin);
  }

  /**
   * Adds complete commands to the stream.
   * @throws StorageError when the journal did not take them; then nothing has changed. After any other error the node ends:
   *   memory may not be what the journal says, and the next start makes it so
   */
  commit(run: Run): void {
    const from = this.#offset;
    let journaled = false;
    try {
      const { hash, beginsChain } = this.#places;
      this.#state.append(offset(from + run.bytes.length), run.bytes, hash, beginsChain);
      journaled = true;
      this.#committed(run);
    } catch (error) {
      if (journaled || !(error instanceof StorageError)) {
        this.#failed(
          new Error(`a commit may be in the journal and not in memory: ${error}`, { cause: error }),
        );
      }
      throw error;
    }
    for (const listener of this.#listeners) {
      attempt(
        () => listener(run, from),
        (error) => logUnexpected(this.#log, 'commit', error),
      );
    }
    this.#keepApplying();
  }

  #committed(run: Run): void {
    this.#backlog.append(run.bytes);
    this.#places.add(run);
    const overlayBytes = this.overlayBytes;
    this.#take(run);
    const now = this.#world.monotonic();
    const { overlayBytes: filled } = this;
    const limit = filled < this.#crowdedBytes ? this.#crowdedBytes : this.#settings.overlayBytes;
    this.#pace.added(filled - overlayBytes, limit - filled, now);
    this.#clock.committed(this.#offset, now);
    this.#rate.committed(run.bytes.length, now);
  }

  /** What is the same for a new run and for one from the journal. */
  #take(run: Run): void {
    const from = this.#offset;
    for (const [index, command] of run.commands.entries()) {
      this.#overlay.apply(command, from + (run.ends[index] as number), (key) => this.#keyspace.get(key));
    }
    this.#offset = offset(from + run.bytes.length);
  }

  /**
   * The bytes after `after`, at least one if there are any: from memory at most `enoughBytes`, from the journal, if they
   * have left the memory, whole rows, because a row is read as a whole.
   */
  read(after: Offset, enoughBytes: number): Buffer {
    return this.#backlog.holds(after)
      ? this.#backlog.read(after, enoughBytes)
      : this.#state.read(after, enoughBytes);
  }

  /** The entry at the head of the stream, or null; what has expired is not there. */
  get(key: string): Entry | null {
    const entry = this.raw(key);
    return isLive(entry, this.#world.now()) ? entry : null;
  }

  /**
   * The entry even if it has expired: it is there until its DEL is in the stream.
   * @param ahead what was read of the keyspace file before, if it still counts
   */
  raw(key: string, ahead: LookAhead | null = null): Entry | null {
    const above = this.#overlay.get(key);
    if (above !== undefined) return above;
    const known = ahead?.entry(key);
    return known === undefined ? this.#keyspace.get(key) : known;
  }

  /** Like `raw`, with the size of the value instead of the value, which is not read. */
  outline(key: string, ahead: LookAhead | null = null): Outline | null {
    const above = this.#overlay.outline(key);
    if (above !== undefined) return above;
    const known = ahead?.entry(key);
    if (known === undefined) return this.#keyspace.outline(key);
    return known === null ? null : outlineOf(known);
  }

  /** Like `get`, at `now` (milliseconds since 1970), without reading the value. */
  has(key: string, now: number): boolean {
    const expiresAt = this.expiry(key);
    return expiresAt !== undefined && (expiresAt === null || expiresAt > now);
  }

  /**
   * When the entry expires or has expired, in milliseconds since 1970; null: never; undefined: there is none.
   * @param ahead what was read of the keyspace file before, if it still counts
   */
  expiry(key: string, ahead: LookAhead | null = null): number | null | undefined {
    const above = this.#overlay.expiry(key);
    if (above === false) return undefined;
    if (above !== undefined) return above;
    return ahead?.hasExpiry(key) === true ? ahead.expiry(key) : this.#keyspace.expiry(key);
  }

  /**
   * How often the keyspace file has been given what the overlay had, or was replaced. As long as this stays the same, what the
   * keyspace file says of a key that the overlay does not know stays the same.
   */
  get appliedCount(): number {
    return this.#appliedCount;
  }

  /** Whether the overlay knows the key: what the keyspace file says of it does not count. */
  knowsAbove(key: string): boolean {
    return this.#overlay.expiry(key) !== undefined;
  }

  /** What the keyspace file says of the entry; the overlay may know better. @throws StorageError */
  below(key: string): Entry | null {
    return this.#keyspace.get(key);
  }

  /** Like `below`: when the entry expires (null: never); undefined: there is none. @throws StorageError */
  expiryBelow(key: string): number | null | undefined {
    return this.#keyspace.expiry(key);
  }

  /**
   * One page, of the state at the head at the moment when the promise resolves. Laying the overlay over a page looks
   * at all of the overlay: if that has very many keys, it is first written into the file, where an index finds the page.
   * @param inSeries it is one of many for one request: sooner written than looked at again and again
   */
  async page(request: PageRequest, inSeries = false): Promise<Page> {
    if (this.#overlay.size > (inSeries ? SERIES_OVERLAY_KEYS : PAGE_OVERLAY_KEYS)) await this.flush();
    return this.#shown((maxHidden) =>
      readPage(request, this.#overlay, this.#keyspace.scan, this.#world.now(), maxHidden),
    );
  }

  /**
   * What is read; if the overlay hides too much of the file for that, again when it has been written.
   * @param read returns null if it hides more entries than that
   */
  async #shown<T>(read: (maxHidden?: number) => T | null): Promise<T> {
    const timed = (maxHidden?: number): T | null => {
      const startedAt = this.#world.monotonic();
      const found = read(maxHidden);
      this.#lastPageMs = this.#world.monotonic() - startedAt;
      return found;
    };
    const found = timed();
    if (found !== null) return found;
    await this.flush();
    // Whatever was deleted meanwhile is little.
    return timed(Number.POSITIVE_INFINITY) as T;
  }

  /** How long the reading of the last page took, in milliseconds; for whoever has just got it. */
  get lastPageMs(): number {
    return this.#lastPageMs;
  }

  /** What of the keyspace file is due at `now`; some of it may have been deleted or changed since. */
  due(now: number, after: DueCursor | null, limit: number): ReturnType<Keyspace['due']> {
    return this.#keyspace.due(now, after, limit);
  }

  /** How many entries of the keyspace file are due at `now` behind the cursor; counts no further than `most`. */
  countDue(now: number, after: DueCursor | null, most: number): number {
    return this.#keyspace.countDue(now, after, most);
  }

  /**
   * All entries with these prefixes, at some offset that is at least the present one.
   * @param prefixes in key order, and none begins with another one
   */
  async readEntries(prefixes: readonly string[]): Promise<EntryReader> {
    await this.#flushForReader();
    return this.#keyspace.readEntries(prefixes);
  }

  /**
   * The entries with these prefixes, expired or not, of one position, at once; null if they are more than `maxEntries` or
   * more than about `maxBytes`. Begins as `page` does.
   */
  async collect(
    prefixes: readonly string[],
    maxEntries: number,
    maxBytes: number,
  ): Promise<{ readonly position: Position; readonly entries: readonly ListedEntry[] } | null> {
    if (this.#overlay.size > PAGE_OVERLAY_KEYS) await this.flush();
    const found = await this.#shown((maxHidden) => {
      const entries: ListedEntry[] = [];
      let bytes = 0;
      for (const prefix of prefixes) {
        const limit = Math.max(1, maxEntries - entries.length);
        const request = { prefix, after: null, limit, values: true, maxBytes };
        const { scan } = this.#keyspace;
        const page = readPage(request, this.#overlay, scan, Number.NEGATIVE_INFINITY, maxHidden);
        if (page === null) return null;
        for (const entry of page.entries) bytes += entry.size;
        entries.push(...page.entries);
        if (page.next !== null || entries.length > maxEntries || bytes > maxBytes) return TOO_MANY;
      }
      return { position: this.position, entries };
    });
    return found === TOO_MANY ? null : found;
  }

  /**
   * The last place up to `at` where a commit ended, so that the stream can be decoded from there; null: the journal does not
   * reach back so far.
   * @throws StorageError when the journal cannot be read
   */
  lastCommit(at: Offset): Offset | null {
    return at === this.#offset ? at : this.#state.lastCommit(at);
  }

  /** How large a snapshot would be, about, in bytes. */
  snapshotBytes(): number {
    return this.#keyspace.size();
  }

  /** The digest of the state at some offset that is at least the present one. */
  async digest(): Promise<Digest> {
    await this.#flushForReader();
    return this.#keyspace.digest();
  }

  /** Begins a digest of a position that is to come, from the state at some offset that is at least the present one. */
  async openDigest(): Promise<OpenDigest> {
    await this.#flushForReader();
    return this.#keyspace.openDigest();
  }

  /** @throws StorageError that says why a reader needs room on the disk */
  async #flushForReader(): Promise<void> {
    try {
      await this.flush();
    } catch (error) {
      if (!(error instanceof StorageError)) throw error;
      const why =
        'the newest writes are in the journal, and have to be in the keyspace file before it is read';
      throw new StorageError(`${why}: ${error.message}`, error.full, error);
    }
  }

  /** Looks for damage in the keyspace file. */
  scrub(): Promise<Scrubbed> {
    return this.#keyspace.scrub();
  }

  /** Resolves when everything up to the present offset is in the keyspace file. */
  async flush(): Promise<void> {
    const keyspace = this.#keyspace;
    const position = this.position;
    const bytes = this.#overlay.unsealedBytes;
    if (this.#overlay.seal(position.offset)) this.#pace.begun(bytes, this.#world.monotonic());
    try {
      await keyspace.flush(position, this.#overlay.sealed);
    } finally {
      this.#pace.ended(this.#world.monotonic());
    }
    if (keyspace === this.#keyspace) this.#hasApplied(position.offset);
  }

  /**
   * Freezes the keyspace file at some offset that is at least the present one. The caller pins the journal first. (An older
   * state would save the flush, and could be that of before everything was deleted.)
   * @throws Error when it cannot, or is closed, because a snapshot has replaced it
   */
  async freeze(): Promise<FrozenFile> {
    const keyspace = this.#keyspace;
    await this.flush();
    return keyspace.freeze();
  }

  /**
   * A snapshot takes over: from now on this node stands at the keyspace's position, with nothing else known.
   * @param hash the history hash there; null: unknown
   */
  replaceKeyspace(keyspace: Keyspace, hash: bigint | null): Keyspace {
    const old = this.#keyspace;
    this.#keyspace = keyspace;
    this.#appliedCount += 1;
    // With memory of its own: the old applier may still read the other one's.
    this.#overlay = newOverlay(this.#settings);
    this.#offset = keyspace.opened.offset;
    this.#applied = this.#offset;
    this.#applying = false;
    this.#backlog = new Backlog(this.#backlog.size, this.#offset);
    this.#places.replace(hash);
    this.#clock = new CommitClock(this.#offset, this.#world.monotonic());
    this.#releaseWaiters();
    return old;
  }

  /**
   * Flushes and closes the keyspace file.
   * @returns false if it could not be flushed: the rest stays in the journal
   */
  async close(): Promise<boolean> {
    this.#closed = true;
    this.#cancelTimer?.();
    this.#cancelTrim?.();
    const flushed = await this.flush().then(
      () => true,
      (error: unknown) => {
        this.#log.error('flush-failed', { error: String(error) });
        return false;
      },
    );
    await this.#keyspace.close();
    return flushed;
  }

  /** Starts the applier on what is unsealed, now if it is much, in a while if it is little. */
  #keepApplying(): void {
    if (this.#applying || this.#closed) return;
    // The journal grows even if the overlay does not, because values come again and again for the same keys.
    const journaled = this.#offset - this.#applied;
    const much = this.#settings.overlayBytes / 2;
    if (this.#overlayFull || this.#overlay.unsealedBytes >= much || journaled >= much) {
      this.#apply();
    } else if (this.#cancelTimer === null && this.#overlay.bytes > 0) {
      this.#cancelTimer = this.#world.after(this.#settings.applyIntervalMs, () => {
        this.#cancelTimer = null;
        if (!this.#applying) this.#apply();
      });
    }
  }

  #apply(): void {
    this.#cancelTimer?.();
    this.#cancelTimer = null;
    this.#applying = true;
    const keyspace = this.#keyspace;
    this.flush().then(
      () => {
        if (keyspace !== this.#keyspace) return;
        this.#applying = false;
        this.#keepApplying();
      },
      (error: unknown) => {
        if (keyspace !== this.#keyspace || this.#closed) return;
        this.#log.error('apply-failed', { error: String(error) });
        this.#cancelTimer = this.#world.after(APPLY_RETRY_MS, () => this.#apply());
      },
    );
  }

  #hasApplied(end: Offset): void {
    this.#appliedCount += 1;
    if (end <= this.#applied) return;
    this.#applied = end;
    this.#overlay.applied(end);
    if (this.#overlay.bytes === 0) this.#overlay.forgetWritten(this.#settings.overlayBytes * QUIET_SHARE);
    if (!this.full) this.#releaseWaiters();
    this.#trim();
  }

  #releaseWaiters(): void {
    const waiters = this.#roomWaiters;
    this.#roomWaiters = [];
    for (const waiter of waiters) this.#world.soon(waiter);
  }

  /** Drops journal rows that nobody needs, a few at a time and in the background, so that no turn waits for long. */
  #trim(): void {
    if (this.#trimming) return;
    this.#trimming = true;
    const step = (): void => {
      this.#trimming = false;
      if (this.#closed) return;
      try {
        const startedAt = this.#world.monotonic();
        const hasMore = this.#state.trim(this.#trimmableTo(), this.#trimRows);
        const tookMs = this.#world.monotonic() - startedAt;
        // A row is as long as what was committed together, so a number of them says little about the time.
        if (tookMs > TURN_MS) this.#trimRows = Math.ceil(this.#trimRows / 2);
        else if (tookMs < TURN_MS / 2) this.#trimRows = Math.min(TRIM_ROWS, this.#trimRows * 2);
        if (hasMore) {
          this.#trimming = true;
          this.#cancelTrim = this.#world.after(restAfter(tookMs), step);
        }
      } catch (error) {
        // Nothing is lost: the rows stay, and the next commit of the applier tries again.
        this.#log.warn('trim-failed', { error: String(error) });
      }
    };
    this.#world.soon(step);
  }

  #trimmableTo(): Offset {
    let least = Math.min(this.#applied, Math.max(0, this.#offset - this.#backlog.size));
    for (const pin of this.#pins) {
      const pinned = pin();
      if (pinned !== null) least = Math.min(least, pinned);
    }
    return least as Offset;
  }
}

function newOverlay(settings: HeadSettings): Overlay {
  return new Overlay(new ChunkPool(() => settings.overlayBytes));
}
