/** What the feed is given, and what it tells about itself. */
import type { PositionWaiters } from '../head/position-waiters.ts';
import type { StreamHead } from '../head/stream-head.ts';
import type { Log, World } from '../ports/world.ts';

export interface FeedParts {
  readonly world: World;
  readonly log: Log;
  readonly head: StreamHead;
  readonly positions: PositionWaiters;
  readonly settings: FeedSettings;
  readonly isMaster: () => boolean;
  readonly closing: () => boolean;
}

/** Limits of the feed. */
export interface FeedSettings {
  /** Largest number of followers at the same time. */
  readonly maxFollowers: number;
  /** Bytes of the stream that a follower may lag before the feed closes it; the backlog's size counts if that is larger. */
  readonly followerOutputBytes: number;
  /** Longest time, in milliseconds, for which a follower may take nothing or answer no ping before the feed closes it. */
  readonly timeoutMs: number;
  /** Milliseconds between two pings to each follower. */
  readonly pingIntervalMs: number;
}

/** Numbers of the feed for `/v1/info` and the log. */
export interface FeedStatus {
  readonly followers: number;
  /** Followers that read the stream to catch up. */
  readonly behind: number;
  /** Followers that wait for a snapshot or receive it. */
  readonly inSnapshot: number;
  readonly counters: Readonly<FeedCounters>;
}

export interface FeedCounters {
  continued: number;
  /** Requests for a snapshot, by reason. */
  resets: Record<string, number>;
  /** Followers that the feed closed because they lagged too far. */
  tooFarBehind: number;
}
