/**
 * Keeps the places of followers to whom nothing happens. A follower that is cut off resumes from the last position that it
 * was told, and it can do so only while the backlog holds what follows that position. So each subscription gets a bookmark
 * from time to time, and sooner while the stream runs fast.
 *
 * Owns: when the next bookmarks are due. The feed sends them.
 */
import type { Offset } from '../../replication/position.ts';
import type { StreamHead } from '../head/stream-head.ts';
import type { World } from '../ports.ts';
import type { Subscription } from './subscription.ts';

/** A live follower that was told nothing for so long is told where the stream is, if it has moved. */
const BOOKMARK_MS = 2_000;
/** A live follower that was told nothing for so long is told so that it knows that the feed is alive. */
const HEARTBEAT_MS = 10_000;
/** A follower gets a bookmark when more than this share of the backlog lies between what it was told and the head. */
const BACKLOG_SHARE = 1 / 4;
/** The feed looks for such followers each time the head has moved by this share of the backlog. */
const LOOK_SHARE = 1 / 8;
/** Two rounds of hurried bookmarks are at least so many milliseconds apart. */
const HURRIED_MS = 50;
/** All hurried bookmarks together are at most so many a second. */
export const HURRIED_PER_SECOND = 20_000;

interface BookmarksParts {
  readonly world: World;
  readonly head: StreamHead;
  readonly subscriptions: () => Iterable<Subscription>;
  /** Tells the live followers of the subscription where the stream is, in their next round. */
  readonly send: (subscription: Subscription) => void;
}

export class Bookmarks {
  readonly #parts: BookmarksParts;
  #lookedAt: Offset;
  /** Set while the last hurried bookmarks are too recent for more. */
  #cancelPause: (() => void) | null = null;

  constructor(parts: BookmarksParts) {
    this.#parts = parts;
    this.#lookedAt = parts.head.offset;
  }

  /** The head has moved. */
  committed(): void {
    const { head } = this.#parts;
    if (head.offset - this.#lookedAt >= head.backlog.size * LOOK_SHARE) this.#hurry();
  }

  /** The stream goes on from another place. */
  replaced(): void {
    this.#lookedAt = this.#parts.head.offset;
  }

  /** Sends the bookmarks that are due because time has passed. */
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

  /** Whether a follower that was told the one offset has to be told the other one, lest the backlog moves on past it. */
  isStale(told: Offset, at: Offset): boolean {
    return at - told >= this.#parts.head.backlog.size * BACKLOG_SHARE;
  }

  /** Nobody follows any more. */
  stop(): void {
    this.#cancelPause?.();
    this.#cancelPause = null;
  }

  /**
   * Tells followers where the stream is before the backlog moves on past what they know. What is written during the pause
   * after it is looked at when the pause ends: so the last writes of a burst are told too.
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
