/**
 * Sends the commits of writers to the live followers.
 *
 * A commit only adds its groups to the subscriptions that want them; the write turn does nothing else. After it, rounds send
 * the pending groups, one slice of sends at a time, so that thousands of followers do not delay other work. A long round finds
 * more groups pending at its end, and the next round sends them in one piece: the more writers write, the less each event
 * costs.
 *
 * Owns: the subscriptions, the index of their prefixes, and the pending groups.
 */
import { formatPosition, type Offset, type RunId } from '../../replication/position.ts';
import type { Command, Run } from '../../stream/command.ts';
import type { StreamHead } from '../head/stream-head.ts';
import type { World } from '../ports/world.ts';
import { Turns } from '../turns.ts';
import type { FeedRequest } from './feed-request.ts';
import type { Follower, FollowerService } from './followers/follower.ts';
import { PrefixTrie } from './followers/prefix-trie.ts';
import { LARGE_STREAM_BYTES } from './followers/queued-messages.ts';
import { Subscription } from './followers/subscription.ts';
import { bookmarkMessage, forEachGroup, Group, type GroupRange } from './messages/message.ts';

/** Number of sends between two looks at the clock; they take less than a millisecond together. */
const SLICE_SENDS = 128;
/** Bytes of the stream that a subscription may have pending. Above it, its followers read them from the backlog instead. */
const MAX_PENDING_BYTES = 4 * 1024 * 1024;

interface RoundsParts extends FollowerService {
  readonly world: World;
  readonly head: StreamHead;
  /** Called when the follower's socket is full; the follower reads the stream after its socket has drained. */
  readonly fellBehind: (follower: Follower) => void;
  /** Called when the rounds have dropped pending groups; the follower reads them from the stream. */
  readonly interrupted: (follower: Follower) => void;
}

export class Rounds {
  readonly #parts: RoundsParts;
  readonly #index = new PrefixTrie<Subscription>();
  /** The subscriptions by the ID of their prefixes. */
  readonly #subscriptions = new Map<string, Subscription>();
  /** Subscriptions with something to send. */
  readonly #busy = new Set<Subscription>();
  /** The subscriptions that want the present group; empty between two groups. */
  readonly #found = new Set<Subscription>();

  constructor(parts: RoundsParts) {
    this.#parts = parts;
  }

  get subscriptions(): Iterable<Subscription> {
    return this.#subscriptions.values();
  }

  /** Whether no subscription has something to send. */
  get isIdle(): boolean {
    return this.#busy.size === 0;
  }

  /** Smallest offset after which followers may have to read the stream, if groups or rounds are dropped; null: there is none. */
  get leastNeeded(): Offset | null {
    let least: Offset | null = null;
    for (const { round, at } of this.#busy) {
      const needed = round?.from ?? at;
      if (least === null || needed < least) least = needed;
    }
    return least;
  }

  /** @returns the subscription to the prefixes of the request, a new one if no follower has it */
  subscribe({ prefixes }: FeedRequest): Subscription {
    const known = this.#subscriptions.get(prefixes.id);
    if (known !== undefined) return known;
    const { head, world } = this.#parts;
    const subscription = new Subscription(prefixes, head.offset, world.monotonic());
    this.#subscriptions.set(prefixes.id, subscription);
    for (const prefix of prefixes.list) this.#index.add(prefix, subscription);
    return subscription;
  }

  /** Removes the follower from its subscription, and the subscription after its last follower. */
  remove(follower: Follower): void {
    const { subscription } = follower;
    subscription.live.delete(follower);
    subscription.members.delete(follower);
    if (subscription.members.size > 0) return;
    this.#subscriptions.delete(subscription.prefixes.id);
    for (const prefix of subscription.prefixes.list) this.#index.delete(prefix, subscription);
    this.#busy.delete(subscription);
  }

  /** Adds a follower that has just gone live. */
  join(follower: Follower): void {
    const { subscription } = follower;
    subscription.live.add(follower);
    // The pending groups may end before the head that the follower waits for.
    if (subscription.willTell < follower.announcedHead) this.bookmark(subscription);
  }

  /** Takes a follower out of the live ones. The rounds owe it nothing. */
  leave(follower: Follower): void {
    const { subscription } = follower;
    this.#leaveAt(follower, subscription.isBusy ? subscription.at : this.#parts.head.offset);
  }

