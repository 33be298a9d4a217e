/**
 * The write turn: the one synchronous step in which a node decides writes, journals and applies their effects, and passes them on.
 *
 * All requests that arrive in one tick of the event loop share a turn, and so one journal row and one SQLite commit. A turn is
 * bounded; the requests that do not fit have the next turn, after the event loop has handled other events.
 * Turns of bulk requests alternate with turns of single writes: a single write waits for at most one bulk request, and a bulk
 * request for at most one turn of single writes.
 * A turn contains no `await`, so nothing can happen between the decision about a request and its application.
 */
import type { WriteRequest } from '../../keyspace/write.ts';
import { assertNever } from '../../stream/command.ts';
import { Shares } from '../client-places.ts';
import { LookAhead, lookupCount } from '../head/keyspace/look-ahead.ts';
import type { StreamHead } from '../head/stream-head.ts';
import { Durations, SHORT_RANGES, Tally } from '../ports/counts.ts';
import type { Log, World } from '../ports/world.ts';
import { Problem } from '../problem.ts';
import { Turns } from '../turns.ts';
import { logUnexpected, unattended } from '../unattended.ts';
import {
  DecidedTurn,
  isReady,
  MAX_TURN_LOOKUPS,
  type Waiting,
  type WriteCounts,
  type WriteResult,
} from './decided-turn.ts';
import { bytesOf, overlayBytesOf } from './request-size.ts';
import type { Sender } from './sender.ts';

export {
  MAX_TURN_BYTES,
  MAX_TURN_LOOKUPS,
  MAX_TURN_READ_BYTES,
  MAX_TURN_REQUESTS,
  type WriteResult,
} from './decided-turn.ts';

/**
 * Memory in bytes above which a waiting request is a *bulk* request. Bulk requests wait in a line of their own, so that single
 * writes do not wait for the applier because of an import or large batches.
 */
export const BULK_BYTES = 64 * 1024;

/**
 * The largest memory of all waiting requests, in bytes, of which each client may have a share of what the others leave; the turn refuses
 * more. Requests wait for long while the overlay is full, or during a hand-over.
 */
export const MAX_WAITING_BYTES = 256 * 1024 * 1024;

/** Name under which the writes of the node itself count. */
const NODE = '';

/** @returns the problem with which this node refuses writes now; null: it takes writes */
export type Guard = () => Problem | null;

type Head = Pick<
  StreamHead,
  | 'offset'
  | 'position'
  | 'expiry'
  | 'outline'
  | 'raw'
  | 'commit'
  | 'admission'
  | 'whenRoom'
  | 'appliedCount'
  | 'knowsAbove'
  | 'below'
  | 'expiryBelow'
>;

export class WriteTurn {
  readonly #world: World;
  readonly #log: Log;
  readonly #head: Head;
  readonly #guard: Guard;
  /** The single writes that wait, oldest first. */
  #single: Waiting[] = [];
  /** The bulk requests that wait, oldest first. */
  #bulk: Waiting[] = [];
  /** Memory of all waiting requests, in bytes, roughly. */
  readonly #memory = new Shares(() => MAX_WAITING_BYTES, 'coarsely');
  /** Whether the event loop will call `#due` in its next turn. */
  #scheduled = false;
  /** Whether single writes have had a turn since the last turn of a bulk request. */
  #bulkIsNext = false;
  #singles = 0;
  #lastTurnMs = 0;
  /** How long turns took. */
  readonly turns = new Durations(SHORT_RANGES);
  /** Writes that the journal has, by their kind, and writes that turns refused, by the code of the problem. */
  readonly counts: WriteCounts = { written: new Tally(), refused: new Tally() };
  /** Whether the keyspace file is being read ahead for bulk requests. */
  #looksAhead = false;
  /** Whether the head will call back when the overlay has room. */
  #awaitsRoom = false;
  /** Whether a timer will call back at the end of a pause. */
  #pausing = false;
  /** The parts of the node that let no turn run. */
  readonly #holds = new Set<symbol>();

