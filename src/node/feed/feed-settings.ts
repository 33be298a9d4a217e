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
