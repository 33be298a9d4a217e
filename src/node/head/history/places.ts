/**
 * Answers, for the offsets that the backlog holds or the journal keeps, whether a write ends there and which history hash belongs to it. The node
 * compares that with the hash of a replica that wants to continue there, and sends the hash to a replica that does.
 *
 * Owns: the chain of history hashes.
 * The work for one answer is bounded: decoding begins at the start of the journal row, or at a mark in a large row
 * (hash-chain.ts), and covers at most 64 KiB. A large row that has no marks yet is decoded whole, once.
 */
import { type Place, UNKNOWN_PLACE } from '../../../replication/decide.ts';
import type { History } from '../../../replication/history.ts';
import { begunAt, chained, EMPTY_HISTORY_HASH } from '../../../replication/history-hash.ts';
import { type Offset, ZERO } from '../../../replication/position.ts';
import type { Run } from '../../../stream/command.ts';
import { StreamDecoder } from '../../../stream/decoder.ts';
import { StorageError } from '../../ports/failures.ts';
import type { StateStore } from '../../ports/state-store.ts';
import type { StreamHead } from '../stream-head.ts';
import { HashChain, MARK_BYTES, type Mark } from './hash-chain.ts';
import { xxh64 } from './xxh64.ts';

/** The ends of the writes in one section of the stream, with the history hashes there. */
interface Ends {
  /** Offset before the section, and the history hash there. */
  readonly from: number;
  readonly hash: bigint | null;
  readonly hashes: ReadonlyMap<number, bigint | null>;
}

export class Places {
  readonly #head: Pick<StreamHead, 'backlog' | 'history' | 'offset' | 'position' | 'read' | 'window'>;
  readonly #state: Pick<StateStore, 'read' | 'rowWith'>;
  #chain = new HashChain(null, ZERO);
  /** The ends in the mark that was decoded last: followers that return to places near each other share the decoding. */
  #decoded: Ends | null = null;

  constructor(
    head: Pick<StreamHead, 'backlog' | 'history' | 'offset' | 'position' | 'read' | 'window'>,
    state: Pick<StateStore, 'read' | 'rowWith'>,
  ) {
    this.#head = head;
    this.#state = state;
  }

  /** The history hash at the head; null: unknown. */
  get hash(): bigint | null {
    return this.#chain.hash;
  }

  /** @see HashChain.from */
  get chainFrom(): Offset {
    return this.#chain.from;
  }

  /** Whether the next commit begins a chain: the hash before it does not follow from the journal's last row. */
  get beginsChain(): boolean {
    return this.#chain.from === this.#head.offset;
  }

  /** Takes the chain from the files, when the head has recovered. @throws StorageError when the journal cannot be read */
  recover(state: StateStore): void {
    const { chainStart, toldHash } = state;
    const { offset } = this.#head;
    const from = toldHash?.offset === offset ? offset : (chainStart ?? ZERO);
    this.#chain = new HashChain(recoveredHash(state, offset), from);
  }

  /** Begins a chain at the head, because a snapshot has replaced the state. @param hash the master's hash there; null: unknown */
  replace(hash: bigint | null): void {
    this.#chain = new HashChain(hash, this.#head.offset);
    this.#decoded = null;
  }

  /** Adds a run to the chain. The caller has put it into the backlog, and moves the head afterwards. */
  add(run: Run): void {
    const { backlog, offset } = this.#head;
    this.#chain.add(run, offset, backlog.firstOffset - 1);
  }

