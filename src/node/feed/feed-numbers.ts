/** Numbers of the feed for `/metrics`. They are read when somebody scrapes, and cost followers nothing before. */
import type { CloseName } from '../../replication/close-code.ts';
import type { Offset } from '../../replication/position.ts';
import { Tally } from '../ports/counts.ts';
import type { Transport } from '../ports/follower-socket.ts';
import type { Follower } from './followers/follower.ts';
import type { Subscription } from './followers/subscription.ts';

/** What the feed counts since the start. */
export class FeedTraffic {
  /** Followers that this node has disconnected before they had what they asked for, by the name of the close code. */
  readonly dropped = new Tally<CloseName>();
  /** Bytes of messages that sockets were given. */
  sentBytes = 0;
}

export interface FeedNumbers {
  readonly traffic: FeedTraffic;
  readonly followers: ReadonlyMap<Transport, number>;
  /** Bytes of the stream that the follower lacks that is furthest behind; one that gets a snapshot does not count. */
  readonly lagBytes: number;
}

/**
 * Reads each follower once.
 * @param pinned followers that are behind, or get a snapshot
 * @param head of the stream
 */
export function feedNumbers(
  traffic: FeedTraffic,
  followers: Iterable<Follower>,
  pinned: Iterable<Follower>,
  subscriptions: Iterable<Subscription>,
  head: Offset,
): FeedNumbers {
  const counts = new Map<Transport, number>([
    ['websocket', 0],
    ['sse', 0],
    ['ndjson', 0],
  ]);
  for (const { socket } of followers) counts.set(socket.transport, (counts.get(socket.transport) ?? 0) + 1);
  let lagBytes = 0;
  for (const { cursor, phase } of pinned)
    if (phase === 'behind') lagBytes = Math.max(lagBytes, head - cursor);
  for (const { pendingBytes } of subscriptions) lagBytes = Math.max(lagBytes, pendingBytes);
  return { traffic, followers: counts, lagBytes };
}
