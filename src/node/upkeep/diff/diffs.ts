import { standing } from '../../../replication/history.ts';
import { formatPosition, type Offset, offset, type Position } from '../../../replication/position.ts';
import type { Command, Run } from '../../../stream/command.ts';
import { StreamDecoder } from '../../../stream/decoder.ts';
import type { PositionWaiters } from '../../head/position-waiters.ts';
import type { StreamHead } from '../../head/stream-head.ts';
import { NotInJournal, StorageError } from '../../ports/failures.ts';
import type { World } from '../../ports/world.ts';
import { diskProblem, Problem } from '../../problem.ts';
import { OneByOne, restAfter, Turns } from '../../turns.ts';
import { type ChangedKey, TouchedKeys } from './touched-keys.ts';

/** Largest number of differences at the same time, because each may read the whole journal. */
const MAX_DIFFS = 4;
/** Largest number of differences of one client at the same time, so that others get some too. */
const MAX_CLIENT_DIFFS = 2;
/** Bytes of the stream before the first position that one page reads at most, to know which keys were there. */
export const LOOK_BACK_BYTES = 64 * 1024 * 1024;
/** Bytes of the stream that are decoded at a time. */
const PIECE_BYTES = 64 * 1024;
/** Number of commands between two looks at the clock. */
const SLICE_COMMANDS = 128;
/** Longest turn of the event loop, in milliseconds. */
const DIFF_TURN_MS = 2;
/**
 * Time of a turn, in milliseconds, after which all differences rest for the share of others (`restAfter`). A large write is one row
 * of the journal, which the node reads in one piece, so such a turn is as long as the write is large.
 */
const LONG_TURN_MS = 10;

export interface DiffRequest {
  readonly from: Position;
  /** null: the node's present position. */
  readonly to: Position | null;
  readonly prefix: string;
  /** Only keys after this one; null: from the first key. */
  readonly after: string | null;
  /** Largest number of keys. */
  readonly limit: number;
  /** Milliseconds for which a replica waits until it has reached the positions. */
  readonly timeoutMs: number;
  /** Name of the client, by which the limit of one client counts. */
  readonly client: string;
}

export interface Difference {
  readonly from: Position;
  readonly to: Position;
  /** Position of the last FLUSHALL in between: all keys that were there before it are removed, named or not; null: there is none. */
  readonly flushed: Position | null;
  /** In key order. */
  readonly changes: readonly ChangedKey[];
  /** The next page begins after this key; null: this is the last page. */
  readonly next: string | null;
}

interface DiffParts {
  readonly world: World;
  readonly head: StreamHead;
  readonly positions: PositionWaiters;
  readonly isMaster: () => boolean;
  readonly closing: () => boolean;
}

/** Takes a command, the offset of its end, and the first offset after it where a position may stop. */
type Take = (command: Command, end: number, boundary: () => number) => void;

export class Diffs {
  readonly #parts: DiffParts;
  /** All differences together take no more of each turn of the event loop than one. */
  readonly #line: OneByOne;
  /** Moment of the monotonic clock until which all differences rest. */
  #restUntil = Number.NEGATIVE_INFINITY;
  /** The clients of the differences that are being made. */
  readonly #making: string[] = [];

  constructor(parts: DiffParts) {
    this.#parts = parts;
    this.#line = new OneByOne(parts.world);
  }

  /**
   * @param gone aborts when the caller waits no longer
   * @returns one page
   * @throws Problem BAD_REQUEST when `to` is before `from`; POSITION_LOST when the stream between them is not there any more, or was
   *   never on this node's history; NOT_REACHED, TOO_MANY_REQUESTS, STORAGE_FAILED, SHUTTING_DOWN
   */
  async read(request: DiffRequest, gone: AbortSignal): Promise<Difference> {
    await this.#reach(request, gone);
    const leave = this.#enter(request.client);
    try {
      return await this.#pageBehindDamage(request, gone);
    } catch (error) {
      // The stream was there when the page began.
      if (error instanceof NotInJournal) throw this.#lost(request.from, 'behind-backlog');
      if (error instanceof StorageError) throw diskProblem(error);
      throw error;
    } finally {
      leave();
    }
  }

