/**
 * Brings followers up to date that lack something of the stream, until they are where the live ones are.
 *
 * They are served in *sweeps*: everybody who can take something, in the order of their places in the stream. Neighbours need
 * the same stretches, so the stream is decoded once for all of them, however many they are and whatever their prefixes. A
 * follower whose turn it is goes as far as it can, to the head if nothing of its own is in the way, and is live then.
 *
 * Owns: who is behind, and the decoded stretches.
 */
import type { Offset } from '../../replication/position.ts';
import type { StreamHead } from '../head/stream-head.ts';
import type { Follower } from './follower.ts';
import { LARGE_STREAM_BYTES } from './queued-messages.ts';
import type { Portion, Stretch } from './stretch.ts';
import { Stretches } from './stretches.ts';
import type { Subscription } from './subscription.ts';

/** In one turn of the event loop so many pieces are sent… */
const SLICE_SENDS = 128;
/** …so many stretches are decoded… */
const SLICE_READS = 4;
/** …so many bytes of messages are put together that no other follower has been given… */
const SLICE_BYTES = 256 * 1024;
/** …and so many times a follower's prefixes are looked for in a stretch: less than a millisecond each. */
const SLICE_STEPS = 1_024;
/** In one sweep a follower is given so many stretches, so that the others who are behind keep near to it. */
const SWEEP_STRETCHES = 32;
/** The decoded stretches are kept until nobody has been behind at so many calls of `tidy` in a row. */
const IDLE_TIDIES = 20;

interface CatchUpParts {
  readonly head: StreamHead;
  /** How far the followers of the subscription may be given the stream now: where its live ones are. */
  readonly limit: (subscription: Subscription) => Offset;
  /** Whether a follower may be given another large message. */
  readonly hasRoom: () => boolean;
  /** The follower is where the live ones are. */
  readonly arrived: (follower: Follower) => void;
  /** The follower was given something. */
  readonly given: (follower: Follower, portion: Portion) => void;
  /** What the follower lacks cannot be read. */
  readonly failed: (follower: Follower, error: unknown) => void;
}

/** What may still be done in this turn. */
class Budget {
  sends = SLICE_SENDS;
  reads = SLICE_READS;
  bytes = SLICE_BYTES;
  steps = SLICE_STEPS;

  get isSpent(): boolean {
    return this.sends <= 0 || this.reads <= 0 || this.bytes <= 0 || this.steps <= 0;
  }
}

export class CatchUp {
  readonly #parts: CatchUpParts;
  readonly #stretches: Stretches;
  readonly #behind = new Set<Follower>();
  /** Those of them who can take something. */
  readonly #ready = new Set<Follower>();
  /** Those of them who wait until there is room for another large message. */
  readonly #waiting = new Set<Follower>();
  /** The sweep: who was ready when it began, and how many of them have had their turn. */
  #sweep: readonly Follower[] = [];
  #served = 0;
  #idleTidies = 0;

  constructor(parts: CatchUpParts) {
    this.#parts = parts;
    this.#stretches = new Stretches(parts.head);
  }

  /** How many followers are behind. */
  get size(): number {
    return this.#behind.size;
  }

  /** Whether there is nothing to do before a socket takes more. */
  get isIdle(): boolean {
    return this.#ready.size === 0;
  }

  /** The follower is behind from now on. */
  add(follower: Follower): void {
    this.#behind.add(follower);
    if (!follower.isFull) this.#ready.add(follower);
  }

  /** Whether somebody waits until there is room for another large message. */
  get isShort(): boolean {
    return this.#waiting.size > 0;
  }

  /** There is room for another large message. */
  hasRoom(): void {
    for (const follower of this.#waiting) if (!follower.isFull) this.#ready.add(follower);
    this.#waiting.clear();
  }

  /** Its socket takes more. */
  drained(follower: Follower): void {
    if (this.#behind.has(follower)) this.#ready.add(follower);
  }

  /** It is live, is given a snapshot, or has gone. */
  delete(follower: Follower): void {
    this.#behind.delete(follower);
    this.#ready.delete(follower);
    this.#waiting.delete(follower);
    if (this.#behind.size === 0) this.#sweep = [];
  }

  /** Gives back the memory that nobody needs any more; to be called from time to time. */
  tidy(): void {
    this.#idleTidies = this.#behind.size === 0 ? this.#idleTidies + 1 : 0;
    if (this.#idleTidies >= IDLE_TIDIES) this.#stretches.clear();
  }

  /**
   * Whether a position may stop here: not inside a write. The journal says where commits end; one that has many writes is
   * looked through, and what was decoded for that serves the followers that go on from there.
   * @param at an offset that the backlog holds
   * @throws StorageError when the journal cannot be read
   */
  isBoundary(at: Offset): boolean {
    let from = this.#parts.head.lastCommit(at);
    while (from !== null && from < at) {
      const stretch: Stretch = this.#stretches.get(from) ?? this.#stretches.read(from);
      if (at <= stretch.to) return stretch.isBoundary(at);
      from = stretch.to;
    }
    return from === at;
  }

  /** Drops what was decoded: the stream is another one, or has another name, or nobody follows any more. */
  forget(): void {
    this.#stretches.clear();
  }

  /** Does what there is to do, as much as one turn of the event loop may take. */
  turn(): void {
    const budget = new Budget();
    if (this.#served >= this.#sweep.length) this.#startSweep();
    while (this.#served < this.#sweep.length && !budget.isSpent) {
      const follower = this.#sweep[this.#served] as Follower;
      this.#served += 1;
      if (this.#ready.has(follower)) this.#serve(follower, budget);
    }
  }

  #startSweep(): void {
    this.#sweep = [...this.#ready].sort((one, other) => one.cursor - other.cursor);
    this.#served = 0;
  }

  #serve(follower: Follower, budget: Budget): void {
    try {
      for (let count = 0; count < SWEEP_STRETCHES && this.#advance(follower, budget); count += 1);
    } catch (error) {
      this.#parts.failed(follower, error);
    }
  }

  /** Gives the follower what it lacks of one stretch. @returns whether it can be given more in this turn */
  #advance(follower: Follower, budget: Budget): boolean {
    const { subscription, cursor } = follower;
    const upTo = this.#parts.limit(subscription);
    budget.steps -= 1;
    if (cursor >= upTo) {
      // It may be ahead of the live ones, if it came after what is pending for them: then they will be there soon.
      if (cursor === upTo) this.#parts.arrived(follower);
      budget.sends -= 1;
      return false;
    }
    let stretch = this.#stretches.get(cursor);
    if (stretch === null) {
      budget.reads -= 1;
      stretch = this.#stretches.read(cursor);
    }
    let portion = stretch.sharedPortion(subscription, cursor, upTo);
    if (portion === null && stretch.bytes >= LARGE_STREAM_BYTES && !this.#parts.hasRoom()) {
      this.#ready.delete(follower);
      this.#waiting.add(follower);
      return false;
    }
    if (portion === null) {
      portion = this.#stretches.portion(stretch, subscription, cursor, upTo);
      budget.bytes -= portion.frames.size;
    }
    if (portion.told !== null) budget.sends -= 1;
    follower.take(portion);
    this.#parts.given(follower, portion);
    if (follower.isFull) this.#ready.delete(follower);
    return this.#ready.has(follower) && !budget.isSpent;
  }
}