  /** @see StreamHead.beginChain */
  begin(): void {
    if (this.#chain.hash !== null) return;
    this.#chain.set(begunAt(this.#head.position, xxh64), this.#head.offset);
  }

  /** @see StreamHead.adoptHash */
  adopt(hash: bigint | null): boolean {
    const before = this.#chain.hash;
    if (hash === before) return false;
    this.#chain.set(hash, this.#head.offset);
    return before !== null;
  }

  /** @see StreamHead.placeAt */
  placeAt(at: Offset): Place {
    if (at > this.#head.offset || at < this.#head.window.firstOffset - 1) return UNKNOWN_PLACE;
    const place = this.#findOrLose(at);
    if (place.kind !== 'command-end' || place.hash === null) return place;
    return begins(this.#head.history, at, place.hash) ? { kind: 'command-end', hash: null } : place;
  }

  /** Damage that is found now moves the window, and the place may be outside of it then. */
  #findOrLose(at: Offset): Place {
    try {
      return this.#find(at);
    } catch (error) {
      if (error instanceof StorageError && at < this.#head.window.firstOffset - 1) return UNKNOWN_PLACE;
      throw error;
    }
  }

  /** @see StreamHead.hashAt */
  hashAt(at: Offset): bigint | null {
    if (at < this.#chain.from) return null;
    const place = this.#find(at);
    return place.kind === 'command-end' ? place.hash : null;
  }

  #find(at: Offset): Place {
    if (at === this.#head.offset) return { kind: 'command-end', hash: this.#chain.hash };
    const mark = this.#chain.markWith(at);
    if (mark !== null) return this.#findIn(mark, at);
    const row = this.#state.rowWith(at);
    if (row === null) return UNKNOWN_PLACE;
    if (row.start === at) return { kind: 'command-end', hash: row.hash };
    if (at - row.start <= MARK_BYTES) {
      return placeIn(endsOf(this.#read(row.start, at), row.start, row.hash), at);
    }
    // The row is large and has no marks: another process journaled it, or the backlog did not reach back to it before a resize.
    const run = new StreamDecoder().push(this.#state.read(row.start, 1));
    if (run !== null) this.#chain.mark(run, row.start, row.hash);
    const found = this.#chain.markWith(at);
    return found === null ? UNKNOWN_PLACE : this.#findIn(found, at);
  }

  #findIn(mark: Mark, at: Offset): Place {
    if (mark.from === at) return { kind: 'command-end', hash: mark.hash };
    if (mark.isWhole) return { kind: 'inside-command' };
    const from = mark.from as Offset;
    if (this.#decoded?.from !== from || this.#decoded.hash !== mark.hash) {
      this.#decoded = endsOf(this.#read(from, mark.to as Offset), from, mark.hash);
    }
    return placeIn(this.#decoded, at);
  }

  /** @returns the bytes after `from` up to `to`; the backlog or the journal must hold them */
  #read(from: Offset, to: Offset): Buffer {
    const parts: Buffer[] = [];
    for (let at: number = from; at < to; at += (parts.at(-1) as Buffer).length) {
      parts.push(this.#head.read(at as Offset, to - at));
    }
    return Buffer.concat(parts).subarray(0, to - from);
  }
}

/** @param bytes the stream after `from`, an offset where a write ends @param hash the history hash at `from` */
function endsOf(bytes: Buffer, from: Offset, hash: bigint | null): Ends {
  const hashes = new Map<number, bigint | null>();
  let at = 0;
  let value = hash;
  for (const end of new StreamDecoder().push(bytes)?.boundaries ?? []) {
    if (value !== null) value = chained(value, bytes.subarray(at, end), [end - at], xxh64);
    hashes.set(from + end, value);
    at = end;
  }
  return { from, hash, hashes };
}

function placeIn({ hashes }: Ends, at: Offset): Place {
  const hash = hashes.get(at);
  return hash === undefined ? { kind: 'inside-command' } : { kind: 'command-end', hash };
}

/**
 * Finds the history hash after a start: the one that the master has sent, or the one that follows from the journal's last row.
 * @param end the end of the journal, or of the keyspace file if the journal is empty; after a power cut the file may be ahead of
 *   the last snapshot
 * @returns the hash at `end`; null: unknown
 */
function recoveredHash(state: StateStore, end: Offset): bigint | null {
  if (end === 0) return EMPTY_HISTORY_HASH;
  const { journalEnd, toldHash } = state;
  if (toldHash?.offset === end) return toldHash.hash;
  if (journalEnd === null) return null;
  try {
    const row = state.rowWith((end - 1) as Offset);
    if (row === null || row.hash === null) return null;
    const run = new StreamDecoder().push(state.read(row.start, 1));
    return run === null ? null : chained(row.hash, run.bytes, run.boundaries, xxh64);
  } catch (error) {
    // The keyspace file has the entries of the row, or recovery would have refused it.
    if (error instanceof StorageError && error.damaged) return null;
    throw error;
  }
}

/** Whether a chain began at `at` with this hash. Such a hash says nothing of the bytes before, so no comparison uses it. */
function begins({ runId, lineage }: History, at: Offset, hash: bigint): boolean {
  const runIds = [runId, ...lineage.map((ancestor) => ancestor.runId)];
  return runIds.some((each) => begunAt({ runId: each, offset: at }, xxh64) === hash);
}
