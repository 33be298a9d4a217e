/**
 * The followers with the same prefixes. The feed makes each message once for all of them.
 *
 * A follower is *live* once the feed has sent it everything up to `at`. A commit adds its groups to `pending`. A *round* sends
 * the pending groups to all live followers; it covers the stream from `at` to the head at its begin. A follower whose socket is
 * full leaves the live ones, keeps its place in the stream as a cursor, and comes back when it has caught up. So a slow
 * follower costs the subscription nothing, and pending groups are no older than the last round.
 *
 * Places: `announced <= at`, and each live follower has received a position at or past `announced` once the round is over.
 */
import type { Prefixes } from '../../../keyspace/prefixes.ts';
import { type Offset, offset } from '../../../replication/position.ts';
import { Frames } from '../messages/frames.ts';
import type { Group, Message } from '../messages/message.ts';
import type { Follower } from './follower.ts';

/** Messages for all followers that were live when the round began. */
export interface Round {
  /** The round covers the writes that end after `from`, up to and including `to`. */
  readonly from: Offset;
  readonly to: Offset;
  /** Last position that the members received before the round. */
  readonly announcedBefore: Offset;
  readonly frames: Frames;
  readonly members: readonly Follower[];
  /** Number of members that have received the round. */
  given: number;
}

/** A follower that was live, with its places: see `Follower`. */
export interface Interrupted {
  readonly follower: Follower;
  readonly cursor: Offset;
  readonly told: Offset;
}

export class Subscription {
  readonly prefixes: Prefixes;
  /** All followers of the subscription, live or not. */
  readonly members = new Set<Follower>();
  readonly live = new Set<Follower>();
  /** Place up to which the live followers have everything, or get it in the present round. */
  at: Offset;
  /** Last position that the feed has sent the live followers, or sends in the present round. */
  announced: Offset;
  /** Begin of the last round, in milliseconds of the monotonic clock. */
  announcedAt: number;
  /** Whether the next round tells the live followers the position of the head, even without an event of theirs. */
  bookmarkDue = false;
  /** Groups for the next round, in the order of the stream. */
  pending: Group[] = [];
  /** Bytes of the stream in the pending groups. */
  pendingBytes = 0;
  /** The present round; null: there is none. */
  round: Round | null = null;

  /** @param now milliseconds of the monotonic clock */
  constructor(prefixes: Prefixes, at: Offset, now: number) {
    this.prefixes = prefixes;
    this.at = at;
    this.announced = at;
    this.announcedAt = now;
  }

  /** Adds a group for the next round. */
  add(group: Group): void {
    // The stream before the group has no event of theirs, and the journal may have lost it: no follower must read it.
    if (this.round === null && this.pending.length === 0) this.at = offset(group.end - group.bytes);
    this.pending.push(group);
    this.pendingBytes += group.bytes;
  }

  /** Whether the subscription has something to send, or is sending it. */
  get isBusy(): boolean {
    return this.round !== null || this.pending.length > 0 || this.bookmarkDue;
  }

  /** Position that the live followers know once they have the pending groups. */
  get willTell(): Offset {
    return this.pending[this.pending.length - 1]?.end ?? this.at;
  }

  /**
   * Begins a round with the pending groups.
   * @param to the head of the stream
   * @param now milliseconds of the monotonic clock
   * @param bookmark makes the message that names `to`
   */
  begin(to: Offset, now: number, bookmark: () => Message): void {
    const messages = this.pending.flatMap((group) => group.messageFor(this.prefixes) ?? []);
    const last = this.pending[this.pending.length - 1];
    const from = last === undefined ? to : this.at;
    const announcedBefore = this.announced;
    this.announced = this.bookmarkDue || last === undefined ? to : last.end;
    if (this.bookmarkDue) messages.push(bookmark());
    this.pending = [];
    this.pendingBytes = 0;
    this.bookmarkDue = false;
    this.round = {
      from,
      to,
      announcedBefore,
      frames: new Frames(messages),
      members: [...this.live],
      given: 0,
    };
    this.at = to;
    this.announcedAt = now;
  }

  /** Drops the pending groups and the present round. @returns the followers that were live, with their places */
  interrupt(): readonly Interrupted[] {
    const { announced, at, round } = this;
    const unserved = new Set(round?.members.slice(round.given));
    const places = [...this.live].map((follower) =>
      round !== null && unserved.has(follower)
        ? { follower, cursor: round.from, told: round.announcedBefore }
        : { follower, cursor: at, told: announced },
    );
    this.live.clear();
    this.pending = [];
    this.pendingBytes = 0;
    // Each follower gets its bookmark when it goes live again.
    this.bookmarkDue = false;
    this.round = null;
    return places;
  }

  /** Whether a round will soon send the live follower something. */
  owes(follower: Follower): boolean {
    if (this.pending.length > 0 || this.bookmarkDue) return true;
    return this.round !== null && this.round.members.indexOf(follower, this.round.given) !== -1;
  }
}
