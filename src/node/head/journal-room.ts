/**
 * Looks after the room that the journal takes for absent replicas and followers: it gives up the oldest of what is kept while
 * there is still free room on the disk, because clients' writes come first, and drops what has been kept for long enough.
 *
 * To drop a row takes room too, so the journal must not wait until the disk is full. The file does not become smaller: the next
 * rows take the place of the dropped ones.
 */
import { offset } from '../../replication/position.ts';
import type { StateStore } from '../ports/state-store.ts';
import type { Log, World } from '../ports/world.ts';
import { logUnexpected } from '../unattended.ts';
import type { JournalKeep, JournalKeepSettings } from './journal-keep.ts';
import { TRIM_BYTES } from './journal-trim.ts';

/** Bytes on the disk that are left to the writes of clients: what the node keeps for later gives way before the disk has less. */
export const DISK_RESERVE_BYTES = 64 * 1024 * 1024;
/**
 * Bytes that must be free, on the disk and within psyncd.db together, before the journal keeps more than it must. It gives up as
 * much as is missing.
 */
export const LEAST_FREE_BYTES = DISK_RESERVE_BYTES + TRIM_BYTES;
/** Time between two looks at the disk while something is kept, in milliseconds. */
const LOOK_MS = 2_000;
/** Committed bytes after which the next look comes at once. */
const LOOK_BYTES = 8 * 1024 * 1024;
/** Shortest time between two warnings, in milliseconds. */
const WARN_MS = 60_000;

interface RoomParts {
  readonly world: World;
  readonly log: Log;
  readonly settings: Pick<JournalKeepSettings, 'journalKeepBytes'>;
  readonly state: Pick<StateStore, 'reusableBytes'>;
  /** @returns bytes that are free on the disk */
  readonly freeBytes: () => Promise<number>;
  readonly keep: () => JournalKeep;
  /** @returns the offset up to which the journal is there for absent replicas and followers only */
  readonly neededFrom: () => number;
  /** @returns the offset of the last byte of the stream */
  readonly head: () => number;
  /** Starts to drop what nobody needs. */
  readonly trim: () => void;
}

export class JournalRoom {
  readonly #parts: RoomParts;
  #cancelLook: (() => void) | null = null;
  #isLooking = false;
  #committedBytes = 0;
  #warnedAt = Number.NEGATIVE_INFINITY;
  #closed = false;

  constructor(parts: RoomParts) {
    this.#parts = parts;
  }

  /** To be called after each commit. @param bytes size of the commit */
  committed(bytes: number): void {
    if (this.#parts.settings.journalKeepBytes === 0) return;
    this.#committedBytes += bytes;
    if (this.#committedBytes >= LOOK_BYTES) this.look();
    else this.#lookLater();
  }

  /** Looks at the disk now, if something is kept. The next look follows by itself. */
  look(): void {
    this.#committedBytes = 0;
    if (this.#isLooking || this.#closed || this.#keptBytes === 0) return;
    this.#cancelLook?.();
    this.#cancelLook = null;
    this.#isLooking = true;
    this.#look()
      .catch((error: unknown) => logUnexpected(this.#parts.log, 'journal-room', error))
      .finally(() => {
        this.#isLooking = false;
        this.#lookLater();
      });
  }

  /** To be called after a commit that the full disk refused. */
  refused(): void {
    if (this.#keptBytes === 0) return;
    // Nothing more is given up before this part is dropped: the disk may have room again soon.
    if (this.#parts.settings.journalKeepBytes > 0) this.#giveUp(LEAST_FREE_BYTES);
    this.#parts.trim();
    this.#lookLater();
  }

  close(): void {
    this.#closed = true;
    this.#cancelLook?.();
  }

  /** Bytes in the journal for absent replicas and followers only, whole rows or not. */
  get #keptBytes(): number {
    const { start } = this.#parts.keep();
    return start === null ? 0 : Math.max(0, this.#parts.neededFrom() - start);
  }

  #lookLater(): void {
    if (this.#cancelLook !== null || this.#isLooking || this.#closed || this.#keptBytes === 0) return;
    this.#cancelLook = this.#parts.world.after(LOOK_MS, () => this.look());
  }

  async #look(): Promise<void> {
    const { settings, state, trim } = this.#parts;
    if (settings.journalKeepBytes > 0) {
      const free = await this.#free();
      if (this.#closed) return;
      const missing = LEAST_FREE_BYTES - free - state.reusableBytes;
      if (missing > 0) this.#giveUp(missing);
    }
    // What was kept for long enough, or is kept no more by a changed setting, goes without a commit too.
    trim();
  }

  /** @returns bytes that are free on the disk; infinitely many if it does not say, so that this ends nothing */
  async #free(): Promise<number> {
    try {
      return await this.#parts.freeBytes();
    } catch {
      return Number.POSITIVE_INFINITY;
    }
  }

  /** Gives up so many bytes of the oldest that is kept. */
  #giveUp(bytes: number): void {
    const { head, keep, log, world } = this.#parts;
    const { start } = keep();
    if (start === null) return;
    const upTo = offset(Math.min(head(), start + bytes));
    if (!keep().giveUp(upTo)) return;
    const now = world.monotonic();
    if (now - this.#warnedAt < WARN_MS) return;
    this.#warnedAt = now;
    log.warn('journal-not-kept', { detail: 'the disk is nearly full', from: start, to: upTo });
  }
}
