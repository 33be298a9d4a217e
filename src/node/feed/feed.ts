/**
 * The feed of changes: sends every follower the stream's events of its prefixes, in order, each exactly once between two
 * resets.
 *
 * The façade that the rest of the node uses. `Admission` decides how a request is served, `Rounds` serve the live followers,
 * `CatchUp` serves those that are behind, `FollowerSnapshots` send snapshots, `Upkeep` and `Bookmarks` work by the clock.
 *
 * Owns: the followers, from `attach` until the feed closes them.
 */
import { CloseCode, closeNameOf } from '../../replication/close-code.ts';
import type { FullResyncReason } from '../../replication/decide.ts';
import { formatPosition, type Offset, type Position, type RunId } from '../../replication/position.ts';
import type { Run } from '../../stream/command.ts';
import { inLogOf } from '../ports/failures.ts';
import type { FollowerEvents, FollowerSocket } from '../ports/follower-socket.ts';
import { Problem } from '../problem.ts';
import { attempt, logUnexpected, ownedWorld } from '../unattended.ts';
import { Admission } from './admission.ts';
import { Bookmarks } from './bookmarks.ts';
import { CatchUp } from './catch-up.ts';
import { type FeedNumbers, FeedTraffic, feedNumbers } from './feed-numbers.ts';
import type { FeedCounters, FeedParts, FeedStatus } from './feed-parts.ts';
import { closeCodeOf, decisionOf, lost, notRead } from './feed-problems.ts';
import type { FeedQuery, FeedRequest } from './feed-request.ts';
import { Follower, type FollowerContext, type FollowerService } from './followers/follower.ts';
import { FollowerSnapshots } from './followers/follower-snapshots.ts';
import { QueuedMessages } from './followers/queued-messages.ts';
import type { Frames } from './messages/frames.ts';
import { continueMessage, errorMessage } from './messages/message.ts';
import { Rounds } from './rounds.ts';
import { Upkeep } from './upkeep.ts';