  /** Makes the page again when the journal was found damaged: its stream may begin behind the damage, or be lost. */
  async #pageBehindDamage(request: DiffRequest, gone: AbortSignal): Promise<Difference> {
    for (;;) {
      const { damagedUpTo } = this.#parts.head;
      try {
        return await this.#page(request, gone);
      } catch (error) {
        // Each time that the damage goes further less of the journal is left.
        const isNew = damagedUpTo !== this.#parts.head.damagedUpTo;
        if (!(error instanceof StorageError && isNew)) throw error;
      }
    }
  }

  /** Counts a difference whose work begins; one that waits for its positions counts for nothing. @returns ends the difference */
  #enter(client: string): () => void {
    const making = this.#making;
    const own = making.filter((each) => each === client).length;
    if (own >= MAX_CLIENT_DIFFS) {
      throw new Problem('TOO_MANY_REQUESTS', `${own} differences of this client are being made already`);
    }
    if (making.length >= MAX_DIFFS) {
      throw new Problem('TOO_MANY_REQUESTS', `${MAX_DIFFS} differences are being made already`);
    }
    making.push(client);
    return () => making.splice(making.indexOf(client), 1);
  }

  /** Waits until this replica has the positions, if it may still get them. */
  async #reach({ from, to, timeoutMs, client }: DiffRequest, gone: AbortSignal): Promise<void> {
    const { isMaster, positions } = this.#parts;
    if (isMaster()) return;
    const until = this.#parts.world.monotonic() + timeoutMs;
    for (const position of to === null ? [from] : [from, to]) {
      const restMs = Math.max(0, Math.round(until - this.#parts.world.monotonic()));
      await positions.wait(position, restMs, gone, client).catch((error: unknown) => {
        // `#mustHave` says of a position of an unknown history what there is instead.
        if (!(error instanceof Problem) || error.code !== 'UNKNOWN_HISTORY') throw error;
      });
    }
  }

  async #page(request: DiffRequest, gone: AbortSignal): Promise<Difference> {
    const { head } = this.#parts;
    const { from, prefix, after, limit } = request;
    const to = request.to ?? head.position;
    this.#mustHave(from);
    if (request.to !== null) this.#mustHave(to);
    if (from.offset > to.offset) throw new Problem('BAD_REQUEST', '"from" must not be after "to"');
    const earliest = this.#earliest(from.offset);
    const unpin = head.pin(() => earliest);
    try {
      const goOn = (): void => this.#mustGoOn(from, to, gone);
      const keys = new TouchedKeys(prefix, after, limit);
      let flushedAt: number | null = null;
      await this.#scan(from.offset, to.offset, goOn, (command, end, boundary) => {
        keys.take(command, end);
        if (command.kind === 'flush-all') flushedAt = boundary();
      });
      await this.#lookBack(keys, earliest, from.offset, goOn);
      const flushed = flushedAt === null ? null : { runId: to.runId, offset: offset(flushedAt) };
      return { from, to, flushed, ...keys.page };
    } finally {
      unpin();
    }
  }

  async #lookBack(keys: TouchedKeys, earliest: Offset, from: Offset, goOn: () => void): Promise<void> {
    const { unknown } = keys;
    if (unknown.isEmpty) return;
    if (earliest === 0) unknown.takeEmpty();
    await this.#scan(earliest, from, goOn, (command) => unknown.take(command));
  }

  /** @returns the offset from which the stream is read, to know which keys were there at `from` */
  #earliest(from: Offset): Offset {
    const { head } = this.#parts;
    const first = Math.max(head.window.firstOffset - 1, from - LOOK_BACK_BYTES);
    // The window may begin inside a write; the journal still has all of it then.
    return head.lastCommit(offset(first)) ?? from;
  }

  /** Calls back for each command after `from`, up to `to`. @param goOn throws if the work is to end */
  async #scan(from: Offset, to: Offset, goOn: () => void, take: Take): Promise<void> {
    const { head } = this.#parts;
    const turns = new Turns(this.#line, DIFF_TURN_MS);
    const decoder = new StreamDecoder();
    let decoded: number = from;
    for (let at = from; at < to; ) {
      const bytes = head.read(at, PIECE_BYTES).subarray(0, to - at);
      at = offset(at + bytes.length);
      // The journal returns whole rows, which may be large.
      for (let start = 0; start < bytes.length; start += PIECE_BYTES) {
        const run = decoder.push(bytes.subarray(start, start + PIECE_BYTES));
        if (run !== null) {
          await takeAll(run, decoded, turns, take);
          decoded += run.bytes.length;
        }
        await this.#next(turns);
        goOn();
      }
    }
  }

  /** Like `Turns.next`, and rests after a long turn. */
  async #next(turns: Turns): Promise<void> {
    if (!turns.isOver) return;
    const { world } = this.#parts;
    const { takenMs } = turns;
    if (takenMs > LONG_TURN_MS) this.#restUntil = world.monotonic() + restAfter(takenMs);
    await turns.pass();
    for (let restMs = this.#restMs; restMs > 0; restMs = this.#restMs) {
      await new Promise<void>((resolve) => world.after(restMs, resolve));
      // Another difference may go on first, and have a long turn.
      await turns.pass();
    }
  }

  get #restMs(): number {
    return Math.ceil(this.#restUntil - this.#parts.world.monotonic());
  }

  /** @throws Problem POSITION_LOST, NOT_REACHED; StorageError when the journal cannot be read */
  #mustHave(position: Position): void {
    const { head, isMaster } = this.#parts;
    const decision = head.decideFrom(position);
    if (decision.kind === 'continue') return;
    if (decision.reason === 'ahead-of-master' && !isMaster()) {
      throw new Problem('NOT_REACHED', `this node has not reached ${formatPosition(position)}`);
    }
    throw this.#lost(position, decision.reason);
  }

  /**
   * @throws Problem if the positions are not on this node's history any more, because a full resync has replaced it; if the node
   *   closes, or nobody waits for the answer
   */
  #mustGoOn(from: Position, to: Position, gone: AbortSignal): void {
    const { closing, head } = this.#parts;
    if (gone.aborted) throw new Problem('NOT_REACHED', 'the client has gone');
    if (closing()) throw new Problem('SHUTTING_DOWN', 'the node is shutting down');
    for (const position of [from, to]) {
      const stands = standing(head.history, position);
      if (stands !== 'shared') throw this.#lost(position, stands);
    }
  }

  #lost(position: Position, reason: string): Problem {
    const { history, window } = this.#parts.head;
    const [first, last] = [window.firstOffset - 1, window.firstOffset - 1 + window.length].map(
      (at) => `${history.runId}:${at}`,
    ) as [string, string];
    // A position without a hash has this reason only if it is inside of a write.
    const why = reason === 'different-bytes' ? `${reason}: no write ends there` : reason;
    return new Problem(
      'POSITION_LOST',
      `this node cannot tell what has changed since or until ${formatPosition(position)} (${why}); it has the stream from ${first} to ${last}`,
      { reason, window: { from: first, to: last } },
    );
  }
}

async function takeAll(
  { commands, ends, boundaries }: Run,
  base: number,
  turns: Turns,
  take: Take,
): Promise<void> {
  for (const [index, command] of commands.entries()) {
    const end = ends[index] as number;
    take(command, base + end, () => base + (boundaries.find((at) => at >= end) ?? end));
    if (index % SLICE_COMMANDS === SLICE_COMMANDS - 1) await turns.next();
  }
}
