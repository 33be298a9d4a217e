/**
 * The write turn: the one synchronous step in which writes are decided, journaled, applied and fanned out.
 *
 * All requests that arrive in one tick of the event loop share a turn, and with it one journal row and one SQLite
 * commit. A turn is bounded; what does not fit goes into the next one, after the event loop has had its say.
 * Bulk requests have turns of their own, by turns with those of single writes: a single write waits for one bulk
 * request at most, and a bulk request for one turn of single writes.
 * Without `await` inside there is nothing that could come between deciding a request and applying it.
 */
import { Refusal } from '../../keyspace/refusal.ts';
import { decideWrite, type WriteOutcome, type WriteRequest } from '../../keyspace/write.ts';
import { formatPosition, type Offset } from '../../replication/position.ts';
import { assertNever } from '../../stream/command.ts';
import { LookAhead, lookupCount } from '../head/look-ahead.ts';
import type { StreamHead } from '../head/stream-head.ts';
import { type Log, StorageError, type World } from '../ports.ts';
import { Problem, storageProblem } from '../problem.ts';
import { Turns } from '../turns.ts';
import { logUnexpected, unattended } from '../unattended.ts';
import { TurnDraft } from './draft.ts';
import { bytesOf, overlayBytesOf } from './request-size.ts';

export interface WriteResult extends WriteOutcome {
  /** `<run ID>:<offset>`: whoever has reached it sees the write. */
  readonly position: string;
}

/** One turn decides at most so many requests … */
export const MAX_TURN_REQUESTS = 1_024;
/** … and takes no more once their effects reach so many bytes, of small values about 15 ms' worth … */
export const MAX_TURN_BYTES = 512 * 1024;
/** … or so many keys were looked up, which takes 10 to 20 µs each if they are on disk. */
export const MAX_TURN_LOOKUPS = 1_000;
/** … or so many bytes of values were read, for conditions, patches and batches: about 20 ms' worth. */
export const MAX_TURN_READ_BYTES = 16 * 1024 * 1024;
/**
 * Requests that keep more in memory are *bulk*: they wait in a line of their own, so that an import or large batches do not
 * keep single writes waiting for the applier.
 */
export const BULK_BYTES = 64 * 1024;

/**
 * What waits for its turn holds at most so many bytes of values: while the overlay is full, or a hand-over goes on. More is
 * refused, or memory would have no bound.
 */
export const MAX_WAITING_BYTES = 256 * 1024 * 1024;

type Decided = { readonly outcome: WriteOutcome; readonly end: Offset } | { readonly refused: Problem };

interface Waiting {
  readonly request: WriteRequest;
  /** What it keeps in memory while it waits. */
  readonly bytes: number;
  /** What a bulk request brings into the overlay, in bytes, about; of others 0. */
  readonly overlayBytes: number;
  /** Of a bulk request with many keys to look up: it has no turn before that is done. */
  ahead: LookAhead | null;
  readonly resolve: (result: WriteResult) => void;
  readonly reject: (error: Error) => void;
}

