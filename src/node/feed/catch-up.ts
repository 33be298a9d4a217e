/**
 * Brings followers up to date that lack a part of the stream, until they reach the live followers.
 *
 * A *sweep* serves all followers whose sockets take more, in the order of their places in the stream. Neighbours need the same
 * stretches, so the feed decodes the stream once for all of them, whatever their number and their prefixes. A sweep brings each
 * follower to the head, where it goes live, unless its socket is full first or it has read 32 stretches. Where a turn or a sweep stops
 * tells a follower nothing of others: what it is sent at a time depends on the stream, its own place and the head alone.
 *
 * Owns: the followers that are behind, and the decoded stretches.
 */
import { formatPosition, type Offset } from '../../replication/position.ts';
import type { StreamHead } from '../head/stream-head.ts';
import type { Bookmarks } from './bookmarks.ts';
import type { Follower, FollowerService } from './followers/follower.ts';
import { LARGE_STREAM_BYTES } from './followers/queued-messages.ts';
import { STRETCH_BYTES, type Stretch } from './followers/stretch.ts';
import { Stretches } from './followers/stretches.ts';
import { bookmarkMessage, type Message } from './messages/message.ts';
import type { Rounds } from './rounds.ts';

/** Largest number of portions that one turn of the event loop sends. Each limit of a turn takes less than a millisecond. */
const SLICE_SENDS = 128;
/** Bytes of the stream after which a turn of the event loop decodes no more: four blocks, or one large write. */
const SLICE_READ_BYTES = 4 * STRETCH_BYTES;
/** Bytes of messages after which a turn of the event loop makes no more; messages made for an earlier follower do not count. */
const SLICE_BYTES = 256 * 1024;
/** Largest number of searches for a follower's prefixes in a stretch, in one turn of the event loop. */
const SLICE_STEPS = 1_024;
/** Largest number of stretches that a follower reads in one sweep, so that the other followers stay near it. */
const SWEEP_STRETCHES = 32;
/** Calls of `tidy` in a row without a follower that is behind, after which the decoded stretches are dropped. */
const IDLE_TIDIES = 20;

interface CatchUpParts extends FollowerService {
  readonly head: StreamHead;
  readonly rounds: Rounds;
  readonly bookmarks: Bookmarks;
  /** Called when the store cannot read the part of the stream that the follower lacks. */
  readonly failed: (follower: Follower, error: unknown) => void;
}

/** Work that the present turn may still do. */
class Budget {
  sends = SLICE_SENDS;
  readBytes = SLICE_READ_BYTES;
  bytes = SLICE_BYTES;
  steps = SLICE_STEPS;

  get isSpent(): boolean {
    return this.sends <= 0 || this.readBytes <= 0 || this.bytes <= 0 || this.steps <= 0;
  }
}

export class CatchUp {
  readonly #parts: CatchUpParts;
  readonly #stretches: Stretches;
  readonly #behind = new Set<Follower>();
  /** Followers that are behind and whose sockets take more. */
  readonly #ready = new Set<Follower>();
  /** Followers that are behind and wait for room for another large message. */
  readonly #waiting = new Set<Follower>();
  /** The present sweep: the followers that were ready at its begin; the first `#served` of them have had their turn. */
  #sweep: readonly Follower[] = [];
  #served = 0;
  #idleTidies = 0;

  constructor(parts: CatchUpParts) {
    this.#parts = parts;
    this.#stretches = new Stretches(parts.head);
  }

  /** Number of followers that are behind. */
  get size(): number {
    return this.#behind.size;
  }

  /** Whether no follower can be served before a socket drains. */
  get isIdle(): boolean {
    return this.#ready.size === 0;
  }

  /** Takes a follower that has just resumed, or whose round was dropped. If it lacks nothing, it goes live at once. */
  start(follower: Follower): void {
    this.#parts.endIfDone(follower);
    if (follower.phase !== 'behind') return;
    if (follower.cursor === this.#parts.rounds.limitOf(follower.subscription)) {
      this.arrive(follower);
    } else {
      this.add(follower);
      this.#parts.wake();
    }
  }

