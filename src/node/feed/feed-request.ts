/** What a follower asks for, on every transport. */
import type { Prefixes } from '../../keyspace/prefixes.ts';
import type { Position } from '../../replication/position.ts';

export interface FeedRequest {
  /** Where to go on; `snapshot`: from a snapshot; `now`: only what comes. */
  readonly from: Position | 'snapshot' | 'now';
  readonly prefixes: Prefixes;
  /** Whether a position that is lost is answered with a snapshot; otherwise with an error. */
  readonly snapshot: boolean;
  /** The stream ends after so many changes; null: never. */
  readonly limit: number | null;
  /** Long poll: the stream ends when it has brought something, and after so long at the latest; null: never. */
  readonly waitMs: number | null;
}
