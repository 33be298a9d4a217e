/**
 * One follower: its request, its phase, its place in the stream and its socket.
 *
 * A follower costs the server a cursor: the server reads the stream for it only while its socket has room.
 *
 * Phases: a follower starts `waiting`. `FOLLOWER_TRANSITIONS` (follower-phase.ts) names the next phase for each event; only the
 * methods named like the events change the phase.
 *
 * Places of a follower that is behind: `told <= cursor`. Only `resumeAt`, `fallBehind` and `finishSnapshot` may set them back;
 * `take` and `tellPlace` move them forward. A client that is cut off resumes from `told`, so it loses no event. While the
 * follower is live, `announced` and `at` of its subscription stand for `told` and `cursor`, and its own are out of date.
 * `announcedHead` is the end of the part that was missing when the follower resumed: `resumeAt` and `finishSnapshot` set it.
 */
import type { FullResyncReason } from '../../../replication/decide.ts';
import type { Offset } from '../../../replication/position.ts';
import { msSince } from '../../elapsed.ts';
import { TakenWatch } from '../../liveness.ts';
import type { FollowerEvents, FollowerSocket } from '../../ports/follower-socket.ts';
import type { FeedRequest } from '../feed-request.ts';
import type { Frames } from '../messages/frames.ts';
import type { Message } from '../messages/message.ts';
import { FOLLOWER_TRANSITIONS, type FollowerEvent, type FollowerPhase } from './follower-phase.ts';
import type { Portion } from './stretch.ts';
import type { Subscription } from './subscription.ts';

/** Bytes waiting in a follower's socket at which the feed sends it no more until the socket drains. */
export const HIGH_WATER_BYTES = 256 * 1024;

/** The clock and the timers that a follower uses, and the owner's handlers of its events. */
export interface FollowerContext {
  /** Milliseconds of the monotonic clock, as in `World`. */
  monotonic(): number;
  /** Calls back once after the delay, as in `World`. @returns a function that cancels the call */
  after(delayMs: number, callback: () => void): () => void;
  /** Called when the follower has entered another phase, or the same one again. */
  moved(follower: Follower): void;
  /** Called when the follower's long poll has lasted for `waitMs`. */
  overdue(follower: Follower): void;
  /** Called when the follower's socket was given so many bytes. */
  sent(bytes: number): void;
  /** Called when the follower's socket has sent everything that waited in it. */
  drained(follower: Follower): void;
  /** Called when the follower's connection has ended. */
  closed(follower: Follower): void;
}

/** The part of the feed that `Rounds` and `CatchUp` call while they send followers the stream. */
export interface FollowerService {
  /**
   * Whether the sockets of the follower's client have room for another large message.
   * @param frames the message; null: it is not made yet
   */
  hasRoom(follower: Follower, frames: Frames | null): boolean;
  /** Accounts for frames that the follower has received, and closes the follower if it has everything. */
  given(follower: Follower, frames: Frames): void;
  /** Closes the follower if it has everything that its request asks for. */
  endIfDone(follower: Follower): void;
  /** Closes the follower of a long poll whose time is up; it knows its place. */
  overdue(follower: Follower): void;
  /** Schedules a turn, because there is something to send. */
  wake(): void;
}

export class Follower implements FollowerEvents {
  readonly request: FeedRequest;
  readonly socket: FollowerSocket;
  readonly subscription: Subscription;
  readonly #context: FollowerContext;
  #phase: FollowerPhase = 'waiting';
  #cursor: Offset;
  #told: Offset;
  #announcedHead: Offset;
  #snapshot = 0;
  #reason: FullResyncReason = 'first-sync';
  #extraLagBytes = 0;
  #changes = 0;
  #sentBytes = 0;
  readonly #taken: TakenWatch;
  #heardAt: number;
  #isDone = false;
  #isOverdue = false;
  #cancelWait: (() => void) | null = null;
  #last: Message | null = null;

  /** @param at head of the stream: the follower's place until a transition sets another one */
  constructor(
    request: FeedRequest,
    socket: FollowerSocket,
    subscription: Subscription,
    at: Offset,
    context: FollowerContext,
  ) {
    this.request = request;
    this.socket = socket;
    this.subscription = subscription;
    this.#cursor = at;
    this.#told = at;
    this.#announcedHead = at;
    this.#context = context;
    this.#taken = new TakenWatch(context);
    this.#heardAt = context.monotonic();
  }

  get phase(): FollowerPhase {
    return this.#phase;
  }

  /** Whether the follower waits for its snapshot, or receives it. */
  get needsSnapshot(): boolean {
    return this.#phase === 'waiting' || this.#phase === 'snapshot';
  }

  /** Place up to which the feed has sent the follower everything; out of date while it is live. */
  get cursor(): Offset {
    return this.#cursor;
  }

  /** Last position that the feed has sent the follower; out of date while it is live. */
  get told(): Offset {
    return this.#told;
  }

  /** Head offset sent in `continue`; the follower has caught up once it receives a position at or past it. */
  get announcedHead(): Offset {
    return this.#announcedHead;
  }

  /** Number of the snapshot that the follower waits for or receives; readers of an earlier number stop. */
  get snapshot(): number {
    return this.#snapshot;
  }

  /** Reason that the follower's `reset` states. */
  get reason(): FullResyncReason {
    return this.#reason;
  }

  /** Bytes that the follower may lag beyond the limit: writers wrote them while it was away, or received its snapshot. */
  get extraLagBytes(): number {
    return this.#extraLagBytes;
  }

