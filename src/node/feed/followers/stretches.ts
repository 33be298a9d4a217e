/**
 * The decoded stretches for followers that catch up. They do not overlap. The feed keeps as many as their memory limit allows,
 * so that all followers that are behind share one decoding, whatever their places.
 */
import type { Offset } from '../../../replication/position.ts';
import type { StreamHead } from '../../head/stream-head.ts';
import { type Portion, readStretch, STRETCH_BYTES, type Stretch } from './stretch.ts';
import type { Subscription } from './subscription.ts';

/**
 * Largest memory of all stretches without their messages, in bytes, by estimate. Above it, the feed drops the least recently used
 * stretches.
 */
export const MAX_STRETCH_MEMORY = 16 * 1024 * 1024;
/**
 * Largest memory of the messages that all stretches keep, in bytes, by estimate. Above it, the feed drops those of the least recently used
 * stretches, and the stretches stay.
 */
export const MAX_MESSAGE_MEMORY = 16 * 1024 * 1024;
/** Largest number of stretches. Above it, the feed drops the least recently used one. */
const MAX_STRETCHES = 512;

interface Kept {
  readonly stretch: Stretch;
  /** A number that grows with each use of any stretch. */
  usedAt: number;
}

export class Stretches {
  readonly #head: StreamHead;
  /** Sorted by their places in the stream. */
  readonly #kept: Kept[] = [];
  #memory = 0;
  #messageMemory = 0;
  #uses = 0;

  constructor(head: StreamHead) {
    this.#head = head;
  }

  /** Bytes of memory that all stretches take without their messages, by estimate. */
  get memory(): number {
    return this.#memory;
  }

  /** Bytes of memory that the messages take which the stretches keep, by estimate. */
  get messageMemory(): number {
    return this.#messageMemory;
  }

  /** @returns the kept stretch with the byte after `after`; null: no kept stretch has it, and `read` makes one */
  get(after: Offset): Stretch | null {
    const kept = this.#kept[this.#indexBehind(after) - 1];
    if (kept === undefined || kept.stretch.to <= after) return null;
    this.#uses += 1;
    kept.usedAt = this.#uses;
    return kept.stretch;
  }

  /**
   * Decodes the stream after `after`, up to the next kept stretch or the head, and keeps the result.
   * @param after offset where a write ends; no kept stretch has the byte after it
   * @throws StorageError when the store cannot read the journal
   */
  read(after: Offset): Stretch {
    const index = this.#indexBehind(after);
    const upTo = this.#kept[index]?.stretch.from ?? this.#head.offset;
    const stretch = this.#joined(readStretch(this.#head, after, upTo), index);
    this.#makeRoom(stretch);
    return stretch;
  }

  /**
   * Keeps a new stretch in front of those from `index` on. While others write, each new one is short: it is joined with
   * those before it that are not much longer, so that a follower needs few steps for them, and each is seldom joined.
   */
  #joined(read: Stretch, index: number): Stretch {
    let stretch = read;
    let first = index;
    for (; first > 0; first -= 1) {
      const { stretch: before } = this.#kept[first - 1] as Kept;
      if (before.to !== stretch.from || before.bytes + stretch.bytes > STRETCH_BYTES) break;
      if (before.bytes > 2 * stretch.bytes) break;
      this.#count(before, -1);
      stretch = before.joinedWith(stretch);
    }
    this.#uses += 1;
    this.#kept.splice(first, index - first, { stretch, usedAt: this.#uses });
    this.#count(stretch, 1);
    return stretch;
  }

  /** Makes a portion of the stretch for followers of the subscription; see `Stretch.portion`. */
  portion(stretch: Stretch, subscription: Subscription, after: Offset, upTo: Offset): Portion {
    const before = stretch.messageMemory;
    const portion = stretch.portion(subscription, after, upTo);
    this.#messageMemory += stretch.messageMemory - before;
    this.#forgetMessages(stretch);
    return portion;
  }

  clear(): void {
    this.#kept.length = 0;
    this.#memory = 0;
    this.#messageMemory = 0;
  }

  /** @param sign 1: the stretch is kept from now on; -1: no longer */
  #count(stretch: Stretch, sign: 1 | -1): void {
    this.#memory += sign * stretch.memory;
    this.#messageMemory += sign * stretch.messageMemory;
  }

  /** @returns the index of the first stretch that begins after `after` */
  #indexBehind(after: Offset): number {
    let [low, high] = [0, this.#kept.length];
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.#kept[middle] as Kept).stretch.from <= after) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  /** Drops the least recently used stretches; the one in use stays, whatever its size. */
  #makeRoom(inUse: Stretch): void {
    while (
      this.#kept.length > 1 &&
      (this.#memory > MAX_STRETCH_MEMORY || this.#kept.length > MAX_STRETCHES)
    ) {
      const oldest = this.#oldest(({ stretch }) => stretch !== inUse);
      if (oldest === null) return;
      this.#kept.splice(this.#kept.indexOf(oldest), 1);
      this.#count(oldest.stretch, -1);
    }
  }

  /** Drops the messages of the least recently used stretches; those of the one in use stay, whatever their size. */
  #forgetMessages(inUse: Stretch): void {
    while (this.#messageMemory > MAX_MESSAGE_MEMORY) {
      const oldest = this.#oldest(({ stretch }) => stretch !== inUse && stretch.messageMemory > 0);
      if (oldest === null) return;
      this.#messageMemory -= oldest.stretch.messageMemory;
      oldest.stretch.forgetMessages();
    }
  }

  /** @returns the least recently used one of those that count; null: none does */
  #oldest(counts: (kept: Kept) => boolean): Kept | null {
    let oldest: Kept | null = null;
    for (const each of this.#kept) {
      if (counts(each) && (oldest === null || each.usedAt < oldest.usedAt)) oldest = each;
    }
    return oldest;
  }
}
