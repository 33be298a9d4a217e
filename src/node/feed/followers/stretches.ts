/**
 * The decoded stretches for followers that catch up, one for each block of the stream, so they do not overlap. The feed keeps as many as
 * their memory limit allows, so that all followers that are behind share one decoding, whatever their places. What it keeps
 * changes only how fast it serves them: see `Stretch`.
 */
import { type Offset, offset } from '../../../replication/position.ts';
import type { StreamHead } from '../../head/stream-head.ts';
import { readSegment, type Segment } from './segment.ts';
import { StreamReader } from './stream-reader.ts';
import { blockOf, type Portion, STRETCH_BYTES, Stretch } from './stretch.ts';
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

export interface StretchLimits {
  readonly memory: number;
  readonly messageMemory: number;
  readonly stretches: number;
}

const LIMITS: StretchLimits = {
  memory: MAX_STRETCH_MEMORY,
  messageMemory: MAX_MESSAGE_MEMORY,
  stretches: MAX_STRETCHES,
};

export class Stretches {
  readonly #head: StreamHead;
  readonly #limits: StretchLimits;
  readonly #reader: StreamReader;
  /** By the number of the block, the least recently used one first. */
  readonly #kept = new Map<number, Stretch>();
  #memory = 0;
  #messageMemory = 0;
  #readBytes = 0;

  constructor(head: StreamHead, limits = LIMITS) {
    this.#head = head;
    this.#limits = limits;
    this.#reader = new StreamReader(head);
  }

  /** Bytes of memory that all stretches take without their messages, by estimate. */
  get memory(): number {
    return this.#memory;
  }

  /** Bytes of memory that the messages take which the stretches keep, by estimate. */
  get messageMemory(): number {
    return this.#messageMemory;
  }

  /** Bytes of the stream that have been decoded since the start. */
  get readBytes(): number {
    return this.#readBytes;
  }

  /**
   * @param after place of a follower
   * @param upTo offset up to which the follower may get the stream
   * @returns the kept stretch with everything that the follower gets next; null: none has it, and `read` makes one
   */
  get(after: Offset, upTo: Offset): Stretch | null {
    const block = blockOf(after);
    const stretch = this.#kept.get(block);
    if (stretch === undefined || after < stretch.from || after >= stretch.to) return null;
    if (stretch.isOpen && stretch.to < upTo) return null;
    this.#use(block, stretch);
    return stretch;
  }

  /**
   * Reads what the kept stretch lacks of the block after `after`, up to the head, or the whole stretch, and keeps the result.
   * @param after offset before the head where a write ends
   * @throws StorageError when the store cannot read the journal
   */
  read(after: Offset): Stretch {
    const block = blockOf(after);
    const kept = this.#kept.get(block);
    // The journal may have lost what lies between them: a follower must not need the stream before its place.
    const hasGap = kept !== undefined && kept.to < after;
    if (hasGap) this.#drop(block, kept);
    const stretch = kept === undefined || hasGap ? this.#begin(after) : this.#complete(kept, after);
    this.#use(block, stretch);
    this.#makeRoom(stretch);
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
    this.#kept.clear();
    this.#reader.clear();
    this.#memory = 0;
    this.#messageMemory = 0;
  }

  #begin(after: Offset): Stretch {
    const stretch = new Stretch(this.#segment(after, offset((blockOf(after) + 1) * STRETCH_BYTES)));
    this.#memory += stretch.memory;
    return stretch;
  }

  /** Adds to a kept stretch what it lacks after `after`. */
  #complete(stretch: Stretch, after: Offset): Stretch {
    const before = stretch.memory;
    try {
      if (after < stretch.from) stretch.prepend(this.#segment(after, stretch.from));
      if (stretch.isOpen && stretch.to < this.#head.offset) {
        stretch.append(this.#segment(stretch.to, stretch.blockEnd));
      }
    } finally {
      this.#memory += stretch.memory - before;
    }
    return stretch;
  }

  /** @param enough offset that the segment reaches, unless the head is before it */
  #segment(from: Offset, enough: Offset): Segment {
    const segment = readSegment(this.#head, this.#reader, from, offset(Math.min(enough, this.#head.offset)));
    this.#reader.tidy(segment.to);
    this.#readBytes += segment.bytes;
    return segment;
  }

  #use(block: number, stretch: Stretch): void {
    this.#kept.delete(block);
    this.#kept.set(block, stretch);
  }

  #drop(block: number, stretch: Stretch): void {
    this.#kept.delete(block);
    this.#memory -= stretch.memory;
    this.#messageMemory -= stretch.messageMemory;
  }

  /** Drops the least recently used stretches; the one in use stays, whatever its size. */
  #makeRoom(inUse: Stretch): void {
    for (const [block, stretch] of this.#kept) {
      if (this.#memory <= this.#limits.memory && this.#kept.size <= this.#limits.stretches) return;
      if (stretch !== inUse) this.#drop(block, stretch);
    }
  }

  /** Drops the messages of the least recently used stretches; those of the one in use stay, whatever their size. */
  #forgetMessages(inUse: Stretch): void {
    if (this.#messageMemory <= this.#limits.messageMemory) return;
    for (const stretch of this.#kept.values()) {
      if (this.#messageMemory <= this.#limits.messageMemory) return;
      if (stretch === inUse) continue;
      this.#messageMemory -= stretch.messageMemory;
      stretch.forgetMessages();
    }
  }
}
