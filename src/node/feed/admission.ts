/**
 * Decides whether the feed can serve a request, and how: from a position, with a snapshot, or not at all.
 *
 * A follower resumes by the decision that answers a replica's PSYNC.
 */
import type { Position } from '../../replication/position.ts';
import { msSince } from '../elapsed.ts';
import type { PositionWaiters } from '../head/position-waiters.ts';
import type { StreamHead } from '../head/stream-head.ts';
import type { World } from '../ports/world.ts';
import { Problem } from '../problem.ts';
import type { FeedSettings } from './feed-parts.ts';
import { lost, lostTime } from './feed-problems.ts';
import type { FeedQuery, FeedRequest } from './feed-request.ts';

/** Longest time, in milliseconds, that a replica waits until it reaches a follower's position or learns of its history. */
const REACH_MS = 5_000;

interface AdmissionParts {
  readonly world: World;
  readonly head: StreamHead;
  readonly positions: PositionWaiters;
  readonly settings: Pick<FeedSettings, 'maxFollowers'>;
  readonly isMaster: () => boolean;
  readonly closing: () => boolean;
  readonly followers: ReadonlySet<unknown>;
}

export class Admission {
  readonly #parts: AdmissionParts;

  constructor(parts: AdmissionParts) {
    this.#parts = parts;
  }

  /**
   * Waits until the feed can answer the request. A replica waits for a position that it has not reached yet, at most as
   * long as a long poll waits.
   * @param gone aborts the wait when the client has gone
   * @param client name of the client, by which limits count
   * @returns the request, with a position instead of a time, and with the remaining time of a long poll
   * @throws Problem why the feed cannot serve it: BAD_REQUEST, TOO_MANY_REQUESTS, NOT_REACHED, POSITION_LOST,
   *   SHUTTING_DOWN, STORAGE_FAILED
   */
  async admit(query: FeedQuery, gone: AbortSignal, client: string): Promise<FeedRequest> {
    this.#refuseNow();
    const { from, waitMs } = query;
    if (typeof from === 'object' && 'time' in from) return { ...query, from: this.#since(from.time) };
    const request = { ...query, from };
    if (typeof from === 'string') return request;
    const { isMaster, world } = this.#parts;
    const began = world.monotonic();
    if (!isMaster()) await this.#reach(from, Math.min(REACH_MS, waitMs ?? REACH_MS), gone, client);
    this.#refuseNow();
    const decision = this.#parts.head.decideFrom(from);
    if (decision.kind === 'full-resync' && !request.snapshot) throw lost(from, decision.reason);
    if (waitMs === null) return request;
    return { ...request, waitMs: Math.max(0, waitMs - msSince(world, began)) };
  }

  /**
   * @param time milliseconds since 1970
   * @returns the position from which a follower gets at least everything of this time and later
   * @throws Problem POSITION_LOST if the journal does not reach back so far, whatever the follower says of snapshots: none of
   *   them holds changes. STORAGE_FAILED when the journal cannot be read
   */
  #since(time: number): Position {
    const { head } = this.#parts;
    const { runId } = head.position;
    const offset = head.since(time);
    const decision = offset === null ? null : head.decideFrom({ runId, offset });
    if (offset === null || decision?.kind !== 'continue') throw lostTime(time, head.sinceEarliest);
    return { runId, offset };
  }

  #refuseNow(): void {
    const { closing, followers, settings } = this.#parts;
    if (closing()) throw new Problem('SHUTTING_DOWN', 'the node is shutting down');
    if (followers.size >= settings.maxFollowers) {
      throw new Problem('TOO_MANY_REQUESTS', `${settings.maxFollowers} followers are connected already`);
    }
  }

  /** Waits until this replica has the position. It may lag behind the follower's last node, or not know of a promotion yet. */
  async #reach(from: Position, timeoutMs: number, gone: AbortSignal, client: string): Promise<void> {
    try {
      await this.#parts.positions.wait(from, timeoutMs, gone, client);
    } catch (error) {
      // The feed answers a position of an unknown history with a snapshot.
      if (!(error instanceof Problem) || error.code !== 'UNKNOWN_HISTORY') throw error;
    }
  }
}
