/**
 * Keeps followers that receive no events able to resume. A follower that loses its connection resumes from the last position that
 * it received, and only while the backlog holds the stream after that position. So each subscription gets a bookmark from time to
 * time, and sooner while clients write fast.
 *
 * Owns: the times of the next bookmarks. The rounds send them.
 */
import type { Offset } from '../../replication/position.ts';
import type { StreamHead } from '../head/stream-head.ts';
import type { World } from '../ports/world.ts';
import type { Subscription } from './followers/subscription.ts';

/** Milliseconds without a message after which live followers get a bookmark, if the head has moved. */
const BOOKMARK_MS = 2_000;
/** Milliseconds without a message after which live followers get a bookmark even if the head has not moved, as a sign of life. */
const HEARTBEAT_MS = 10_000;
/** Share of the backlog between a follower's last position and the head at which it gets a bookmark. */
const BACKLOG_SHARE = 1 / 4;
/** Share of the backlog by which the head moves between two searches for such followers. */
const LOOK_SHARE = 1 / 8;
/** Smallest number of milliseconds between two rounds of hurried bookmarks. */
const HURRIED_MS = 50;
/** Largest number of hurried bookmarks in a second, to all followers together. */
export const HURRIED_PER_SECOND = 20_000;

interface BookmarksParts {
  readonly world: World;
  readonly head: StreamHead;
  readonly subscriptions: () => Iterable<Subscription>;
  /** Has the next round tell the live followers of the subscription where the stream is. */
  readonly send: (subscription: Subscription) => void;
}

export class Bookmarks {
  readonly #parts: BookmarksParts;
  /** Offset of the head at the last search for followers that need a hurried bookmark. */
  #lookedAt: Offset;
  /** Cancels the pause after hurried bookmarks; null: there is none. */
  #cancelPause: (() => void) | null = null;

  constructor(parts: BookmarksParts) {
    this.#parts = parts;
    this.#lookedAt = parts.head.offset;
  }

  /** Notes that the head has moved. */
  committed(): void {
    const { head } = this.#parts;
    if (head.offset - this.#lookedAt >= head.backlog.size * LOOK_SHARE) this.#hurry();
  }

  /** Starts again at the head, because a full resync has replaced the stream. */
  replaced(): void {
    this.#lookedAt = this.#parts.head.offset;
  }

  /** Sends the bookmarks whose time has come. */
  sweep(): void {
    const { head, world, subscriptions, send } = this.#parts;
    const now = world.monotonic();
    for (const subscription of subscriptions()) {
      const silentMs = now - subscription.announcedAt;
      const isDue =
        silentMs >= HEARTBEAT_MS || (silentMs >= BOOKMARK_MS && head.offset > subscription.announced);
      if (isDue && subscription.live.size > 0) send(subscription);
    }
  }

  /** Whether a follower at `at` needs a bookmark, because the backlog will soon lose the stream after `told`. */
  isStale(told: Offset, at: Offset): boolean {
    return at - told >= this.#parts.head.backlog.size * BACKLOG_SHARE;
  }

  /** Cancels the pause: the last follower has gone. */
  stop(): void {
    this.#cancelPause?.();
    this.#cancelPause = null;
  }

  /**
   * Sends bookmarks to followers whose last position the backlog will soon lose. The end of the pause after them looks
   * again, so the last writes of a burst count too.
   */
  #hurry(): void {
    if (this.#cancelPause !== null) return;
    const { head, world, subscriptions, send } = this.#parts;
    this.#lookedAt = head.offset;
    let sent = 0;
    for (const subscription of subscriptions()) {
      if (subscription.live.size === 0 || !this.isStale(subscription.announced, head.offset)) continue;
      send(subscription);
      sent += subscription.live.size;
    }
    if (sent === 0) return;
    const pauseMs = Math.max(HURRIED_MS, (1_000 * sent) / HURRIED_PER_SECOND);
    this.#cancelPause = world.after(pauseMs, () => {
      this.#cancelPause = null;
      this.#hurry();
    });
  }
}