  constructor(parts: { world: World; log: Log; head: Head; guard: Guard }) {
    this.#world = parts.world;
    this.#log = parts.log;
    this.#head = parts.head;
    this.#guard = parts.guard;
  }

  /**
   * Puts a request into its line. Resolves when the journal has its effects.
   * @param sender asked when the request is decided; null: the node itself
   * @throws Problem what the sender says; READONLY, SHUTTING_DOWN, DISK_FULL, STORAGE_FAILED, TOO_MANY_REQUESTS, or the code of the refusal of the
   *   request (keyspace/write.ts); nothing of the request was written then
   */
  submit(request: WriteRequest, sender: Sender | null = null): Promise<WriteResult> {
    const bytes = bytesOf(request);
    const client = sender?.client ?? NODE;
    if (this.#memory.total > 0 && this.#memory.of(client) + bytes > this.#memory.most(client)) {
      this.counts.refused.add('TOO_MANY_REQUESTS');
      return Promise.reject(new Problem('TOO_MANY_REQUESTS', 'too many bytes of writes wait already'));
    }
    this.#memory.add(client, bytes);
    return new Promise((resolve, reject) => {
      if (bytes > BULK_BYTES) {
        const ahead = lookupCount(request) > MAX_TURN_LOOKUPS ? new LookAhead(request) : null;
        const overlayBytes = overlayBytesOf(request);
        this.#bulk.push({ request, sender, client, bytes, overlayBytes, ahead, resolve, reject });
        if (ahead !== null) this.#startLookingAhead();
      } else {
        this.#single.push({ request, sender, client, bytes, overlayBytes: 0, ahead: null, resolve, reject });
        this.#singles += 1;
      }
      this.#schedule();
    });
  }

  /** Number of single writes submitted since the start. */
  get singles(): number {
    return this.#singles;
  }

  /** Memory of all waiting requests, in bytes, roughly. */
  get waitingBytes(): number {
    return this.#memory.total;
  }

  /** Duration of the last turn, in milliseconds. It counts for the caller whose request has just been answered. */
  get lastTurnMs(): number {
    return this.#lastTurnMs;
  }