  /** Adds a follower that is behind. */
  add(follower: Follower): void {
    this.#behind.add(follower);
    if (!follower.isFull) this.#ready.add(follower);
  }

  /**
   * Lets a follower go live when it has everything that the live followers have, and tells it its place unless it knows it.
   * A long poll whose time is up ends instead.
   */
  arrive(follower: Follower): void {
    if (follower.isOverdue || follower.told < follower.cursor)
      follower.tellPlace(this.#bookmarkFor(follower));
    if (follower.isOverdue) {
      this.#parts.overdue(follower);
      return;
    }
    follower.goLive();
    this.delete(follower);
    if (follower.phase === 'live') this.#parts.rounds.join(follower);
  }

  /** Whether a follower waits for room for another large message. */
  get isShort(): boolean {
    return this.#waiting.size > 0;
  }

  /** Whether such a follower is one of these. */
  waits(isOneOf: (follower: Follower) => boolean): boolean {
    for (const follower of this.#waiting) if (isOneOf(follower)) return true;
    return false;
  }

  /** Serves the followers that waited for room for another large message, as far as there is some now. */
  roomMade(): void {
    for (const follower of this.#waiting) {
      if (!this.#parts.hasRoom(follower, null)) continue;
      this.#waiting.delete(follower);
      if (!follower.isFull) this.#ready.add(follower);
    }
  }

  /** Serves a follower again whose socket has drained. */
  drained(follower: Follower): void {
    if (this.#behind.has(follower)) this.#ready.add(follower);
  }

  /** Removes a follower that is live, gets a snapshot, or is closed. */
  delete(follower: Follower): void {
    this.#behind.delete(follower);
    this.#ready.delete(follower);
    this.#waiting.delete(follower);
    if (this.#behind.size === 0) this.#sweep = [];
  }

  /** Frees unused memory; upkeep calls it from time to time. */
  tidy(): void {
    this.#idleTidies = this.#behind.size === 0 ? this.#idleTidies + 1 : 0;
    if (this.#idleTidies >= IDLE_TIDIES) this.#stretches.clear();
  }

  /** Drops the decoded stretches, because the stream or its run ID is another one, or the last follower has gone. */
  forget(): void {
    this.#stretches.clear();
  }

  /** Serves followers for as long as one turn of the event loop may last. */
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

  /** Sends the follower its part of one stretch. @returns whether it can take more in this turn */
  #advance(follower: Follower, budget: Budget): boolean {
    const { subscription, cursor } = follower;
    const upTo = this.#parts.rounds.limitOf(subscription);
    budget.steps -= 1;
    if (cursor >= upTo) {
      // A follower that resumed at a newer position than the live ones have is ahead of them until their next round.
      if (cursor === upTo) this.arrive(follower);
      budget.sends -= 1;
      return false;
    }
    const stretch = this.#stretches.get(cursor, upTo) ?? this.#read(cursor, budget);
    let portion = stretch.sharedPortion(subscription, cursor, upTo);
    const frames = portion?.frames ?? null;
    const isLarge = (frames?.size ?? Math.min(stretch.to, upTo) - cursor) >= LARGE_STREAM_BYTES;
    if (isLarge && !this.#parts.hasRoom(follower, frames)) {
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
    this.#parts.given(follower, portion.frames);
    this.#keepPlace(follower);
    if (follower.isFull) this.#ready.delete(follower);
    return this.#ready.has(follower) && !budget.isSpent;
  }

  #read(cursor: Offset, budget: Budget): Stretch {
    const before = this.#stretches.readBytes;
    const stretch = this.#stretches.read(cursor);
    budget.readBytes -= this.#stretches.readBytes - before;
    return stretch;
  }

  /** Tells the follower its place if it got no event for so long that the backlog will soon lose the stream after the last one. */
  #keepPlace(follower: Follower): void {
    if (follower.phase !== 'behind' || !this.#parts.bookmarks.isStale(follower.told, follower.cursor)) return;
    follower.tellPlace(this.#bookmarkFor(follower));
  }

  #bookmarkFor({ cursor }: Follower): Message {
    const { runId } = this.#parts.head.position;
    return bookmarkMessage(formatPosition({ runId, offset: cursor }));
  }
}