  /** Asks for a new snapshot; the feed sends the follower nothing else before its end. */
  awaitSnapshot(reason: FullResyncReason): void {
    if (!this.#move('awaitSnapshot')) return;
    this.#snapshot += 1;
    this.#reason = reason;
  }

  /** Starts the snapshot. @param at position of its entries */
  startSnapshot(at: Offset): void {
    if (!this.#move('startSnapshot')) return;
    this.#cursor = at;
  }

  /**
   * Ends the snapshot. The follower reads the stream after it.
   * @param head head of the stream; the follower may lag more by the bytes that clients wrote during the snapshot
   */
  finishSnapshot(head: Offset): void {
    if (!this.#move('finishSnapshot')) return;
    this.#told = this.#cursor;
    this.#announcedHead = this.#cursor;
    this.#extraLagBytes = head - this.#cursor;
    if (this.request.waitMs !== null) this.#isDone = true;
  }

  /**
   * Continues after a place that the client knows.
   * @param after place of the client
   * @param head head of the stream, sent in `continue`; the follower may lag more by the bytes up to there
   */
  resumeAt(after: Offset, head: Offset): void {
    if (!this.#move('resumeAt')) return;
    this.#cursor = after;
    this.#told = after;
    this.#announcedHead = head;
    this.#extraLagBytes = head - after;
  }

  /**
   * Leaves the live followers.
   * @param cursor place up to which the feed has sent the follower everything
   * @param told last position that the feed has sent the follower
   */
  fallBehind(cursor: Offset, told: Offset): void {
    if (!this.#move('fallBehind')) return;
    this.#cursor = cursor;
    this.#told = told;
  }

  /** Lags no more than the limit: from now on the limit alone counts. */
  withinLimit(): void {
    this.#extraLagBytes = 0;
  }

  /** Joins the live followers, because the feed has sent it everything that they have. */
  goLive(): void {
    if (!this.#move('goLive')) return;
    this.#extraLagBytes = 0;
  }

  /** Ends the follower; cancels the timer of its long poll. */
  close(): void {
    if (this.#move('close')) this.#cancelWait?.();
  }

  /** Starts the timer of a long poll; does nothing for a stream. */
  startWait(): void {
    const { waitMs } = this.request;
    if (waitMs === null) return;
    this.#cancelWait = this.#context.after(waitMs, () => {
      this.#isOverdue = true;
      this.#context.overdue(this);
    });
  }

  /** Whether the long poll has lasted for `waitMs`: the feed tells the follower its place and closes it. */
  get isOverdue(): boolean {
    return this.#isOverdue;
  }

  /** Sends the follower the part of the stream that follows its cursor. */
  take({ frames, told, to }: Portion): void {
    this.give(frames);
    this.#told = told ?? this.#told;
    this.#cursor = to;
  }

  /** Tells the follower its place. @param bookmark names the cursor */
  tellPlace(bookmark: Message): void {
    this.#told = this.#cursor;
    if (this.#last?.json !== bookmark.json) this.tell(bookmark);
  }

  /** Bytes that the follower's socket has taken. */
  get takenBytes(): number {
    return this.#sentBytes - this.socket.bufferedBytes;
  }

  /** Whether the socket's buffer has reached `HIGH_WATER_BYTES`. */
  get isFull(): boolean {
    return this.socket.bufferedBytes >= HIGH_WATER_BYTES;
  }

  /** Whether the follower has everything that its request asks for; the feed then closes it. */
  get isDone(): boolean {
    return this.#isDone;
  }

  /** Sends the messages, up to the limit of the request. */
  give(frames: Frames): void {
    const { limit, waitMs } = this.request;
    if (limit === null && waitMs === null) {
      for (const piece of frames.pieces(this.socket.framing)) this.#send(piece);
      return;
    }
    for (const message of frames.messages) {
      if (this.#isDone) return;
      this.tell(message);
      if (message.isChange) this.#changes += 1;
      this.#isDone = this.#changes === limit;
    }
    if (waitMs !== null && this.#changes > 0) this.#isDone = true;
  }

  /** Sends one message. */
  tell(message: Message): void {
    this.#last = message;
    this.#send(message.framed(this.socket.framing));
  }

  /** @returns whole milliseconds since the follower took a byte that waited in its socket; 0: nothing waits there */
  stuckMs(): number {
    return this.#taken.stuckMs(this.#sentBytes, this.socket.bufferedBytes);
  }

  /** @returns whole milliseconds since the follower's last sign of life; 0 on a transport without pings */
  silentMs(): number {
    return this.socket.answersPings ? msSince(this.#context, this.#heardAt) : 0;
  }

  drained(): void {
    this.#context.drained(this);
  }

  alive(): void {
    this.#heardAt = this.#context.monotonic();
  }

  closed(): void {
    this.#context.closed(this);
  }

  /**
   * Enters the phase that the event leads to.
   * @returns false when the follower is closed and ignores the event
   * @throws Error for an event that is impossible in the phase: a mistake in the feed
   */
  #move(event: FollowerEvent): boolean {
    if (this.#phase === 'closed') return false;
    const next = FOLLOWER_TRANSITIONS[this.#phase][event];
    if (next === 'impossible')
      throw new Error(`${event} is impossible for a follower in phase ${this.#phase}`);
    this.#phase = next;
    this.#context.moved(this);
    return true;
  }

  #send(frames: Buffer): void {
    this.#sentBytes += frames.length;
    this.#context.sent(frames.length);
    this.socket.send(frames);
  }
}
