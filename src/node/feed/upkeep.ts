/**
 * Looks after the followers from time to time: sends due bookmarks and pings, closes followers that lag or say nothing, and
 * frees unused memory.
 */
import { CloseCode } from '../../replication/close-code.ts';
import { formatPosition } from '../../replication/position.ts';
import { msSince } from '../elapsed.ts';
import type { StreamHead } from '../head/stream-head.ts';
import type { World } from '../ports/world.ts';
import { Turns } from '../turns.ts';
import { unattended } from '../unattended.ts';
import type { Bookmarks } from './bookmarks.ts';
import type { CatchUp } from './catch-up.ts';
import type { FeedCounters, FeedSettings } from './feed-parts.ts';
import type { Follower } from './followers/follower.ts';
import type { QueuedMessages } from './followers/queued-messages.ts';
import { errorMessage, WAITING } from './messages/message.ts';

/** Milliseconds between two rounds of upkeep. */
const UPKEEP_MS = 500;

interface UpkeepParts {
  readonly world: World;
  readonly head: StreamHead;
  readonly settings: FeedSettings;
  readonly followers: ReadonlySet<Follower>;
  readonly catchUp: CatchUp;
  readonly bookmarks: Bookmarks;
  readonly queued: QueuedMessages<Follower>;
  readonly close: (follower: Follower, code: CloseCode, reason: string) => void;
  readonly counters: Pick<FeedCounters, 'tooFarBehind'>;
  /** Takes an error that nobody expects. */
  readonly mistaken: (error: unknown) => void;
}

export class Upkeep {
  readonly #parts: UpkeepParts;
  #cancel: (() => void) | null = null;
  #isRunning = false;
  #pingedAt = Number.NEGATIVE_INFINITY;

  constructor(parts: UpkeepParts) {
    this.#parts = parts;
  }

  /** Starts the timer, unless it runs already. */
  start(): void {
    const { followers, mistaken, world } = this.#parts;
    this.#cancel ??= world.after(UPKEEP_MS, () => {
      this.#cancel = null;
      if (!this.#isRunning) unattended(this.#run(), mistaken);
      if (followers.size > 0) this.start();
    });
  }

  /** Stops the timer, because the last follower has gone. */
  stop(): void {
    this.#cancel?.();
    this.#cancel = null;
  }

  async #run(): Promise<void> {
    this.#isRunning = true;
    const { bookmarks, catchUp, followers, settings, world } = this.#parts;
    const now = world.monotonic();
    const pings = now - this.#pingedAt >= settings.pingIntervalMs;
    if (pings) this.#pingedAt = now;
    const turns = new Turns(world);
    try {
      bookmarks.sweep();
      catchUp.tidy();
      for (const follower of [...followers]) {
        if (turns.isOver) await turns.pass();
        if (follower.phase === 'closed' || this.#closeIfDue(follower)) continue;
        if (pings) ping(follower);
      }
    } finally {
      this.#isRunning = false;
    }
  }

  /** @returns whether the feed closed the follower, because it lags, says nothing, or holds memory that others wait for */
  #closeIfDue(follower: Follower): boolean {
    const { catchUp, close, counters, head, queued, settings, world } = this.#parts;
    const lag = follower.phase === 'behind' ? head.offset - follower.cursor : 0;
    const limit = Math.max(settings.followerOutputBytes, head.backlog.size);
    if (lag > follower.extraLagBytes + limit) {
      this.#closeLagging(follower, lag);
      return true;
    }
    if (follower.phase === 'behind' && lag <= limit) follower.withinLimit();
    const stuckMs = Math.max(follower.stuckMs(), follower.silentMs());
    if (stuckMs > settings.timeoutMs) {
      close(follower, CloseCode.timedOut, `the follower took nothing or answered nothing for ${stuckMs} ms`);
      follower.socket.terminate();
      return true;
    }
    const heldSince = queued.heldSince(follower);
    const isLong = heldSince !== null && msSince(world, heldSince) > settings.timeoutMs;
    if (isLong && catchUp.waits((each) => this.#waitsFor(follower, each))) {
      counters.tooFarBehind += 1;
      close(follower, CloseCode.tooFarBehind, 'other followers wait for the memory that this one holds');
      follower.socket.terminate();
      return true;
    }
    return false;
  }

  /** Whether the waiting follower waits for the memory that this one holds: not if its own client has its share of it. */
  #waitsFor({ socket: { client } }: Follower, { socket }: Follower): boolean {
    return socket.client === client || !this.#parts.queued.has(socket.client);
  }

  /** Closes a follower that lags too far, and tells it its place: it resumes there while the backlog holds the stream after it. */
  #closeLagging(follower: Follower, lag: number): void {
    const { close, counters, head } = this.#parts;
    counters.tooFarBehind += 1;
    const position = formatPosition({ runId: head.position.runId, offset: follower.cursor });
    follower.tell(errorMessage('TOO_FAR_BEHIND', `${lag} bytes behind`, { position }));
    close(follower, CloseCode.tooFarBehind, `${lag} bytes behind, at ${position}`);
  }
}

function ping(follower: Follower): void {
  follower.socket.ping();
  if (follower.phase === 'waiting') follower.tell(WAITING);
}
