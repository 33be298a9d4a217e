/** One turn of writes: decides requests within the bounds of a turn, commits their effects together, and answers them. */
import { Refusal } from '../../keyspace/refusal.ts';
import { decideWrite, type WriteOutcome, type WriteRequest } from '../../keyspace/write.ts';
import { formatPosition, type Offset } from '../../replication/position.ts';
import type { LookAhead } from '../head/keyspace/look-ahead.ts';
import type { StreamHead } from '../head/stream-head.ts';
import type { Tally } from '../ports/counts.ts';
import { StorageError } from '../ports/failures.ts';
import type { Log } from '../ports/world.ts';
import { Problem, storageProblem, unexpectedProblem } from '../problem.ts';
import { logUnexpected } from '../unattended.ts';
import { TurnDraft } from './draft.ts';
import type { Sender } from './sender.ts';

export interface WriteResult extends WriteOutcome {
  /** `<run ID>:<offset>`: every node that has reached this position has the write. */
  readonly position: string;
}

/** The largest number of requests in one turn. */
export const MAX_TURN_REQUESTS = 1_024;
/** Length of the effects, in bytes, from which a turn takes no further request. With small values they take about 15 ms. */
export const MAX_TURN_BYTES = 512 * 1024;
/**
 * Number of lookups from which a turn takes no further request. A lookup takes 10 to 20 µs if the key is on the disk, and counts wherever
 * the key is.
 */
export const MAX_TURN_LOOKUPS = 1_000;
/**
 * Bytes of values from which a turn takes no further request, if it has read them for conditions, patches and batches. They take
 * about 20 ms.
 */
export const MAX_TURN_READ_BYTES = 16 * 1024 * 1024;
/** The decision about one request; `end`: offset after its effects. */
type Decided = { readonly outcome: WriteOutcome; readonly end: Offset } | { readonly refused: Problem };

/** Counts of writes since the start. */
export interface WriteCounts {
  /** Requests that the journal has, by kind; a batch counts once. */
  readonly written: Tally<WriteRequest['kind']>;
  /** Requests of which nothing was written, by the code of the problem. */
  readonly refused: Tally<Problem['code']>;
}

/** A request that waits for its turn. */
export interface Waiting {
  readonly request: WriteRequest;
  /** null: the node itself. */
  readonly sender: Sender | null;
  /** Name of the client for whose share the memory counts. */
  readonly client: string;
  /** Memory that the request takes while it waits, in bytes, roughly. */
  readonly bytes: number;
  /** Memory that a bulk request takes in the overlay, in bytes, roughly; 0 for a single write. */
  readonly overlayBytes: number;
  /** The reading ahead of a bulk request with many lookups, which must finish before the turn; null: there is none. */
  ahead: LookAhead | null;
  readonly resolve: (result: WriteResult) => void;
  readonly reject: (error: Error) => void;
}

type Head = Pick<
  StreamHead,
  'offset' | 'position' | 'expiry' | 'outline' | 'raw' | 'commit' | 'appliedCount' | 'knowsAbove'
>;

export class DecidedTurn {
  readonly #head: Head;
  readonly #log: Log;
  readonly #draft: TurnDraft;
  readonly #taken: Waiting[] = [];
  readonly #decided: Decided[] = [];
  readonly #counts: WriteCounts;

  /** @param now milliseconds since 1970; entries expire at this moment for the whole turn */
  constructor(head: Head, log: Log, now: number, counts: WriteCounts) {
    this.#head = head;
    this.#log = log;
    this.#counts = counts;
    this.#draft = new TurnDraft(head, now);
  }

  /**
   * Removes requests from the front of a line and decides them, until the turn has reached a bound or a request still reads ahead.
   * @param atLeast number of requests that the bounds do not stop
   * @returns the requests, which no longer wait
   */
  take(line: Waiting[], atLeast: number): readonly Waiting[] {
    let count = 0;
    for (const each of line) {
      if (!isReady(each) || (count >= atLeast && !this.#hasRoom)) break;
      this.#draft.begin(each.ahead?.counts(this.#head) === true ? each.ahead : null);
      this.#decided.push(this.#decide(each));
      count += 1;
    }
    const taken = line.splice(0, count);
    this.#taken.push(...taken);
    return taken;
  }

  /** Commits the effects of the requests, and answers all of them. */
  finish(): void {
    try {
      if (this.#draft.bytes > 0) this.#head.commit(this.#draft.finish());
    } catch (error) {
      const problem = this.#failed(error);
      this.#counts.refused.add(problem.code, this.#taken.length);
      for (const each of this.#taken) each.reject(problem);
      return;
    }
    const { runId } = this.#head.position;
    for (const [index, each] of this.#decided.entries()) {
      const { request, resolve, reject } = this.#taken[index] as Waiting;
      if ('refused' in each) {
        this.#counts.refused.add(each.refused.code);
        reject(each.refused);
      } else {
        this.#counts.written.add(request.kind);
        resolve({ ...each.outcome, position: formatPosition({ runId, offset: each.end }) });
      }
    }
  }

  get #hasRoom(): boolean {
    const { bytes, lookups, readBytes } = this.#draft;
    return (
      this.#decided.length < MAX_TURN_REQUESTS &&
      bytes < MAX_TURN_BYTES &&
      lookups < MAX_TURN_LOOKUPS &&
      readBytes < MAX_TURN_READ_BYTES
    );
  }

  /** Adds the effects of one request to the draft, or nothing if the request is refused. */
  #decide({ request, sender }: Waiting): Decided {
    const over = sender?.atDecision() ?? null;
    if (over !== null) return { refused: over };
    try {
      const outcome = decideWrite(request, this.#draft);
      return { outcome, end: this.#draft.end as Offset };
    } catch (error) {
      if (error instanceof Refusal) return { refused: new Problem(error.code, error.message, error.extra) };
      // The keyspace file could not be read; nothing of the request is in the draft.
      if (error instanceof StorageError) return { refused: storageProblem(error) };
      // If the error left the turn, the same request would fail each later turn, and nobody could write any more.
      logUnexpected(this.#log, 'write turn', error);
      return { refused: unexpectedProblem() };
    }
  }

  /** @returns the problem for the requests of the turn whose commit failed */
  #failed(error: unknown): Problem {
    // After another error the node ends, and does not answer: it does not know whether the journal has the effects.
    if (!(error instanceof StorageError)) throw error;
    this.#log.error('write-failed', { error: error.inLog });
    return storageProblem(error);
  }
}

/** Whether the request needs no reading ahead, or its reading ahead has finished. */
export function isReady({ ahead }: Waiting): boolean {
  return ahead === null || ahead.isDone;
}