  /** Adds the groups of a commit to the subscriptions that want them. @param from offset before the run */
  committed(run: Run, from: Offset): void {
    const { runId } = this.#parts.head.position;
    forEachGroup(run, (range) => this.#add(run, from, runId, range));
  }

  /** Has the next round tell the live followers of the subscription where the stream is. */
  bookmark(subscription: Subscription): void {
    subscription.bookmarkDue = true;
    this.#busy.add(subscription);
    this.#parts.wake();
  }

  /** Has the next rounds tell all live followers where the stream is. */
  bookmarkAll(): void {
    for (const subscription of this.#subscriptions.values()) {
      if (subscription.live.size > 0) this.bookmark(subscription);
    }
  }

  /** Drops the pending groups and continues at the head, because a full resync has replaced the stream. No follower stays live. */
  replaced(): void {
    for (const subscription of this.#subscriptions.values()) {
      for (const { follower, cursor, told } of subscription.interrupt()) follower.fallBehind(cursor, told);
      subscription.at = this.#parts.head.offset;
      // Offsets of the former stream say nothing about this one; a follower learns its place before it goes live.
      subscription.announced = subscription.at;
    }
    this.#busy.clear();
  }

  /** Sends nothing more: the feed closes all followers after an unexpected error. */
  clear(): void {
    this.#busy.clear();
  }

  /** Sends pending groups, for as long as one turn of the event loop may last. */
  turn(): void {
    const turns = new Turns(this.#parts.world);
    for (const subscription of this.#busy) {
      if (turns.isOver) return;
      const isLarge = subscription.round === null && subscription.pendingBytes >= LARGE_STREAM_BYTES;
      if (isLarge && !this.#makeWay(subscription)) continue;
      if (subscription.round === null) this.#begin(subscription);
      while (subscription.round !== null && !turns.isOver) this.#giveSlice(subscription);
      if (subscription.round !== null) return;
      // Moves the subscription behind those that have waited longer.
      this.#busy.delete(subscription);
      if (subscription.isBusy && subscription.live.size > 0) this.#busy.add(subscription);
    }
  }

  /** @returns the offset up to which followers that catch up get the stream, so that they do not overtake the live ones */
  limitOf(subscription: Subscription): Offset {
    if (subscription.live.size === 0 && subscription.isBusy) this.#interrupt(subscription);
    // Without pending groups, every live follower has everything up to the head.
    if (!subscription.isBusy) subscription.at = this.#parts.head.offset;
    return subscription.at;
  }

  #add(run: Run, from: Offset, runId: RunId, range: GroupRange): void {
    const found = this.#found;
    for (let index = range.first; index < range.last; index += 1) {
      const command = run.commands[index] as Command;
      if (command.kind === 'flush-all') for (const each of this.#subscriptions.values()) found.add(each);
      else if (command.kind === 'del') for (const key of command.keys) this.#index.find(key, found);
      else this.#index.find(command.key, found);
    }
    if (found.size === 0) return;
    const group = new Group(run, from, runId, range);
    for (const subscription of found) {
      if (subscription.live.size === 0) continue;
      subscription.add(group);
      if (subscription.pendingBytes > MAX_PENDING_BYTES && subscription.pending.length > 1) {
        this.#interrupt(subscription);
      } else {
        this.#busy.add(subscription);
      }
    }
    found.clear();
    this.#parts.wake();
  }

  /** Drops the pending groups: each follower reads them from the stream, at its own pace. */
  #interrupt(subscription: Subscription): void {
    this.#busy.delete(subscription);
    for (const { follower, cursor, told } of subscription.interrupt()) {
      follower.fallBehind(cursor, told);
      this.#parts.interrupted(follower);
    }
  }

  /**
   * Takes followers whose client has no room for a large message out of the live ones: they read it from the stream, once sockets have
   * taken others.
   * @returns whether live followers are left
   */
  #makeWay(subscription: Subscription): boolean {
    const late = [...subscription.live].filter((follower) => !this.#parts.hasRoom(follower, null));
    if (late.length < subscription.live.size) {
      for (const follower of late) {
        this.#leaveAt(follower, subscription.at);
        this.#parts.fellBehind(follower);
      }
      return true;
    }
    this.#interrupt(subscription);
    return false;
  }

  #begin(subscription: Subscription): void {
    const { head, world } = this.#parts;
    subscription.begin(head.offset, world.monotonic(), () => bookmarkMessage(formatPosition(head.position)));
  }

  #giveSlice(subscription: Subscription): void {
    const round = subscription.round as NonNullable<Subscription['round']>;
    const { members, frames, to } = round;
    const until = Math.min(members.length, round.given + SLICE_SENDS);
    while (round.given < until && subscription.round === round) {
      const follower = members[round.given] as Follower;
      round.given += 1;
      if (follower.phase !== 'live') continue;
      follower.give(frames);
      this.#parts.given(follower, frames);
      if (follower.isOverdue) this.#parts.overdue(follower);
      if (follower.phase === 'live' && follower.isFull) {
        this.#leaveAt(follower, to);
        this.#parts.fellBehind(follower);
      }
    }
    if (round.given === members.length) subscription.round = null;
  }

  #leaveAt(follower: Follower, place: Offset): void {
    const { subscription } = follower;
    subscription.live.delete(follower);
    follower.fallBehind(place, subscription.announced);
  }
}
