/**
 * One follower: what it asked for, where it stands, and its socket. `Feed` decides what it is given, and when.
 *
 * It costs a cursor: what it has not been given yet is read from the stream when there is room for it.
 */
import type { FullResyncReason } from '../replication/decide.ts';
import type { Offset } from '../replication/position.ts';
import type { FeedRequest } from './feed-request.ts';
import type { Frames } from './frames.ts';
import type { Message } from './message.ts';
import type { FollowerEvents, FollowerSocket } from './ports.ts';
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
  readonly now: () => number;
  drained(follower: Follower): void;
  closed(follower: Follower): void;
}

export class Follower implements FollowerEvents {
  readonly request: FeedRequest;
  readonly socket: FollowerSocket;
  readonly subscription: Subscription;
  phase: FollowerPhase = 'snapshot';
  /** It has been given everything up to here; of a live one the subscription knows. */
  cursor: Offset;
  /** The last position that it was told. */
  told: Offset;
  /** The head that it was told when it continued: it waits until it is told that it has come so far. */
  promised: Offset;
  /** Which snapshot it waits for; another number, and the one that is being read is not wanted any more. */
  snapshot = 0;
  /** Why it is given a snapshot. */
  reason: FullResyncReason = 'first-sync';
  /** How far behind it may be beyond the limit: so much was written while it was given its snapshot. */
  arrears = 0;
  /** Of a long poll: time is up, and it is to be told where it stands. */
  isOverdue = false;
  cancelWait: (() => void) | null = null;
  /** Milliseconds since 1970. */
  heardAt: number;
  readonly #context: FollowerContext;
  #changes = 0;
  #given = 0;
  #taken = { bytes: 0, at: 0 };
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
    this.cursor = at;
    this.told = at;
    this.promised = at;
    this.#context = context;
    this.heardAt = context.now();
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

  /** Tells it, unless it is what it was told last. */
  remind(message: Message): void {
    if (this.#last?.json !== message.json) this.tell(message);
  }

  /** A long poll has got a snapshot. */
  hasSynced(): void {
    if (this.request.waitMs !== null) this.#isDone = true;
  }

  /** @returns for how many milliseconds it has taken nothing of what it was given */
  stuckMs(): number {
    const now = this.#context.now();
    const { bufferedBytes } = this.socket;
    const bytes = this.#given - bufferedBytes;
    if (bufferedBytes === 0 || bytes !== this.#taken.bytes || this.#taken.at > now) {
      this.#taken = { bytes, at: now };
    }
    return now - this.#taken.at;
  }

  drained(): void {
    this.#context.drained(this);
  }

  alive(): void {
    this.heardAt = this.#context.now();
  }

  closed(): void {
    this.#context.closed(this);
  }

  #send(frames: Buffer): void {
    this.#given += frames.length;
    this.socket.send(frames);
  }
}