  /**
   * Runs no turn until all who hold have released, so that requests wait undecided; `drain` still runs turns.
   * @returns releases this hold; further calls change nothing
   */
  hold(): () => void {
    const hold = Symbol('hold');
    this.#holds.add(hold);
    return () => {
      if (this.#holds.delete(hold)) this.wake();
    };
  }

  /** Refuses the waiting requests whose sender may do nothing any more, so that they give back their memory. */
  refuseOver(): void {
    const stays = (each: Waiting): boolean => {
      const over = each.sender?.over ?? null;
      if (over === null) return true;
      this.#giveBack([each]);
      this.counts.refused.add(over.code);
      each.reject(over);
      return false;
    };
    this.#single = this.#single.filter(stays);
    this.#bulk = this.#bulk.filter(stays);
  }

  /** Runs turns until no request waits, because the node stops. Bulk requests do not wait for their reading ahead. */
  drain(): void {
    for (const each of this.#bulk) each.ahead = null;
    while (this.#anyWaiting) this.#turn(this.#single.length === 0);
  }

  /** Looks at the waiting requests again in the next turn of the event loop, because the node's role has changed. */
  wake(): void {
    // Requests that wait for room get a turn too: #due asks the guard first, which may refuse them all.
    if (this.#anyWaiting) this.#world.soon(() => this.#due());
  }

  /** Starts reading ahead for the waiting bulk requests, one after the other, unless that is under way. */
  #startLookingAhead(): void {
    if (this.#looksAhead) return;
    this.#looksAhead = true;
    unattended(this.#lookAhead(), (error) => {
      logUnexpected(this.#log, 'look-ahead', error);
      this.#looksAhead = false;
      // The reading ahead of the failed request counts as finished; the turn reads the keyspace file itself.
      this.#startLookingAhead();
      this.#schedule();
    });
  }

  async #lookAhead(): Promise<void> {
    for (;;) {
      const next = this.#bulk.find((each) => !isReady(each));
      if (next === undefined) break;
      await next.ahead?.run(this.#head, new Turns(this.#world));
      this.#schedule();
    }
    this.#looksAhead = false;
  }

  get #anyWaiting(): boolean {
    return this.#single.length > 0 || this.#bulk.length > 0;
  }

  #schedule(): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    this.#world.soon(() => this.#due());
  }

  #due(): void {
    this.#scheduled = false;
    if (!this.#anyWaiting || this.#holds.size > 0) return;
    const bulk = this.#bulk[0];
    // A node that takes no writes refuses all requests at once, even if the overlay has no room.
    if (this.#guard() !== null) {
      this.#turnOf(bulk !== undefined);
      return;
    }
    const admission = this.#head.admission(bulk?.overlayBytes ?? 0);
    switch (admission.kind) {
      case 'wait-for-room':
        this.#awaitRoom();
        return;
      case 'pause':
        this.#pause(admission.ms);
        return;
      case 'singles-only':
        this.#turnOf(false);
        if (this.#single.length > 0) this.#schedule();
        // A bulk request that reads ahead schedules its turn when that is done.
        else if (bulk === undefined || !isReady(bulk)) return;
        else if (admission.ms === null) this.#awaitRoom();
        else this.#pause(admission.ms);
        return;
      case 'go': {
        const withBulk = bulk !== undefined && isReady(bulk);
        this.#turnOf(withBulk);
        if (this.#single.length > 0 || (withBulk && this.#bulk.length > 0)) this.#schedule();
        return;
      }
      default:
        assertNever(admission);
    }
  }

  /** Runs one turn, if a request can have it. @param withBulk whether the first bulk request can */
  #turnOf(withBulk: boolean): void {
    const hasSingles = this.#single.length > 0;
    if (hasSingles || withBulk) this.#turn(withBulk && (this.#bulkIsNext || !hasSingles));
  }

  #awaitRoom(): void {
    if (this.#awaitsRoom) return;
    this.#awaitsRoom = true;
    this.#head.whenRoom(() => {
      this.#awaitsRoom = false;
      this.#schedule();
    });
  }

  #pause(ms: number): void {
    if (this.#pausing) return;
    this.#pausing = true;
    this.#world.after(ms, () => {
      this.#pausing = false;
      this.#schedule();
    });
  }

  /** @param ofBulk whether the turn decides bulk requests, at least one; if not, it decides single writes */
  #turn(ofBulk: boolean): void {
    const startedAt = this.#world.monotonic();
    this.#bulkIsNext = !ofBulk;
    this.#decideLine(ofBulk);
    this.#lastTurnMs = this.#world.monotonic() - startedAt;
    this.turns.add(this.#lastTurnMs / 1_000);
  }

  /** Decides the requests of one line up to the bounds of a turn, commits their effects, and answers them. */
  #decideLine(ofBulk: boolean): void {
    const refusal = this.#guard();
    if (refusal !== null) {
      const refused = [...this.#single, ...this.#bulk];
      this.#single = [];
      this.#bulk = [];
      this.#giveBack(refused);
      this.counts.refused.add(refusal.code, refused.length);
      for (const each of refused) each.reject(refusal);
      return;
    }
    const turn = new DecidedTurn(this.#head, this.#log, this.#world.now(), this.counts);
    this.#giveBack(ofBulk ? turn.take(this.#bulk, 1) : turn.take(this.#single, 0));
    turn.finish();
  }

  /** Gives back the memory of requests that no longer wait. */
  #giveBack(requests: readonly Waiting[]): void {
    for (const { client, bytes } of requests) this.#memory.add(client, -bytes);
  }
}
