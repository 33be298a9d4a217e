/**
 * The write turn: the one synchronous step in which writes are decided, journaled, applied and fanned out.
 *
 * All requests that arrive in one tick of the event loop share a turn, and with it one journal row and one SQLite
 * commit. A turn is bounded; what does not fit goes into the next one, after the event loop has had its say.
 * Without `await` inside there is nothing that could come between deciding a request and applying it.
 */
import { Refusal } from '../keyspace/refusal.ts';
import { decideWrite, type WriteOutcome, type WriteRequest } from '../keyspace/write.ts';
import { formatPosition, type Offset } from '../replication/position.ts';
import { TurnDraft } from './draft.ts';
import { type Log, StorageError, type World } from './ports.ts';
import { Problem, storageProblem } from './problem.ts';
import type { StreamHead } from './stream-head.ts';

export interface WriteResult extends WriteOutcome {
  /** `<run ID>:<offset>`: whoever has reached it sees the write. */
  readonly position: string;
}

/** One turn decides at most so many requests … */
export const MAX_TURN_REQUESTS = 1_024;
/** … and takes no more once their effects reach so many bytes: of small values about 15 ms' worth. */
export const MAX_TURN_BYTES = 512 * 1024;

/**
 * What waits for its turn holds at most so many bytes of values: while the overlay is full, or a hand-over goes on. More is
 * refused, or memory would have no bound.
 */
export const MAX_WAITING_BYTES = 256 * 1024 * 1024;
/** What a request takes beside its values, roughly. */
const REQUEST_BYTES = 1_024;

type Decided = { readonly outcome: WriteOutcome; readonly end: Offset } | { readonly refused: Problem };

interface Waiting {
  readonly request: WriteRequest;
  readonly bytes: number;
  readonly resolve: (result: WriteResult) => void;
  readonly reject: (error: Error) => void;
}

/** Answers whether this node may write now: the problem to send if it may not. */
export type Guard = () => Problem | null;

export class WriteTurn {
  readonly #world: World;
  readonly #log: Log;
  readonly #head: StreamHead;
  readonly #guard: Guard;
  #waiting: Waiting[] = [];
  #waitingBytes = 0;
  #scheduled = false;
  #held = false;

  constructor(parts: { world: World; log: Log; head: StreamHead; guard: Guard }) {
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
      this.#waiting.push({ request, bytes, resolve, reject });
      this.#schedule();
    });
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
    while (this.#waiting.length > 0) this.#turn();
  }

  /** Decides again, soon, whether the waiting requests may run: the node's role has changed. */
  wake(): void {
    // Also when they wait for room, which may be long in coming: #due looks at the role first.
    if (this.#waiting.length > 0) this.#world.soon(() => this.#due());
  }

  #schedule(): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    this.#world.soon(() => this.#due());
  }

  #due(): void {
    this.#scheduled = false;
    if (this.#waiting.length === 0 || this.#held) return;
    const pauseMs = this.#head.pauseMs;
    if ((this.#head.full || pauseMs > 0) && this.#guard() === null) {
      this.#scheduled = true;
      if (this.#head.full) this.#head.whenRoom(() => this.#due());
      else this.#world.after(pauseMs, () => this.#due());
      return;
    }
    this.#turn();
    if (this.#waiting.length > 0) this.#schedule();
  }

  #turn(): void {
    const refusal = this.#guard();
    if (refusal !== null) {
      const refused = this.#waiting;
      this.#waiting = [];
      this.#waitingBytes = 0;
      for (const each of refused) each.reject(refusal);
      return;
    }
    const draft = new TurnDraft(this.#head, this.#world.now());
    const decided: Decided[] = [];
    while (
      decided.length < Math.min(this.#waiting.length, MAX_TURN_REQUESTS) &&
      draft.bytes < MAX_TURN_BYTES
    ) {
      decided.push(decide((this.#waiting[decided.length] as Waiting).request, draft));
    }
    const taken = this.#waiting.slice(0, decided.length);
    this.#waiting = this.#waiting.slice(decided.length);
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

  #failed(error: unknown): Error {
    if (!(error instanceof StorageError)) throw error;
    this.#log.error('write-failed', { error: error.message });
    return storageProblem(error);
  }
}

/** What a request keeps in memory while it waits. */
function bytesOf(request: WriteRequest): number {
  switch (request.kind) {
    case 'set':
    case 'append':
      return REQUEST_BYTES + request.value.length;
    case 'batch':
      return request.operations.reduce((sum, operation) => sum + bytesOf(operation), REQUEST_BYTES);
    case 'load':
      return request.commands.reduce(
        (sum, command) => sum + REQUEST_BYTES + (command.kind === 'set' ? command.value.length : 0),
        REQUEST_BYTES,
      );
    default:
      return REQUEST_BYTES;
  }
}

/** Adds one request's effects to the draft, or finds why it has none. */
function decide(request: WriteRequest, draft: TurnDraft): Decided {
  try {
    const outcome = decideWrite(request, draft);
    return { outcome, end: draft.end as Offset };
  } catch (error) {
    if (error instanceof Refusal) return { refused: new Problem(error.code, error.message, error.extra) };
    // The keyspace file could not be read; nothing of the request is in the draft.
    if (error instanceof StorageError) return { refused: storageProblem(error) };
    throw error;
  }
}
