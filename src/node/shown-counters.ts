/**
 * The counters of `/v1/replication` and `/v1/info`, which an operator may set to 0. The parts of the node go on counting; what they had
 * counted at the reset is subtracted from what is shown.
 */
import type { FeedCounters } from './feed/feed-parts.ts';
import type { SyncCounters } from './session/session-context.ts';

export interface Counters {
  readonly sync: Readonly<SyncCounters>;
  readonly feed: Readonly<FeedCounters>;
}

export class ShownCounters {
  /** What the parts had counted at the last reset. */
  #before: Counters = {
    sync: { syncFull: 0, syncPartialOk: 0, syncPartialErr: 0 },
    feed: { continued: 0, resets: {}, tooFarBehind: 0 },
  };
  #resetAt: number | null = null;

  /** Time of the last reset in milliseconds since 1970; null: the counters count since the process started. */
  get resetAt(): number | null {
    return this.#resetAt;
  }

  /**
   * Lets all counters be shown as 0.
   * @param counted since the process started; the caller may not change it afterwards
   * @param at milliseconds since 1970
   */
  reset(counted: Counters, at: number): void {
    this.#before = counted;
    this.#resetAt = at;
  }

  /** @param counted since the process started @returns what is counted since the last reset */
  since({ sync, feed }: Counters): Counters {
    const before = this.#before;
    const resets = Object.entries(feed.resets)
      .map(([reason, count]) => [reason, count - (before.feed.resets[reason as never] ?? 0)] as const)
      .filter(([, count]) => count > 0);
    return {
      sync: {
        syncFull: sync.syncFull - before.sync.syncFull,
        syncPartialOk: sync.syncPartialOk - before.sync.syncPartialOk,
        syncPartialErr: sync.syncPartialErr - before.sync.syncPartialErr,
      },
      feed: {
        continued: feed.continued - before.feed.continued,
        resets: Object.fromEntries(resets),
        tooFarBehind: feed.tooFarBehind - before.feed.tooFarBehind,
      },
    };
  }
}
