/**
 * The head of the stream: the place where a node adds bytes to the stream, and the only code that moves the offset.
 *
 * A master commits the effects of a write turn here, and a replica commits the bytes that its master sent. `commit` keeps the
 * product's promise that no reader gets a byte before the journal has it, by its order:
 *   1. the journal takes the bytes; if that fails, nothing else happens;
 *   2. the overlay, the backlog and the applier take them;
 *   3. the listeners (the sessions and the feed) pass them on.
 *
 * Owns: the offset, the backlog, the listeners. Reads of entries are in keyspace-view.ts.
 *
 * Over 350 lines: only this class may move the offset, and most of its members are one call of the part that does the work.
 */
import { Backlog, type Window } from '../../replication/backlog.ts';
import { CommitClock } from '../../replication/commit-clock.ts';
import {
  type Decision,
  decide,
  type Place,
  type SyncRequest,
  UNKNOWN_PLACE,
} from '../../replication/decide.ts';
import type { History } from '../../replication/history.ts';
import { type Offset, offset, type Position, wireOffset } from '../../replication/position.ts';
import { WriteRate } from '../../replication/write-rate.ts';
import type { Run } from '../../stream/command.ts';
import { FilesDamaged, inLogOf, StorageError } from '../ports/failures.ts';
import type { FrozenFile, Keyspace } from '../ports/keyspace.ts';
import type { StateStore } from '../ports/state-store.ts';
import type { Log, World } from '../ports/world.ts';
import { attempt, logUnexpected } from '../unattended.ts';
import type { Admission } from './admission.ts';
import { Applying } from './applying.ts';
import { refillBacklog } from './backlog-refill.ts';
import type { CommitListener, HeadParts } from './head-parts.ts';
import { Places } from './history/places.ts';
import { JournalKeep } from './journal-keep.ts';
import { JournalRoom } from './journal-room.ts';
import { JournalTrim } from './journal-trim.ts';
import { KeyspaceView } from './keyspace/keyspace-view.ts';
import { Layers } from './keyspace/layers.ts';
import { planRecovery, REPLAY_BYTES, recoveryError, replay } from './recovery.ts';
import { TimeMarks, type TimeRange } from './time-marks.ts';

export class StreamHead extends KeyspaceView {
  readonly #world: World;
  readonly #log: Log;
  readonly #settings: HeadParts['settings'];
  readonly #state: StateStore;
  readonly #failed: (error: Error) => void;
  readonly #layers: Layers;
  readonly #applying: Applying;
  #keep: JournalKeep;
  readonly #trim: JournalTrim;
  readonly #room: JournalRoom;
  readonly #places: Places;
  readonly #rate: WriteRate;
  readonly #listeners = new Set<CommitListener>();
  #offset: Offset;
  #backlog: Backlog;
  #clock: CommitClock;
  #times: TimeMarks;
  /** Identifies the latest resize of the backlog, so that an earlier one stops. */
  #refill: object | null = null;
  #closed = false;
  /** Offset at which a snapshot corrected wrong data of this node; null: there is none since the last snapshot. */
  #correctedAt: Offset | null = null;

