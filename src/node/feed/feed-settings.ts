/** Limits of the feed. */
export interface FeedSettings {
  /** Most followers at the same time. */
  readonly maxFollowers: number;
  /** Most bytes of the stream that a follower may lag before the feed closes it; never less than the backlog. */
  readonly followerOutputBytes: number;
  /** Longest time, in milliseconds, for which a follower takes nothing or answers no ping before the feed closes it. */
  readonly timeoutMs: number;
  readonly pingIntervalMs: number;
}
