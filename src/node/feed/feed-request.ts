/** The request of a follower, on every transport. */
import type { Prefixes } from '../../keyspace/prefixes.ts';
import type { Position } from '../../replication/position.ts';

/** A follower's request as it was sent; `Admission` resolves a time to a position. */
export interface FeedQuery extends Omit<FeedRequest, 'from'> {
  readonly from: FeedRequest['from'] | FeedTime;
}

/** A start with everything that was committed at this time or later, in milliseconds since 1970 by the clock of the node. */
export interface FeedTime {
  readonly time: number;
}

export interface FeedRequest {
  /** Start of the stream: after a position, with a snapshot, or with the next event (`now`). */
  readonly from: Position | 'snapshot' | 'now';
  readonly prefixes: Prefixes;
  /** Whether the feed answers a lost position with a snapshot; otherwise it answers with an error. */
  readonly snapshot: boolean;
  /** Number of changes after which the stream ends; null: it does not end. */
  readonly limit: number | null;
  /** Longest wait of a long poll for its first changes, in milliseconds; null: a stream that does not end. */
  readonly waitMs: number | null;
}
