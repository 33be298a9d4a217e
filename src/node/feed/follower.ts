/**
 * One follower: what it asked for, where it stands, and its socket. `Feed` decides what it is given, and when.
 *
 * It costs a cursor: what it has not been given yet is read from the stream when there is room for it.
 */
import type { FullResyncReason } from '../../replication/decide.ts';
import type { Offset } from '../../replication/position.ts';
import { TakenWatch } from '../liveness.ts';
import type { FollowerEvents, FollowerSocket } from '../ports.ts';
import type { FeedRequest } from './feed-request.ts';
import type { Frames } from './frames.ts';
import type { Message } from './message.ts';
import type { Portion } from './stretch.ts';
import type { Subscription } from './subscription.ts';

/** While so many bytes wait in its socket a follower is given nothing more. */
export const HIGH_WATER_BYTES = 256 * 1024;

export type FollowerPhase =
  /** It waits for a snapshot, or is given one. */
  | 'snapshot'
  /** It is given what it lacks up to where the live ones are, as far as its socket takes it. */
  | 'behind'
  | 'live'
  | 'closed';

/** What the follower tells of itself. */
export interface FollowerContext {
  /** As that of `World`. */
  monotonic(): number;
  drained(follower: Follower): void;
  closed(follower: Follower): void;
}

export class Follower implements FollowerEvents {
  readonly request: FeedRequest;
  readonly socket: FollowerSocket;
  readonly subscription: Subscription;
  /** Of a long poll: time is up, and it is to be told where it stands. */
  isOverdue = false;
  cancelWait: (() => void) | null = null;
  /** In milliseconds of the monotonic clock. */
  heardAt: number;
  readonly #context: FollowerContext;
  #phase: FollowerPhase = 'snapshot';
  #cursor: Offset;
  #told: Offset;
  #promised: Offset;
  #snapshot = 0;
  #reason: FullResyncReason = 'first-sync';
  #arrears = 0;
  #changes = 0;
  #given = 0;
  readonly #taken: TakenWatch;
  #isDone = false;
  #last: Message | null = null;

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
    this.#promised = at;
    this.#context = context;
    this.#taken = new TakenWatch(context);
    this.heardAt = context.monotonic();
  }

  get phase(): FollowerPhase {
    return this.#phase;
  }

  /** It has been given everything up to here; of a live one the subscription knows. */
  get cursor(): Offset {
    return this.#cursor;
  }

  /** The last position that it was told; of a live one the subscription knows. */
  get told(): Offset {
    return this.#told;
  }

  /** The head that it was told when it continued: it waits until it is told that it has come so far. */
  get promised(): Offset {
    return this.#promised;
  }

  /** Which snapshot it waits for; another number, and the one that is being read is not wanted any more. */
  get snapshot(): number {
    return this.#snapshot;
  }

  /** Why it is given a snapshot. */
  get reason(): FullResyncReason {
    return this.#reason;
  }

  /** How far behind it may be beyond the limit: so much was written while it was given its snapshot. */
  get arrears(): number {
    return this.#arrears;
  }

  /** It waits for a snapshot, and is given nothing else until it has it. */
  awaitSnapshot(reason: FullResyncReason): void {
    this.#phase = 'snapshot';
    this.#snapshot += 1;
    this.#reason = reason;
  }

  /** The snapshot that it is about to be given is that of `at`. */
  beginSnapshot(at: Offset): void {
    this.#cursor = at;
  }

  /**
   * It has been given its snapshot, and goes on behind it.
   * @param head what was written meanwhile is no fault of the follower's
   */
  endSnapshot(head: Offset): void {
    this.#phase = 'behind';
    this.#told = this.#cursor;
    this.#promised = this.#cursor;
    this.#arrears = head - this.#cursor;
    if (this.request.waitMs !== null) this.#isDone = true;
  }

  /** It was told that it goes on behind `after`, while the head is there. */
  continueBehind(after: Offset, head: Offset): void {
    this.#phase = 'behind';
    this.#cursor = after;
    this.#told = after;
    this.#promised = head;
  }

  /**
   * It is not live any more.
   * @param place it has been given everything up to here
   * @param told the last position that it was told
   */
  fallBehind(place: Offset, told: Offset): void {
    this.#phase = 'behind';
    this.#cursor = place;
    this.#told = told;
  }

  /** Gives it the part of the stream that follows its place. */
  take({ frames, told, to }: Portion): void {
    this.give(frames);
    this.#told = told ?? this.#told;
    this.#cursor = to;
  }

  /** Tells it its place. @param bookmark says where that is */
  tellPlace(bookmark: Message): void {
    this.#told = this.#cursor;
    if (this.#last?.json !== bookmark.json) this.tell(bookmark);
  }

  /** It has been given everything that the live followers have. */
  goLive(): void {
    this.#phase = 'live';
    this.#arrears = 0;
  }

  /** It is given nothing more. */
  end(): void {
    this.#phase = 'closed';
    this.cancelWait?.();
  }

  /** Bytes that its socket has taken. */
  get takenBytes(): number {
    return this.#given - this.socket.bufferedBytes;
  }

  /** The socket has as much as it should have at a time. */
  get isFull(): boolean {
    return this.socket.bufferedBytes >= HIGH_WATER_BYTES;
  }

  /** It has got what it asked for, and is to be let go. */
  get isDone(): boolean {
    return this.#isDone;
  }

  /** Gives it the messages, or as many of them as it wants. */
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

  tell(message: Message): void {
    this.#last = message;
    this.#send(message.framed(this.socket.framing));
  }

  /** @returns for how many whole milliseconds it has taken nothing of what it was given */
  stuckMs(): number {
    return this.#taken.stuckMs(this.#given, this.socket.bufferedBytes);
  }

  drained(): void {
    this.#context.drained(this);
  }

  alive(): void {
    this.heardAt = this.#context.monotonic();
  }

  closed(): void {
    this.#context.closed(this);
  }

  #send(frames: Buffer): void {
    this.#given += frames.length;
    this.socket.send(frames);
  }
}
