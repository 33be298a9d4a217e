/**
 * The followers that want the same keys. What they are told is made once for all of them.
 *
 * A follower is *live* when it has been given everything up to `at`. What is committed for it is collected in
 * `pending`, and given to all live followers in a *round*, which covers the stream from `at` to the head at the moment when
 * it begins. One that cannot take it leaves the live ones, keeps its place in the stream as a cursor, and comes back when it
 * has caught up. So whoever is slow costs nothing here, and what is pending is as old as the last round.
 */
import type { Prefixes } from '../../keyspace/prefixes.ts';
import { type Offset, offset } from '../../replication/position.ts';
import type { Follower } from './follower.ts';
import { Frames } from './frames.ts';
import type { Group, Message } from './message.ts';

/** Something that is given to all who were live when it began. */
export interface Round {
  /** Half open, counted like offsets: it tells of what was written behind `from`, up to and including `to`. */
  readonly from: Offset;
  readonly to: Offset;
  readonly frames: Frames;
  readonly members: readonly Follower[];
  /** How many of the members have had it. */
  given: number;
}

export class Subscription {
  readonly prefixes: Prefixes;
  /** Live or not. */
  readonly members = new Set<Follower>();
  readonly live = new Set<Follower>();
  /** The live followers have been given everything up to here, or the round will. */
  at: Offset;
  /** The last position that they were told. */
  announced: Offset;
  /** When they were told something last, in milliseconds of the monotonic clock. */
  announcedAt: number;
  /** They are to be told where the stream is, even if nothing of theirs happened. */
  bookmarkDue = false;
  pending: Group[] = [];
  pendingBytes = 0;
  round: Round | null = null;

  /** @param now milliseconds of the monotonic clock */
  constructor(prefixes: Prefixes, at: Offset, now: number) {
    this.prefixes = prefixes;
    this.at = at;
    this.announced = at;
    this.announcedAt = now;
  }

  add(group: Group): void {
    // What lies before it is not theirs, and may have left the journal already: nobody may have to read that.
    if (this.round === null && this.pending.length === 0) this.at = offset(group.end - group.bytes);
    this.pending.push(group);
    this.pendingBytes += group.bytes;
  }

  /** Whether there is something to be given, or being given. */
  get isBusy(): boolean {
    return this.round !== null || this.pending.length > 0 || this.bookmarkDue;
  }

  /** How far the live followers will have been told that the stream is, when they have got what is pending. */
  get willTell(): Offset {
    return this.pending[this.pending.length - 1]?.end ?? this.at;
  }

  /**
   * Begins a round with what is pending.
   * @param to the head of the stream
   * @param now milliseconds of the monotonic clock
   * @param bookmark says where that is
   */
  begin(to: Offset, now: number, bookmark: () => Message): void {
    const messages = this.pending.flatMap((group) => group.messageFor(this.prefixes) ?? []);
    const last = this.pending[this.pending.length - 1];
    const from = last === undefined ? to : this.at;
    this.announced = this.bookmarkDue || last === undefined ? to : last.end;
    if (this.bookmarkDue) messages.push(bookmark());
    this.pending = [];
    this.pendingBytes = 0;
    this.bookmarkDue = false;
    this.round = { from, to, frames: new Frames(messages), members: [...this.live], given: 0 };
    this.at = to;
    this.announcedAt = now;
  }

  /** Forgets what is pending or half given. @returns the followers that were live, with their places */
  interrupt(): readonly (readonly [Follower, Offset])[] {
    const { round } = this;
    const waiting = new Set(round?.members.slice(round.given));
    const places = [...this.live].map((follower) => [follower, this.#placeOf(follower, waiting)] as const);
    this.live.clear();
    this.pending = [];
    this.pendingBytes = 0;
    // They will be told when they are live again.
    this.bookmarkDue = false;
    this.round = null;
    return places;
  }

  /** Whether the live follower will be given something by itself, soon. */
  owes(follower: Follower): boolean {
    if (this.pending.length > 0 || this.bookmarkDue) return true;
    return this.round !== null && this.round.members.indexOf(follower, this.round.given) !== -1;
  }

  #placeOf(follower: Follower, waiting: ReadonlySet<Follower>): Offset {
    return this.round !== null && waiting.has(follower) ? this.round.from : this.at;
  }
}
