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