/** Answers whether this node may write now: the problem to send if it may not. */
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
  /** Each line is first come, first served. */
  #single: Waiting[] = [];
  #bulk: Waiting[] = [];
  #waitingBytes = 0;
  #scheduled = false;
  /** Single writes have had their turn since the last one of a bulk request. */
  #bulkIsNext = false;
  #singles = 0;
  #lastTurnMs = 0;
  /** It reads ahead for bulk requests. */
  #looksAhead = false;
  /** It is called back when there is room. */
  #awaitsRoom = false;
  /** It is called back when a pause is over. */
  #pausing = false;
  #held = false;

  constructor(parts: { world: World; log: Log; head: Head; guard: Guard }) {
    this.#world = parts.world;
    this.#log = parts.log;
    this.#head = parts.head;
    this.#guard = parts.guard;
  }

  /**
   * @returns when the request is in the journal
   * @throws Problem READONLY, SHUTTING_DOWN, DISK_FULL, STORAGE_FAILED, TOO_MANY_REQUESTS, or what the request was refused
   *   with; then nothing of it was written
   */
  submit(request: WriteRequest): Promise<WriteResult> {
    const bytes = bytesOf(request);
    if (this.#waitingBytes > 0 && this.#waitingBytes + bytes > MAX_WAITING_BYTES) {
      return Promise.reject(
        new Problem('TOO_MANY_REQUESTS', `${this.#waitingBytes} bytes of writes wait already`),
      );
    }
    this.#waitingBytes += bytes;
    return new Promise((resolve, reject) => {
      if (bytes > BULK_BYTES) {
        const ahead = lookupCount(request) > MAX_TURN_LOOKUPS ? new LookAhead(request) : null;
        this.#bulk.push({ request, bytes, overlayBytes: overlayBytesOf(request), ahead, resolve, reject });
        if (ahead !== null) this.#startLookingAhead();
      } else {
        this.#single.push({ request, bytes, overlayBytes: 0, ahead: null, resolve, reject });
        this.#singles += 1;
      }
      this.#schedule();
    });
  }

  /** How many requests that are not bulk have been submitted so far. */
  get singles(): number {
    return this.#singles;
  }

  /** How long the last turn took, in milliseconds; for whoever has just got its answer. */
  get lastTurnMs(): number {
    return this.#lastTurnMs;
  }

  /** No turn is run until `release`: requests wait, and are not decided. */
  hold(): void {
    this.#held = true;
  }

  release(): void {
    this.#held = false;
    this.wake();
  }

  /** Runs the turns that are due, now: the last ones, before the node stops. */
  drain(): void {
    for (const each of this.#bulk) each.ahead = null;
    while (this.#anyWaiting) this.#turn(this.#single.length === 0);
  }

  /** Decides again, soon, whether the waiting requests may run: the node's role has changed. */
  wake(): void {
    // Also when they wait for room, which may be long in coming: #due looks at the role first.
    if (this.#anyWaiting) this.#world.soon(() => this.#due());
  }

  /** Reads ahead for the bulk requests that wait, one after the other. */
  #startLookingAhead(): void {
    if (this.#looksAhead) return;
    this.#looksAhead = true;
    unattended(this.#lookAhead(), (error) => {
      logUnexpected(this.#log, 'look-ahead', error);
      this.#looksAhead = false;
      // The request that failed counts as looked up; the turn decides it without.
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
    if (!this.#anyWaiting || this.#held) return;
    const bulk = this.#bulk[0];
    // A node that may not write refuses all requests at once, whatever room there is.
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

  /** Runs one turn, if a request may have one. @param withBulk the first bulk request may have its turn */
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

  /** @param ofBulk at least one bulk request has its turn, else single writes have theirs */
  #turn(ofBulk: boolean): void {
    const startedAt = this.#world.monotonic();
    this.#bulkIsNext = !ofBulk;
    this.#decideLine(ofBulk);
    this.#lastTurnMs = this.#world.monotonic() - startedAt;
  }

  #decideLine(ofBulk: boolean): void {
    const refusal = this.#guard();
    if (refusal !== null) {
      const refused = [...this.#single, ...this.#bulk];
      this.#single = [];
      this.#bulk = [];
      this.#waitingBytes = 0;
      for (const each of refused) each.reject(refusal);
      return;
    }
    const draft = new TurnDraft(this.#head, this.#world.now());
    const decided: Decided[] = [];
    const hasRoom = (): boolean =>
      decided.length < MAX_TURN_REQUESTS &&
      draft.bytes < MAX_TURN_BYTES &&
      draft.lookups < MAX_TURN_LOOKUPS &&
      draft.readBytes < MAX_TURN_READ_BYTES;
    const take = (line: Waiting[], atLeast: number): Waiting[] => {
      let count = 0;
      for (const each of line) {
        if (!isReady(each) || (count >= atLeast && !hasRoom())) break;
        draft.begin(each.ahead?.counts(this.#head) === true ? each.ahead : null);
        decided.push(this.#decide(each.request, draft));
        count += 1;
      }
      return line.splice(0, count);
    };
    const taken = ofBulk ? take(this.#bulk, 1) : take(this.#single, 0);
    for (const { bytes } of taken) this.#waitingBytes -= bytes;
    try {
      if (draft.bytes > 0) this.#head.commit(draft.finish());
    } catch (error) {
      const problem = this.#failed(error);
      for (const each of taken) each.reject(problem);
      return;
    }
    const { runId } = this.#head.position;
    for (const [index, each] of decided.entries()) {
      const { resolve, reject } = taken[index] as Waiting;
      if ('refused' in each) reject(each.refused);
      else resolve({ ...each.outcome, position: formatPosition({ runId, offset: each.end }) });
    }
  }

  /** Adds one request's effects to the draft, or finds why it has none. */
  #decide(request: WriteRequest, draft: TurnDraft): Decided {
    try {
      const outcome = decideWrite(request, draft);
      return { outcome, end: draft.end as Offset };
    } catch (error) {
      if (error instanceof Refusal) return { refused: new Problem(error.code, error.message, error.extra) };
      // The keyspace file could not be read; nothing of the request is in the draft.
      if (error instanceof StorageError) return { refused: storageProblem(error) };
      // Thrown on, it would come again with each turn, and nobody could write any more.
      logUnexpected(this.#log, 'write turn', error);
      return { refused: new Problem('INTERNAL', 'the log of the node says more') };
    }
  }

  #failed(error: unknown): Error {
    // The node is about to end, and nobody is told what is not known: whether it was written.
    if (!(error instanceof StorageError)) throw error;
    this.#log.error('write-failed', { error: error.message });
    return storageProblem(error);
  }
}

function isReady({ ahead }: Waiting): boolean {
  return ahead === null || ahead.isDone;
}
