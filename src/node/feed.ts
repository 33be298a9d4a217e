/**
 * The feed of changes: every follower gets the stream's events that are of its prefixes, in order, each exactly once
 * between two resets, and resumes by the decision that a replica's PSYNC is answered with.
 *
 * What is committed is noted for those who want it, and nothing else is done in the write turn. It is given out after it, a
 * slice of sends at a time, so that thousands of followers do not hold up anybody. A round that takes long finds more
 * pending when it is done, and the next one sends that in one piece: the more there is to do, the less each event costs.
 *
 * Owns: the followers, what each subscription has pending, who is let go. `CatchUp` has those who are behind, `Bookmarks`
 * decides when somebody to whom nothing happens is told where the stream is.
 */
import { CloseCode } from '../replication/close-code.ts';
import { type Decision, decide, type FullResyncReason, UNKNOWN_PLACE } from '../replication/decide.ts';
import {
  formatPosition,
  type Offset,
  type Position,
  type RunId,
  wireOffset,
} from '../replication/position.ts';
import type { Command, Run } from '../stream/command.ts';
import { Bookmarks } from './bookmarks.ts';
import { CatchUp } from './catch-up.ts';
import { msSince } from './elapsed.ts';
import { asProblem, closeCodeOf, lost } from './feed-problems.ts';
import type { FeedRequest } from './feed-request.ts';
import { Follower, type FollowerContext } from './follower.ts';
import { FollowerSnapshots } from './follower-snapshots.ts';
import {
  bookmarkMessage,
  continueMessage,
  errorMessage,
  forEachGroup,
  Group,
  type GroupRange,
  WAITING,
} from './message.ts';
import type { FollowerEvents, FollowerSocket, Log, World } from './ports.ts';
import type { PositionWaiters } from './position-waiters.ts';
import { PrefixTrie } from './prefix-trie.ts';
import { Problem } from './problem.ts';
import { LARGE_STREAM_BYTES, QueuedMessages } from './queued-messages.ts';
import type { StreamHead } from './stream-head.ts';
import { Subscription } from './subscription.ts';
import { Turns } from './turns.ts';
import { attempt, logUnexpected, ownedWorld, unattended } from './unattended.ts';

export interface FeedSettings {
  /** How many followers are served at the same time. */
  readonly maxFollowers: number;
  /** A follower that lags by more than so many bytes of the stream is let go; never below the backlog. */
  readonly followerOutputBytes: number;
  /** One that takes nothing, or says nothing to pings, for so long is let go. */
  readonly timeoutMs: number;
  readonly pingIntervalMs: number;
}

export interface FeedStatus {
  readonly followers: number;
  /** Of these: how many are being brought up to date, and how many wait for a snapshot or are being given one. */
  readonly behind: number;
  readonly inSnapshot: number;
  readonly counters: Readonly<FeedCounters>;
}

interface FeedCounters {
  continued: number;
  /** Snapshots that were begun, by reason. */
  resets: Record<string, number>;
  /** Followers that were let go because they lagged too far. */
  tooFarBehind: number;
}

interface FeedParts {
  readonly world: World;
  readonly log: Log;
  readonly head: StreamHead;
  readonly positions: PositionWaiters;
  readonly settings: FeedSettings;
  readonly isMaster: () => boolean;
  readonly closing: () => boolean;
}

/** So many sends are done between two looks at the clock: less than a millisecond. */
const SLICE_SENDS = 128;
/** If more than so many bytes of the stream are pending, its followers read them from the backlog. */
const MAX_PENDING_BYTES = 4 * 1024 * 1024;
/** The feed looks so often for bookmarks that are due, followers that are to be let go, and memory that nobody needs. */
const SWEEP_MS = 500;
/** How long a follower that is ahead of this node, or knows a newer history, waits until the node has it. */
const REACH_MS = 5_000;