export class Feed {
  readonly #parts: FeedParts;
  readonly #followers = new Set<Follower>();
  /** Followers for which the journal keeps the stream after their cursors. */
  readonly #pinned = new Set<Follower>();
  readonly #queued = new QueuedMessages<Follower>();
  readonly #counters: FeedCounters = { continued: 0, resets: {}, tooFarBehind: 0 };
  readonly #traffic = new FeedTraffic();
  readonly #admission: Admission;
  readonly #rounds: Rounds;
  readonly #catchUp: CatchUp;
  readonly #snapshots: FollowerSnapshots;
  readonly #bookmarks: Bookmarks;
  readonly #upkeep: Upkeep;
  readonly #context: FollowerContext = {
    monotonic: () => this.#parts.world.monotonic(),
    after: (delayMs, callback) => this.#parts.world.after(delayMs, callback),
    moved: (follower) => this.#pin(follower),
    overdue: (follower) => this.#overdue(follower),
    sent: (bytes) => {
      this.#traffic.sentBytes += bytes;
    },
    drained: (follower) => this.#attempt(() => this.#drained(follower)),
    closed: (follower) => this.#attempt(() => this.#remove(follower)),
  };
  /** Part of the wiring that `Rounds` and `CatchUp` share. */
  readonly #service: FollowerService = {
    hasRoom: ({ socket: { client } }, frames) =>
      this.#queued.hasRoom(client) || (frames !== null && this.#queued.counts(client, frames)),
    given: (follower, frames) => this.#given(follower, frames),
    endIfDone: (follower) => this.#endIfDone(follower),
    overdue: (follower) => this.#close(follower, CloseCode.done, 'time is up'),
    wake: () => this.#schedule(),
  };
  #isScheduled = false;
  /** Run ID of the history to which the followers' cursors belong. */
  #runId: RunId;

  constructor(given: FeedParts) {
    const parts = { ...given, world: ownedWorld(given.world, (error) => this.#mistaken(error)) };
    this.#parts = parts;
    this.#runId = parts.head.position.runId;
    this.#rounds = this.#newRounds();
    this.#bookmarks = new Bookmarks({
      ...parts,
      subscriptions: () => this.#rounds.subscriptions,
      send: (subscription) => this.#rounds.bookmark(subscription),
    });
    this.#catchUp = this.#newCatchUp();
    this.#snapshots = this.#newSnapshots();
    this.#admission = new Admission({ ...parts, followers: this.#followers });
    this.#upkeep = new Upkeep({
      ...parts,
      followers: this.#followers,
      catchUp: this.#catchUp,
      bookmarks: this.#bookmarks,
      queued: this.#queued,
      close: (follower, code, reason) => this.#close(follower, code, reason),
      counters: this.#counters,
      mistaken: (error) => this.#mistaken(error),
    });
    parts.head.pin(() => this.#leastNeeded());
    parts.head.onCommit((run, from) => this.#attempt(() => this.#committed(run, from)));
  }

  get status(): FeedStatus {
    let inSnapshot = 0;
    for (const { needsSnapshot } of this.#followers) if (needsSnapshot) inSnapshot += 1;
    return {
      followers: this.#followers.size,
      behind: this.#catchUp.size,
      inSnapshot,
      counters: { ...this.#counters, resets: { ...this.#counters.resets } },
    };
  }

  get numbers(): FeedNumbers {
    const [followers, pinned] = [this.#followers, this.#pinned];
    return feedNumbers(this.#traffic, followers, pinned, this.#rounds.subscriptions, this.#parts.head.offset);
  }

  /**
   * Waits until the feed can answer the request: see `Admission.admit`.
   * @param gone aborts the wait when the client has gone
   * @param client name of the client, by which limits count
   * @returns the request, with a position instead of a time, and with the remaining time of a long poll
   * @throws Problem why the feed cannot serve it: BAD_REQUEST, TOO_MANY_REQUESTS, NOT_REACHED, POSITION_LOST,
   *   SHUTTING_DOWN, STORAGE_FAILED
   */
  admit(request: FeedQuery, gone: AbortSignal, client: string): Promise<FeedRequest> {
    return this.#admission.admit(request, gone, client);
  }

  /**
   * Serves a follower that `admit` has just let in.
   * @returns the handler of the socket's events
   */
  attach(request: FeedRequest, socket: FollowerSocket): FollowerEvents {
    const { head } = this.#parts;
    const subscription = this.#rounds.subscribe(request);
    const follower = new Follower(request, socket, subscription, head.offset, this.#context);
    this.#followers.add(follower);
    subscription.members.add(follower);
    this.#upkeep.start();
    follower.startWait();
    const { from } = request;
    if (from === 'snapshot') this.#reset(follower, 'first-sync');
    else if (from === 'now') this.#continue(follower, head.offset);
    else this.#resume(follower, from);
    return follower;
  }

  /** Takes over a new run ID of the same history; positions that the feed has sent stay valid. */
  renamed(): void {
    this.#runId = this.#parts.head.position.runId;
    this.#catchUp.forget();
    this.#rounds.bookmarkAll();
  }

  /** Decides anew for each follower, because a full resync has replaced the stream and its place may no longer exist. */
  replaced(): void {
    const before = this.#runId;
    this.#runId = this.#parts.head.position.runId;
    this.#catchUp.forget();
    this.#rounds.replaced();
    this.#bookmarks.replaced();
    for (const follower of [...this.#followers]) {
      this.#catchUp.delete(follower);
      if (follower.needsSnapshot) this.#reset(follower, follower.reason);
      else this.#resume(follower, { runId: before, offset: follower.cursor });
    }
  }

  /** Closes all followers; they come back, here or on another node. */
  drop(code: CloseCode, reason: string): void {
    for (const follower of [...this.#followers]) this.#close(follower, code, reason);
  }

  #newRounds(): Rounds {
    return new Rounds({
      ...this.#parts,
      ...this.#service,
      fellBehind: (follower) => this.#catchUp.add(follower),
      interrupted: (follower) => this.#catchUp.start(follower),
    });
  }

  #newCatchUp(): CatchUp {
    const { head, log } = this.#parts;
    return new CatchUp({
      ...this.#service,
      head,
      rounds: this.#rounds,
      bookmarks: this.#bookmarks,
      failed: (follower, error) => {
        const from = { runId: head.position.runId, offset: follower.cursor };
        this.#resume(follower, from, notRead(log, follower.socket.peer, error));
      },
    });
  }

  #newSnapshots(): FollowerSnapshots {
    const { head, log } = this.#parts;
    return new FollowerSnapshots({
      ...this.#parts,
      begun: (follower, at) => follower.startSnapshot(at),
      synced: (follower) => {
        follower.finishSnapshot(head.offset);
        this.#catchUp.start(follower);
      },
      failed: (follower, error) => {
        log.error('follower-snapshot-failed', { follower: follower.socket.peer, error: inLogOf(error) });
        this.#fail(follower, new Problem('STORAGE_FAILED', 'the snapshot cannot be read'));
      },
      tooSlow: (follower, code, detail) => {
        this.#counters.tooFarBehind += 1;
        this.#close(follower, code, detail);
        // A close frame would wait behind the bytes that the follower does not take, so the connection is dropped.
        follower.socket.terminate();
      },
    });
  }

  #attempt(work: () => void): void {
    attempt(work, (error) => this.#mistaken(error));
  }

  /**
   * Closes all followers after an unexpected error: the feed does not know what each of them has received. They come back with
   * a position from which they lose nothing.
   */
  #mistaken(error: unknown): void {
    logUnexpected(this.#parts.log, 'feed', error);
    this.#rounds.clear();
    for (const follower of [...this.#followers]) {
      attempt(
        () => this.#close(follower, CloseCode.notReady, 'psyncd made a mistake'),
        () => undefined,
      );
    }
  }

  /** @param problem why the stream after `from` could not be read just now; null: nobody has tried */
  #resume(follower: Follower, from: Position, problem: Problem | null = null): void {
    const decision = decisionOf(this.#parts, from, follower.socket.peer);
    if (decision instanceof Problem) this.#fail(follower, problem ?? decision);
    else if (decision.kind === 'continue' && problem !== null) this.#fail(follower, problem);
    else if (decision.kind === 'continue') this.#continue(follower, decision.after);
    else if (follower.request.snapshot) this.#reset(follower, decision.reason);
    else this.#fail(follower, lost(from, decision.reason));
  }

  #continue(follower: Follower, after: Offset): void {
    const { offset, runId } = this.#parts.head.position;
    this.#counters.continued += 1;
    follower.resumeAt(after, offset);
    follower.tell(
      continueMessage(formatPosition({ runId, offset: after }), formatPosition({ runId, offset })),
    );
    this.#catchUp.start(follower);
  }

  #reset(follower: Follower, reason: FullResyncReason): void {
    this.#counters.resets[reason] = (this.#counters.resets[reason] ?? 0) + 1;
    this.#catchUp.delete(follower);
    this.#snapshots.begin(follower, reason);
  }

  #committed(run: Run, from: Offset): void {
    if (this.#followers.size === 0) return;
    this.#rounds.committed(run, from);
    this.#bookmarks.committed();
  }

  #schedule(): void {
    if (this.#isScheduled || (this.#rounds.isIdle && this.#catchUp.isIdle)) return;
    this.#isScheduled = true;
    this.#parts.world.soon(() => {
      this.#isScheduled = false;
      this.#rounds.turn();
      this.#catchUp.turn();
      this.#schedule();
    });
  }

  /** Counts large frames that wait in the follower's socket; closes a follower that has everything it asked for. */
  #given(follower: Follower, frames: Frames): void {
    if (follower.isFull) this.#queued.hold(follower, frames, this.#parts.world.monotonic());
    this.#endIfDone(follower);
  }

  /** Ends a long poll that has lasted for `waitMs`, and tells the follower its place. If a round is pending, the round ends it. */
  #overdue(follower: Follower): void {
    if (follower.phase !== 'live' || follower.subscription.owes(follower)) return;
    this.#rounds.leave(follower);
    this.#catchUp.arrive(follower);
  }

  #drained(follower: Follower): void {
    this.#release(follower);
    if (follower.needsSnapshot) this.#snapshots.wake(follower);
    else if (follower.phase === 'behind') {
      this.#catchUp.drained(follower);
      this.#schedule();
    }
  }

  /** Stops counting large messages for the follower, and serves followers that waited for room. */
  #release(follower: Follower): void {
    if (!this.#queued.release(follower) || !this.#catchUp.isShort) return;
    this.#catchUp.roomMade();
    this.#schedule();
  }

  #endIfDone(follower: Follower): void {
    if (follower.isDone) this.#close(follower, CloseCode.done, 'the request is complete');
  }

  #fail(follower: Follower, problem: Problem): void {
    follower.tell(errorMessage(problem.code, problem.message, problem.extra));
    this.#close(follower, closeCodeOf(problem), problem.message);
  }

  #close(follower: Follower, code: CloseCode, reason: string): void {
    if (follower.phase === 'closed') return;
    if (code !== CloseCode.done) this.#traffic.dropped.add(closeNameOf(code));
    this.#remove(follower);
    follower.socket.close(code, reason);
  }

  #remove(follower: Follower): void {
    if (follower.phase === 'closed') return;
    follower.close();
    this.#followers.delete(follower);
    this.#catchUp.delete(follower);
    this.#snapshots.wake(follower);
    this.#release(follower);
    this.#rounds.remove(follower);
    if (this.#followers.size > 0) return;
    this.#upkeep.stop();
    this.#bookmarks.stop();
    this.#catchUp.forget();
  }

  /** Keeps the journal for a follower that receives a snapshot or catches up. */
  #pin(follower: Follower): void {
    if (follower.phase === 'snapshot' || follower.phase === 'behind') this.#pinned.add(follower);
    else this.#pinned.delete(follower);
  }

  /** @returns the smallest offset after which a follower needs the journal; null: no follower needs it */
  #leastNeeded(): Offset | null {
    let least = this.#rounds.leastNeeded;
    for (const { cursor } of this.#pinned) if (least === null || cursor < least) least = cursor;
    return least;
  }
}