  private constructor(parts: HeadParts, layers: Layers, backlogEnd: Offset) {
    const { world, log, settings, state } = parts;
    super(world, layers);
    this.#world = world;
    this.#log = log;
    this.#settings = settings;
    this.#state = state;
    this.#failed = (error) => parts.failed(error);
    this.#layers = layers;
    this.#offset = layers.keyspace.opened.offset;
    this.#backlog = new Backlog(settings.backlogBytes, backlogEnd);
    this.#clock = new CommitClock(this.#offset, world.monotonic());
    this.#times = new TimeMarks(state.timeMarks, this.#offset, world.now());
    this.#places = new Places(this, state);
    this.#rate = new WriteRate(world.monotonic());
    this.#keep = this.#newKeep(state.journalStart);
    const neededFrom = (): number =>
      Math.min(this.#applying.applied, Math.max(0, this.#offset - this.#backlog.size));
    const unneededTo = (): number => Math.min(neededFrom(), this.#keptFrom);
    const trimmed = (): void => {
      const start = state.journalStart;
      this.#keep.trimmed(start);
      this.#times.trimmed(start ?? this.#offset);
    };
    this.#trim = new JournalTrim({ world, log, state, unneededTo, trimmed });
    const freeBytes = (): Promise<number> => parts.freeBytes();
    const keep = (): JournalKeep => this.#keep;
    const trim = (): void => this.#trim.start();
    const head = (): number => this.#offset;
    this.#room = new JournalRoom({ world, log, settings, state, freeBytes, keep, neededFrom, head, trim });
    const onApplied = (): void => this.#trim.start();
    this.#applying = new Applying({ ...parts, layers, position: () => this.position, onApplied });
  }

  /**
   * Builds the head from the files (recovery.ts).
   * @throws FilesDamaged when there is a gap between journal and keyspace file, or the journal holds bytes that are no stream
   */
  static recover(parts: HeadParts): StreamHead {
    const { state } = parts;
    const plan = planRecovery(parts);
    const head = new StreamHead(parts, new Layers(parts.settings, parts.keyspace), plan.refillFrom);
    if (plan.end === null) {
      state.switchKeyspace(state.keyspaceNumber, state.history, null, null);
      head.#keep.trimmed(null);
      head.#times = new TimeMarks([], head.#offset, parts.world.now());
      return head;
    }
    try {
      replay(state, plan, plan.end, {
        keep: (bytes) => head.#backlog.append(bytes),
        keepFrom: (after) => {
          head.#backlog = new Backlog(head.#backlog.size, after);
        },
        take: (run) => head.#take(run),
      });
      head.#recovered(plan.end);
    } catch (error) {
      throw recoveryError(error);
    }
    return head;
  }

  #newKeep(start: Offset | null): JournalKeep {
    return new JournalKeep(this.#settings, start, this.#world.monotonic(), () => this.#state.damagedUpTo);
  }

  #recovered(end: Offset): void {
    if (this.#offset !== end) throw new FilesDamaged(`the journal ends inside a command, at byte ${end}`);
    this.#clock = new CommitClock(end, this.#world.monotonic());
    this.#applying.keepApplying(end);
    this.#places.recover(this.#state);
    this.#room.look();
  }

  get offset(): Offset {
    return this.#offset;
  }

  override get position(): Position {
    return { runId: this.#state.history.runId, offset: this.#offset };
  }

  get history(): History {
    return this.#state.history;
  }

  /** The history hash at the present offset; null: unknown. */
  get hash(): bigint | null {
    return this.#places.hash;
  }

  /** Whether the history hash is unknown because the last row of the journal is damaged: others may know it. */
  get hasLostHash(): boolean {
    return this.hash === null && (this.damagedUpTo ?? -1) >= this.#offset;
  }

  /** The offset since which each history hash follows from the one before. */
  get chainFrom(): Offset {
    return this.#places.chainFrom;
  }

  /** Begins a new chain of history hashes if the present one is unknown, so that a master can compare later histories. */
  beginChain(): void {
    this.#places.begin();
  }

  /**
   * Takes over the master's history hash at the present offset, from which the master lets this node continue. Two known
   * hashes are equal, unless a chain begins there.
   * @param hash the master's hash; null: unknown
   * @returns whether this node had another hash, which it may have told its own replicas
   */
  adoptHash(hash: bigint | null): boolean {
    return this.#places.adopt(hash);
  }

  /**
   * Whether a write ends at this offset, and the history hash to compare there. Unknown for an offset outside `window`.
   * @throws StorageError when the journal cannot be read
   */
  placeAt(at: Offset): Place {
    return this.#places.placeAt(at);
  }

  /**
   * The history hash at an offset where a write ends, for a node that continues there; null: unknown, or another chain begins
   * after the offset. The journal or the backlog must hold the bytes after the offset.
   * @throws StorageError when the journal cannot be read
   */
  hashAt(at: Offset): bigint | null {
    return this.#places.hashAt(at);
  }

  get backlog(): Backlog {
    return this.#backlog;
  }

  /** The bytes of the stream from which this node serves a partial resync: the backlog, and what the journal keeps before it. */
  get window(): Window {
    return this.#keep.window(this.#backlog, this.#world.monotonic());
  }

  /** @see StateStore.damagedUpTo */
  get damagedUpTo(): Offset | null {
    return this.#state.damagedUpTo;
  }

  /** The offset after which the journal keeps everything. */
  get #keptFrom(): number {
    return this.#keep.from(this.#offset, this.#world.monotonic());
  }

  /**
   * The offset from which a reader gets at least everything that this node has committed at a time or later; it may lie before
   * `window`. @see TimeMarks.since
   * @param time milliseconds since 1970, by the clock of this node
   * @returns null: the journal does not say
   */
  since(time: number): Offset | null {
    return this.#times.since(time, this.#offset);
  }

  /** The least time for which `since` is in `window`, in milliseconds since 1970; 0: any time. */
  get sinceEarliest(): number {
    return this.#times.earliest(offset(this.window.firstOffset - 1));
  }

  /** When this node has committed the byte after an offset: between these times, in milliseconds since 1970; null: unknown. */
  timeAfter(at: Offset): TimeRange | null {
    return this.#times.timeAfter(at);
  }

  /** Whole milliseconds since the commit of the first byte after `has`; 0: there is no such byte. */
  lagMs(has: Offset): number {
    return Math.floor(this.#clock.lagMs(has, this.#world.monotonic()));
  }

  /** Bytes committed per second: the current rate and the peak rate. */
  get rates(): { readonly current: number; readonly peak: number } {
    return this.#rate.rates(this.#world.monotonic());
  }

  /**
   * Replaces the backlog by one of this size in bytes, with the newest bytes that the backlog or the journal has: at once if
   * these are few, else in the background (backlog-refill.ts).
   * @returns whether the new backlog took over; false: a later call asked for another size, a snapshot replaced the history, or the
   *   node stops
   * @throws StorageError when the journal cannot be read, RangeError when there is no memory; then the backlog stays as it was
   */
  async resizeBacklog(size: number): Promise<boolean> {
    const before = this.#backlog;
    const token = {};
    this.#refill = token;
    if (size === before.size) return true;
    const { journalStart, damagedUpTo } = this.#state;
    const held = Math.min(before.firstOffset - 1, Math.max(journalStart ?? this.#offset, damagedUpTo ?? 0));
    const from = offset(Math.max(this.#offset - size, Math.min(held, this.#offset)));
    if (this.#offset - from <= REPLAY_BYTES && from >= before.firstOffset - 1) {
      before.resize(size);
      return true;
    }
    const isWanted = (): boolean => !this.#closed && this.#refill === token && this.#backlog === before;
    return refillBacklog(this.#world, this, size, from, isWanted, (refilled) => {
      this.#backlog = refilled;
    });
  }

  /** Memory of the overlay that the keyspace file does not hold yet, in bytes, roughly. */
  get overlayBytes(): number {
    return this.#layers.overlay.bytes;
  }

  /** Entries of the overlay. */
  get overlayEntries(): number {
    return this.#layers.overlay.size;
  }

  /** Bytes of the stream that the keyspace file does not hold yet. */
  get unappliedBytes(): number {
    return Math.max(0, this.#offset - this.#applying.applied);
  }

  /** Whether all writers wait: for the applier, or for the end of a checkpoint of the journal. */
  get full(): boolean {
    return this.#applying.full;
  }

  /** @see Applying.admission */
  admission(bulkBytes: number): Admission {
    return this.#applying.admission(bulkBytes);
  }

  /** @see Applying.whenRoom */
  whenRoom(callback: () => void): void {
    this.#applying.whenRoom(callback);
  }

  /** Calls the listener after each commit. */
  onCommit(listener: CommitListener): void {
    this.#listeners.add(listener);
  }

  /** @see JournalTrim.pin */
  pin(pin: () => Offset | null): () => void {
    return this.#trim.pin(pin);
  }

  /** Drops rows of the journal that nobody needs, after a pin has moved. */
  trimJournal(): void {
    this.#trim.start();
  }

  /**
   * Adds complete commands to the stream.
   * @throws StorageError when the journal did not take them; then nothing has changed. After any other error the node ends,
   *   because memory may differ from the journal; the next start rebuilds memory from the journal
   */
  commit(run: Run): void {
    const from = this.#offset;
    let journaled = false;
    try {
      const { hash, beginsChain } = this.#places;
      const times = this.#times.next(from, this.#world.now());
      this.#state.append(offset(from + run.bytes.length), run.bytes, hash, beginsChain, times);
      journaled = true;
      if (times !== null) this.#times.take(times);
      this.#committed(run);
    } catch (error) {
      if (error instanceof StorageError && error.full) this.#room.refused();
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
    this.#applying.keepApplying(this.#offset);
  }

  /** Takes a journaled run into memory. */
  #committed(run: Run): void {
    this.#backlog.append(run.bytes);
    this.#places.add(run);
    const { overlay } = this.#layers;
    const before = overlay.bytes;
    this.#take(run);
    const now = this.#world.monotonic();
    this.#keep.committed(offset(this.#offset - run.bytes.length), now);
    this.#room.committed(run.bytes.length);
    this.#applying.filled(before, overlay.bytes, now);
    this.#clock.committed(this.#offset, now);
    this.#rate.committed(run.bytes.length, now);
  }

  /** Applies a run to the overlay and moves the offset, for a new run and for one from the journal. */
  #take(run: Run): void {
    const from = this.#offset;
    const { overlay, keyspace } = this.#layers;
    for (const [index, command] of run.commands.entries()) {
      overlay.apply(command, from + (run.ends[index] as number), (key) => keyspace.get(key));
    }
    this.#offset = offset(from + run.bytes.length);
  }

  /**
   * Reads the bytes after `after`, at least one if there are any.
   * @param enoughBytes the backlog returns at most this number; the journal returns whole rows, until they reach this size
   */
  read(after: Offset, enoughBytes: number): Buffer {
    return this.#backlog.holds(after)
      ? this.#backlog.read(after, enoughBytes)
      : this.#state.read(after, enoughBytes);
  }

  /**
   * The last offset up to `at` where a commit ended, so that the stream can be decoded from there; null: the journal does not
   * reach back so far.
   * @throws StorageError when the journal cannot be read
   */
  lastCommit(at: Offset): Offset | null {
    return at === this.#offset ? at : this.#state.lastCommit(at);
  }

  /** @see Applying.flush */
  override flush(): Promise<void> {
    return this.#applying.flush();
  }

  /**
   * Freezes the keyspace file at an offset that is at least the present one. The caller pins the journal first. (Freezing an
   * older state would save the flush, but that state could be the one before a FLUSHALL.)
   * @throws Error when the file cannot be frozen, or is closed because a snapshot replaced it
   */
  async freeze(): Promise<FrozenFile> {
    const { keyspace } = this.#layers;
    await this.flush();
    return keyspace.freeze();
  }

  /**
   * Decides how a replica or follower continues. One that stands exactly where a snapshot corrected this node's data may have the
   * wrong data from this node, so it cannot continue. The backlog begins there too, so earlier positions cannot continue either.
   * @param place this node's knowledge of the requested offset
   */
  decide(request: SyncRequest, place: Place): Decision {
    const decision = decide(request, this.history, this.window, place);
    const isCorrected = decision.kind === 'continue' && decision.after === this.#correctedAt;
    return isCorrected ? { kind: 'full-resync', reason: 'different-data' } : decision;
  }

  /**
   * Decides how somebody continues who states a position and no history hash: a follower, or one who asks what has changed since. A position
   * inside a write is one of a history that this node has lost: it was handed out before the node's folder was put back in place
   * (docs/history.md), or never.
   * @throws StorageError when the journal cannot be read
   */
  decideFrom({ runId, offset: from }: Position): Decision {
    const request = { kind: 'psync', runId, asked: wireOffset(from), hash: null } as const;
    // The place costs more, and says nothing of a position that is lost anyway.
    const decision = this.decide(request, UNKNOWN_PLACE);
    if (decision.kind === 'full-resync') return decision;
    const place = this.placeAt(decision.after);
    if (place.kind === 'command-end') return decision;
    // The look at the place may have found damage, which moves the window.
    const again = this.decide(request, place);
    return again.kind === 'full-resync' ? again : { kind: 'full-resync', reason: 'different-bytes' };
  }

  /**
   * Drops in steps what the journal keeps for absent replicas and followers, so that `replaceKeyspace` has little left to drop
   * in one turn.
   */
  dropKept(): Promise<void> {
    this.#keep.giveUp(this.#offset);
    return this.#trim.finish();
  }

  /**
   * Replaces the state by a snapshot's: the node stands at the snapshot's position, and has no bytes of the stream before it.
   * @param hash the history hash there; null: unknown
   * @param corrects whether this node's data was wrong, and may be wrong at replicas and followers that have it from this node
   * @returns the keyspace before, which the caller closes
   */
  replaceKeyspace(keyspace: Keyspace, hash: bigint | null, corrects: boolean): Keyspace {
    const before = this.#layers.replace(keyspace);
    this.#offset = keyspace.opened.offset;
    this.#correctedAt = corrects ? this.#offset : null;
    this.#backlog = new Backlog(this.#backlog.size, this.#offset);
    this.#keep = this.#newKeep(null);
    this.#places.replace(hash);
    this.#times = new TimeMarks([], this.#offset, this.#world.now());
    this.#clock = new CommitClock(this.#offset, this.#world.monotonic());
    this.#applying.replaced();
    return before;
  }

  /**
   * Flushes and closes the keyspace file.
   * @returns false: the flush failed, and the rest stays in the journal
   */
  async close(): Promise<boolean> {
    this.#closed = true;
    this.#applying.close();
    this.#trim.close();
    this.#room.close();
    const flushed = await this.flush().then(
      () => true,
      (error: unknown) => {
        this.#log.error('flush-failed', { error: inLogOf(error) });
        return false;
      },
    );
    await this.#layers.keyspace.close();
    return flushed;
  }
}