export class Feed {
  readonly #parts: FeedParts;
  /** The subscriptions by their prefixes. */
  readonly #index = new PrefixTrie<Subscription>();
  readonly #subscriptions = new Map<string, Subscription>();
  readonly #followers = new Set<Follower>();
  /** Subscriptions that have something to give. */
  readonly #busy = new Set<Subscription>();
  /** Those whose cursor the journal must not be trimmed past. */
  readonly #pinned = new Set<Follower>();
  readonly #snapshots: FollowerSnapshots;
  readonly #queued = new QueuedMessages<Follower>();
  readonly #bookmarks: Bookmarks;
  readonly #catchUp: CatchUp;
  readonly #counters: FeedCounters = { continued: 0, resets: {}, tooFarBehind: 0 };
  readonly #found = new Set<Subscription>();
  readonly #context: FollowerContext = {
    monotonic: () => this.#parts.world.monotonic(),
    drained: (follower) =>
      attempt(
        () => this.#drained(follower),
        (error) => this.#mistaken(error),
      ),
    closed: (follower) =>
      attempt(
        () => this.#remove(follower),
        (error) => this.#mistaken(error),
      ),
  };
  #scheduled = false;
  #cancelSweep: (() => void) | null = null;
  #sweeping = false;
  #pingedAt = Number.NEGATIVE_INFINITY;
  /** The history that the followers' places are of. */
  #place: RunId;

  constructor(given: FeedParts) {
    const world = ownedWorld(given.world, (error) => this.#mistaken(error));
    const parts = { ...given, world };
    this.#parts = parts;
    const { head } = parts;
    this.#place = head.position.runId;
    this.#snapshots = new FollowerSnapshots({
      ...parts,
      begun: (follower, at) => {
        follower.beginSnapshot(at);
        this.#pinned.add(follower);
      },
      synced: (follower) => {
        follower.endSnapshot(head.offset);
        this.#isBehind(follower);
      },
      failed: (follower, error) => {
        parts.log.error('follower-snapshot-failed', { follower: follower.socket.peer, error: String(error) });
        this.#fail(follower, new Problem('STORAGE_FAILED', 'the snapshot cannot be read'));
      },
      tooSlow: (follower, code, detail) => {
        this.#counters.tooFarBehind += 1;
        this.#close(follower, code, detail);
        // What it has not taken is in its way.
        follower.socket.terminate();
      },
    });
    this.#bookmarks = new Bookmarks({
      ...parts,
      subscriptions: () => this.#subscriptions.values(),
      send: (subscription) => this.#bookmark(subscription),
    });
    this.#catchUp = new CatchUp({
      head,
      limit: (subscription) => this.#limitOf(subscription),
      arrived: (follower) => this.#goLive(follower),
      hasRoom: () => this.#queued.hasRoom,
      given: (follower, { frames }) => {
        if (follower.isFull) this.#queued.hold(follower, frames, world.monotonic());
        this.#hasTaken(follower);
      },
      failed: (follower, error) => {
        parts.log.error('journal-not-read', { follower: follower.socket.peer, error: String(error) });
        this.#fail(follower, asProblem(error));
      },
    });
    head.pin(() => this.#leastNeeded());
    head.onCommit((run, from) =>
      attempt(
        () => this.#committed(run, from),
        (error) => this.#mistaken(error),
      ),
    );
  }

  get status(): FeedStatus {
    let inSnapshot = 0;
    for (const { phase } of this.#followers) if (phase === 'snapshot') inSnapshot += 1;
    return {
      followers: this.#followers.size,
      behind: this.#catchUp.size,
      inSnapshot,
      counters: { ...this.#counters, resets: { ...this.#counters.resets } },
    };
  }

  /**
   * Waits until the request can be answered: a position that this node has not reached yet is waited for, at most as long
   * as a long poll waits.
   * @param gone nobody waits for it any more
   * @returns the request, with what is left of a long poll's time
   * @throws Problem why it cannot be served: BAD_REQUEST, TOO_MANY_REQUESTS, NOT_REACHED, POSITION_LOST, SHUTTING_DOWN,
   *   STORAGE_FAILED
   */
  async admit(request: FeedRequest, gone: AbortSignal): Promise<FeedRequest> {
    this.#refuseNow();
    const { from, waitMs } = request;
    if (typeof from === 'string') return request;
    const { world } = this.#parts;
    const began = world.monotonic();
    if (!this.#parts.isMaster()) await this.#reach(from, Math.min(REACH_MS, waitMs ?? REACH_MS), gone);
    this.#refuseNow();
    try {
      const decision = this.#decide(from);
      if (decision.kind === 'full-resync' && !request.snapshot) throw lost(from, decision.reason);
    } finally {
      // It may go away before it is attached.
      if (this.#followers.size === 0) this.#catchUp.forget();
    }
    if (waitMs === null) return request;
    return { ...request, waitMs: Math.max(0, waitMs - msSince(world, began)) };
  }

  /**
   * Serves a follower that was admitted just now.
   * @returns where the socket's events go
   */
  attach(request: FeedRequest, socket: FollowerSocket): FollowerEvents {
    const { head, world } = this.#parts;
    const subscription = this.#subscribe(request);
    const follower = new Follower(request, socket, subscription, head.offset, this.#context);
    this.#followers.add(follower);
    subscription.members.add(follower);
    this.#startSweeping();
    if (request.waitMs !== null) {
      follower.cancelWait = world.after(request.waitMs, () => this.#overdue(follower));
    }
    const { from } = request;
    if (from === 'snapshot') this.#reset(follower, 'first-sync');
    else if (from === 'now') this.#continue(follower, head.offset);
    else this.#resume(follower, from);
    return follower;
  }

  /** The history has a new run ID from here on; what was handed out of it stays what it was. */
  renamed(): void {
    this.#place = this.#parts.head.position.runId;
    this.#catchUp.forget();
    for (const subscription of this.#subscriptions.values()) {
      if (subscription.live.size > 0) this.#bookmark(subscription);
    }
  }

  /** A full resync has replaced what this node has: where each follower stands may be nowhere now. */
  replaced(): void {
    const before = this.#place;
    this.#place = this.#parts.head.position.runId;
    this.#catchUp.forget();
    for (const subscription of this.#subscriptions.values()) {
      for (const [follower, place] of subscription.interrupt()) {
        follower.fallBehind(place, subscription.announced);
      }
      subscription.at = this.#parts.head.offset;
    }
    this.#busy.clear();
    this.#bookmarks.replaced();
    for (const follower of [...this.#followers]) {
      this.#pinned.delete(follower);
      this.#catchUp.delete(follower);
      if (follower.phase === 'snapshot') this.#reset(follower, follower.reason);
      else this.#resume(follower, { runId: before, offset: follower.cursor });
    }
  }

  /** Lets everybody go; they come back, here or elsewhere. */
  drop(code: CloseCode, reason: string): void {
    for (const follower of [...this.#followers]) this.#close(follower, code, reason);
  }

  /**
   * After an error that nobody expects it is not known who has got what: everybody is let go, and comes back with a position
   * from which nothing is lost.
   */
  #mistaken(error: unknown): void {
    logUnexpected(this.#parts.log, 'feed', error);
    this.#busy.clear();
    for (const follower of [...this.#followers]) {
      attempt(
        () => this.#close(follower, CloseCode.notReady, 'psyncd made a mistake'),
        () => undefined,
      );
    }
  }

  #refuseNow(): void {
    if (this.#parts.closing()) throw new Problem('SHUTTING_DOWN', 'the node is shutting down');
    const { maxFollowers } = this.#parts.settings;
    if (this.#followers.size >= maxFollowers) {
      throw new Problem('TOO_MANY_REQUESTS', `${maxFollowers} followers are connected already`);
    }
  }

  /** A replica may be a little behind the node where the follower was, and may not have heard of a promotion yet. */
  async #reach(from: Position, timeoutMs: number, gone: AbortSignal): Promise<void> {
    try {
      await this.#parts.positions.wait(from, timeoutMs, gone);
    } catch (error) {
      // Of a history that is not this node's a snapshot helps.
      if (!(error instanceof Problem) || error.code !== 'UNKNOWN_HISTORY') throw error;
    }
  }

  /** @throws Problem BAD_REQUEST for a position that was never handed out */
  #decide(from: Position): Decision {
    const { head } = this.#parts;
    const decision = decide(
      { kind: 'psync', runId: from.runId, asked: wireOffset(from.offset), hash: null },
      head.history,
      head.backlog,
      UNKNOWN_PLACE,
    );
    if (decision.kind === 'full-resync' || this.#catchUp.isBoundary(decision.after)) return decision;
    throw new Problem('BAD_REQUEST', `${formatPosition(from)} is inside a write: no node has handed it out`);
  }

  #resume(follower: Follower, from: Position): void {
    let decision: Decision;
    try {
      decision = this.#decide(from);
    } catch (error) {
      this.#fail(follower, asProblem(error));
      return;
    }
    if (decision.kind === 'continue') this.#continue(follower, decision.after);
    else if (follower.request.snapshot) this.#reset(follower, decision.reason);
    else this.#fail(follower, lost(from, decision.reason));
  }

  #continue(follower: Follower, after: Offset): void {
    const { head } = this.#parts;
    this.#counters.continued += 1;
    follower.continueBehind(after, head.offset);
    follower.tell(continueMessage(this.#at(after), this.#at(head.offset)));
    this.#isBehind(follower);
  }

  #reset(follower: Follower, reason: FullResyncReason): void {
    this.#counters.resets[reason] = (this.#counters.resets[reason] ?? 0) + 1;
    this.#catchUp.delete(follower);
    this.#snapshots.begin(follower, reason);
  }

  /** The follower gets what it lacks from the stream until it is live; if it lacks nothing, it is live at once. */
  #isBehind(follower: Follower): void {
    this.#endIfDone(follower);
    if (follower.phase !== 'behind') return;
    this.#pinned.add(follower);
    if (follower.cursor === this.#limitOf(follower.subscription)) {
      this.#goLive(follower);
    } else {
      this.#catchUp.add(follower);
      this.#schedule();
    }
  }

  #subscribe({ prefixes }: FeedRequest): Subscription {
    const known = this.#subscriptions.get(prefixes.id);
    if (known !== undefined) return known;
    const { head, world } = this.#parts;
    const subscription = new Subscription(prefixes, head.offset, world.monotonic());
    this.#subscriptions.set(prefixes.id, subscription);
    for (const prefix of prefixes.list) this.#index.add(prefix, subscription);
    return subscription;
  }

  /** Notes for everybody who wants it what was committed. */
  #committed(run: Run, from: Offset): void {
    if (this.#followers.size === 0) return;
    const { head } = this.#parts;
    const { runId } = head.position;
    forEachGroup(run, (range) => this.#note(run, from, runId, range));
    this.#bookmarks.committed();
  }

  #note(run: Run, from: Offset, runId: RunId, range: GroupRange): void {
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
    this.#schedule();
  }

  /** Too much is pending: everybody reads it from the stream instead, at their own pace. */
  #interrupt(subscription: Subscription): void {
    this.#busy.delete(subscription);
    for (const [follower, place] of subscription.interrupt()) {
      follower.fallBehind(place, subscription.announced);
      this.#isBehind(follower);
    }
  }

  #bookmark(subscription: Subscription): void {
    subscription.bookmarkDue = true;
    this.#busy.add(subscription);
    this.#schedule();
  }

  #schedule(): void {
    if (this.#scheduled || (this.#busy.size === 0 && this.#catchUp.isIdle)) return;
    this.#scheduled = true;
    this.#parts.world.soon(() => {
      this.#scheduled = false;
      this.#giveRounds();
      this.#catchUp.turn();
      this.#schedule();
    });
  }

  #giveRounds(): void {
    const turns = new Turns(this.#parts.world);
    for (const subscription of this.#busy) {
      if (turns.isOver) return;
      if (
        subscription.round === null &&
        subscription.pendingBytes >= LARGE_STREAM_BYTES &&
        !this.#queued.hasRoom
      ) {
        // They read it from the stream when others have taken what they were given.
        this.#interrupt(subscription);
        continue;
      }
      if (subscription.round === null) this.#begin(subscription);
      while (subscription.round !== null && !turns.isOver) this.#giveRound(subscription, SLICE_SENDS);
      if (subscription.round !== null) return;
      // Those who have waited longer come first.
      this.#busy.delete(subscription);
      if (subscription.isBusy && subscription.live.size > 0) this.#busy.add(subscription);
    }
  }

  #begin(subscription: Subscription): void {
    const { head, world } = this.#parts;
    subscription.begin(head.offset, world.monotonic(), () => bookmarkMessage(this.#at(head.offset)));
  }

  /** @param most how many sends */
  #giveRound(subscription: Subscription, most: number): void {
    const round = subscription.round as NonNullable<Subscription['round']>;
    const { members, frames, to } = round;
    const until = Math.min(members.length, round.given + most);
    while (round.given < until && subscription.round === round) {
      const follower = members[round.given] as Follower;
      round.given += 1;
      if (follower.phase !== 'live') continue;
      follower.give(frames);
      if (follower.isFull) this.#queued.hold(follower, frames, this.#parts.world.monotonic());
      this.#endIfDone(follower);
      if (follower.isOverdue) this.#close(follower, CloseCode.done, 'time is up');
      if (follower.phase === 'live' && follower.isFull) this.#leaveLive(follower, to);
    }
    if (round.given === members.length) subscription.round = null;
  }

  #leaveLive(follower: Follower, place: Offset): void {
    const { subscription } = follower;
    subscription.live.delete(follower);
    follower.fallBehind(place, subscription.announced);
    this.#pinned.add(follower);
    this.#catchUp.add(follower);
  }

  /** How far followers of the subscription that catch up may be given the stream: they do not overtake the live ones. */
  #limitOf(subscription: Subscription): Offset {
    if (subscription.live.size === 0 && subscription.isBusy) this.#interrupt(subscription);
    // Nothing of theirs is pending: everybody who is live has got everything.
    if (!subscription.isBusy) subscription.at = this.#parts.head.offset;
    return subscription.at;
  }

  /** A follower that catches up was given something. It keeps its place, also if it finds nothing of its own for long. */
  #hasTaken(follower: Follower): void {
    this.#endIfDone(follower);
    if (follower.phase !== 'behind' || !this.#bookmarks.isStale(follower.told, follower.cursor)) return;
    follower.tellPlace(bookmarkMessage(this.#at(follower.cursor)));
  }

  #goLive(follower: Follower): void {
    const { subscription } = follower;
    if (follower.isOverdue || follower.told < follower.cursor) {
      follower.tellPlace(bookmarkMessage(this.#at(follower.cursor)));
    }
    if (follower.isOverdue) {
      this.#close(follower, CloseCode.done, 'time is up');
      return;
    }
    follower.goLive();
    this.#pinned.delete(follower);
    this.#catchUp.delete(follower);
    subscription.live.add(follower);
    // What is pending may end before the head that it waits to hear of.
    if (subscription.willTell < follower.promised) this.#bookmark(subscription);
  }

  /** A long poll's time is up: it learns where it stands. */
  #overdue(follower: Follower): void {
    follower.isOverdue = true;
    if (follower.phase !== 'live') return;
    const { subscription } = follower;
    // What is pending is something; it is given at once.
    if (subscription.owes(follower)) return;
    subscription.live.delete(follower);
    const place = subscription.isBusy ? subscription.at : this.#parts.head.offset;
    follower.fallBehind(place, subscription.announced);
    this.#goLive(follower);
  }

  #drained(follower: Follower): void {
    this.#release(follower);
    if (follower.phase === 'snapshot') this.#snapshots.wake(follower);
    else if (follower.phase === 'behind') {
      this.#catchUp.drained(follower);
      this.#schedule();
    }
  }

  /** The follower does not keep large messages in memory any more. */
  #release(follower: Follower): void {
    this.#queued.release(follower);
    if (!this.#catchUp.isShort || !this.#queued.hasRoom) return;
    this.#catchUp.hasRoom();
    this.#schedule();
  }

  #endIfDone(follower: Follower): void {
    if (follower.isDone) this.#close(follower, CloseCode.done, 'that is what was asked for');
  }

  #fail(follower: Follower, problem: Problem): void {
    follower.tell(errorMessage(problem.code, problem.message, problem.extra));
    this.#close(follower, closeCodeOf(problem), problem.message);
  }

  #close(follower: Follower, code: CloseCode, reason: string): void {
    if (follower.phase === 'closed') return;
    this.#remove(follower);
    follower.socket.close(code, reason);
  }

  #remove(follower: Follower): void {
    if (follower.phase === 'closed') return;
    follower.end();
    const { subscription } = follower;
    subscription.live.delete(follower);
    subscription.members.delete(follower);
    this.#followers.delete(follower);
    this.#catchUp.delete(follower);
    this.#pinned.delete(follower);
    this.#snapshots.wake(follower);
    this.#release(follower);
    if (subscription.members.size === 0) {
      this.#subscriptions.delete(subscription.prefixes.id);
      for (const prefix of subscription.prefixes.list) this.#index.delete(prefix, subscription);
      this.#busy.delete(subscription);
    }
    if (this.#followers.size === 0) {
      this.#cancelSweep?.();
      this.#cancelSweep = null;
      this.#bookmarks.stop();
      this.#catchUp.forget();
    }
  }

  #startSweeping(): void {
    this.#cancelSweep ??= this.#parts.world.after(SWEEP_MS, () => {
      this.#cancelSweep = null;
      if (!this.#sweeping) unattended(this.#sweep(), (error) => this.#mistaken(error));
      if (this.#followers.size > 0) this.#startSweeping();
    });
  }

  /** Bookmarks that are due, and followers that are to be let go. */
  async #sweep(): Promise<void> {
    this.#sweeping = true;
    const { settings, world } = this.#parts;
    const now = world.monotonic();
    const pings = now - this.#pingedAt >= settings.pingIntervalMs;
    if (pings) this.#pingedAt = now;
    const turns = new Turns(world);
    try {
      this.#bookmarks.sweep();
      this.#catchUp.tidy();
      for (const follower of [...this.#followers]) {
        if (turns.isOver) await turns.pass();
        if (follower.phase !== 'closed') this.#examine(follower, pings);
      }
    } finally {
      this.#sweeping = false;
    }
  }

  #examine(follower: Follower, ping: boolean): void {
    const { head, settings, world } = this.#parts;
    const lag = follower.phase === 'behind' ? head.offset - follower.cursor : 0;
    if (lag > follower.arrears + Math.max(settings.followerOutputBytes, head.backlog.size)) {
      this.#letGo(follower, lag);
      return;
    }
    const silentMs = follower.socket.answersPings ? msSince(world, follower.heardAt) : 0;
    const stuckMs = Math.max(follower.stuckMs(), silentMs);
    if (stuckMs > settings.timeoutMs) {
      this.#close(follower, CloseCode.timedOut, `nothing was taken or answered for ${stuckMs} ms`);
      follower.socket.terminate();
      return;
    }
    const heldSince = this.#queued.heldSince(follower);
    if (this.#catchUp.isShort && heldSince !== null && msSince(world, heldSince) > settings.timeoutMs) {
      this.#counters.tooFarBehind += 1;
      this.#close(follower, CloseCode.tooFarBehind, 'others wait for the memory that it takes');
      follower.socket.terminate();
      return;
    }
    if (!ping) return;
    follower.socket.ping();
    if (follower.phase === 'snapshot' && !this.#pinned.has(follower)) follower.tell(WAITING);
  }

  /** Where it stands is the last that it hears: from there it continues, if that is still possible. */
  #letGo(follower: Follower, lag: number): void {
    this.#counters.tooFarBehind += 1;
    const position = this.#at(follower.cursor);
    follower.tell(errorMessage('TOO_FAR_BEHIND', `${lag} bytes behind`, { position }));
    this.#close(follower, CloseCode.tooFarBehind, `${lag} bytes behind, at ${position}`);
  }

  #leastNeeded(): Offset | null {
    let least: Offset | null = null;
    const need = (at: Offset): void => {
      if (least === null || at < least) least = at;
    };
    for (const { cursor } of this.#pinned) need(cursor);
    for (const { round, at } of this.#busy) need(round?.from ?? at);
    return least;
  }

  #at(at: Offset): string {
    return formatPosition({ runId: this.#parts.head.position.runId, offset: at });
  }
}
