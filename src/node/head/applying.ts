/**
 * Keeps the applier busy, and tells writers when there is room. It seals the overlay's newest generation when that is old or
 * large, asks the applier to commit it to the keyspace file, and lets waiting writers continue.
 *
 * Owns: the offset up to which the keyspace file holds the stream, and the writers that wait for room.
 */
import type { Offset, Position } from '../../replication/position.ts';
import { inLogOf } from '../ports/failures.ts';
import type { StateStore } from '../ports/state-store.ts';
import type { Log, World } from '../ports/world.ts';
import { type Admission, admissionFor } from './admission.ts';
import type { HeadSettings } from './head-parts.ts';
import type { Layers } from './keyspace/layers.ts';
import { Pace } from './pace.ts';

/** Share of the overlay's limit that bulk requests leave to single writes. */
const RESERVED_SHARE = 1 / 8;
/** Share of the overlay's limit that written generations keep as a cache while no new writes come. */
const QUIET_SHARE = 1 / 4;
/** Time between a failed commit of the applier and the next attempt, in milliseconds. */
const APPLY_RETRY_MS = 1_000;

export interface ApplyingParts {
  readonly world: World;
  readonly log: Log;
  readonly settings: HeadSettings;
  readonly state: Pick<StateStore, 'settling' | 'onSettled'>;
  readonly layers: Layers;
  readonly position: () => Position;
  /** Called after each commit that moved `applied`. */
  readonly onApplied: () => void;
}

export class Applying {
  readonly #world: World;
  readonly #log: Log;
  readonly #settings: HeadSettings;
  readonly #state: Pick<StateStore, 'settling'>;
  readonly #layers: Layers;
  readonly #position: () => Position;
  readonly #onApplied: () => void;
  readonly #pace = new Pace();
  #applied: Offset;
  /** The applier commits, or waits for another attempt. */
  #running = false;
  #cancelTimer: (() => void) | null = null;
  #waiters: (() => void)[] = [];
  #closed = false;

  constructor(parts: ApplyingParts) {
    this.#world = parts.world;
    this.#log = parts.log;
    this.#settings = parts.settings;
    this.#state = parts.state;
    this.#layers = parts.layers;
    this.#position = parts.position;
    this.#onApplied = parts.onApplied;
    this.#applied = parts.layers.keyspace.opened.offset;
    parts.state.onSettled(() => {
      if (!this.full) this.#releaseWaiters();
    });
  }

  /** Offset up to which the keyspace file certainly holds the stream. */
  get applied(): Offset {
    return this.#applied;
  }

  /**
   * Decides which writers may continue now.
   * @param bulkBytes bytes that the first bulk request brings into the overlay, about; 0: no bulk request waits. A request
   *   that is larger than all the room fits when the overlay is nearly empty
   */
  admission(bulkBytes: number): Admission {
    const { bytes } = this.#layers.overlay;
    const fits =
      bytes + bulkBytes <= this.#crowdedBytes || bytes <= this.#settings.overlayBytes * RESERVED_SHARE;
    const pauseMs = this.#pace.pauseMs(this.#world.monotonic());
    return admissionFor(this.full, bytes >= this.#crowdedBytes, fits, pauseMs);
  }

  get #overlayFull(): boolean {
    return this.#layers.overlay.bytes >= this.#settings.overlayBytes;
  }

  /** Whether all writers wait: for the applier, or for the end of a checkpoint of the journal. */
  get full(): boolean {
    return this.#overlayFull || this.#state.settling;
  }

  /** Memory of the overlay, in bytes, at which only the room of single writes is left. */
  get #crowdedBytes(): number {
    return this.#settings.overlayBytes * (1 - RESERVED_SHARE);
  }

  /** Calls back once, when the applier or a checkpoint of the journal has made room. Starts the applier at once. */
  whenRoom(callback: () => void): void {
    this.#waiters.push(callback);
    // A checkpoint of the journal ends without the applier.
    if (!this.#running && !this.#closed && !this.#state.settling && this.#layers.overlay.bytes > 0)
      this.#apply();
  }

  /**
   * Notes that a commit has filled the overlay.
   * @param before memory of the overlay before the commit, in bytes
   * @param after memory of the overlay after the commit, in bytes
   * @param now milliseconds of the monotonic clock
   */
  filled(before: number, after: number, now: number): void {
    const { overlayBytes } = this.#settings;
    const crowdedBytes = overlayBytes * (1 - RESERVED_SHARE);
    const limit = after < crowdedBytes ? crowdedBytes : overlayBytes;
    this.#pace.added(after - before, limit - after, now);
  }

  /** Starts the applier on the unsealed generation: now if that is large, after `applyIntervalMs` if it is small. */
  keepApplying(offset: Offset): void {
    if (this.#running || this.#closed) return;
    // The journal grows faster than the overlay when writes replace the values of the same keys.
    const journaled = offset - this.#applied;
    const much = this.#settings.overlayBytes / 2;
    const { overlay } = this.#layers;
    if (this.#overlayFull || overlay.unsealedBytes >= much || journaled >= much) {
      this.#apply();
    } else if (this.#cancelTimer === null && overlay.bytes > 0) {
      this.#cancelTimer = this.#world.after(this.#settings.applyIntervalMs, () => {
        this.#cancelTimer = null;
        if (!this.#running) this.#apply();
      });
    }
  }

  /** Resolves when the keyspace file holds everything up to the present offset. @throws StorageError */
  async flush(): Promise<void> {
    const { keyspace, overlay } = this.#layers;
    const position = this.#position();
    const bytes = overlay.unsealedBytes;
    if (overlay.seal(position.offset)) this.#pace.begun(bytes, this.#world.monotonic());
    try {
      await keyspace.flush(position, overlay.sealed);
    } finally {
      this.#pace.ended(this.#world.monotonic());
    }
    if (keyspace === this.#layers.keyspace) this.#hasApplied(position.offset);
  }

  /** Starts again at the end of a snapshot's keyspace file, which stands in `Layers` already. */
  replaced(): void {
    this.#applied = this.#layers.keyspace.opened.offset;
    this.#running = false;
    this.#releaseWaiters();
  }

  /** Starts no further commit; `flush` still works. */
  close(): void {
    this.#closed = true;
    this.#cancelTimer?.();
  }

  #apply(): void {
    this.#cancelTimer?.();
    this.#cancelTimer = null;
    this.#running = true;
    const { keyspace } = this.#layers;
    this.flush().then(
      () => {
        if (keyspace !== this.#layers.keyspace) return;
        this.#running = false;
        this.keepApplying(this.#position().offset);
      },
      (error: unknown) => {
        if (keyspace !== this.#layers.keyspace || this.#closed) return;
        this.#log.error('apply-failed', { error: inLogOf(error) });
        this.#cancelTimer = this.#world.after(APPLY_RETRY_MS, () => this.#apply());
      },
    );
  }

  #hasApplied(end: Offset): void {
    this.#layers.countApplied();
    if (end <= this.#applied) return;
    this.#applied = end;
    const { overlay } = this.#layers;
    overlay.applied(end);
    if (overlay.bytes === 0) overlay.forgetWritten(this.#settings.overlayBytes * QUIET_SHARE);
    if (!this.full) this.#releaseWaiters();
    this.#onApplied();
  }

  #releaseWaiters(): void {
    const waiters = this.#waiters;
    this.#waiters = [];
    for (const waiter of waiters) this.#world.soon(waiter);
  }
}
