/**
 * What the head of the stream knows of the offsets that its backlog holds: where writes end, and the history hash there. It
 * compares with what a replica brings, and tells whoever goes on from there.
 *
 * Owns: the chain of history hashes.
 * The work is bounded: a place is found from the start of its journal row, or from a mark in a large one (hash-chain.ts), with at
 * most 64 KiB to decode. A large row that has no marks yet is decoded once.
 */
import { type Place, UNKNOWN_PLACE } from '../replication/decide.ts';
import type { History } from '../replication/history.ts';
import { begunAt, chained, EMPTY_HISTORY_HASH } from '../replication/history-hash.ts';
import { type Offset, ZERO } from '../replication/position.ts';
import type { Run } from '../stream/command.ts';
import { StreamDecoder } from '../stream/decoder.ts';
import { HashChain, MARK_BYTES, type Mark } from './hash-chain.ts';
import type { StateStore } from './ports.ts';
import type { StreamHead } from './stream-head.ts';
import { xxh64 } from './xxh64.ts';

/** The ends of the writes of one mark, with the history hashes there. */
interface Ends {
  readonly from: number;
  readonly hashes: ReadonlyMap<number, bigint | null>;
}

export class Places {
  readonly #head: Pick<StreamHead, 'backlog' | 'history' | 'offset' | 'position' | 'read'>;
  readonly #state: Pick<StateStore, 'read' | 'rowWith'>;
  #chain = new HashChain(null, ZERO);
  /** Of the mark at the old end of the backlog, which only the journal still has from its start. */
  #oldest: Ends | null = null;

  constructor(
    head: Pick<StreamHead, 'backlog' | 'history' | 'offset' | 'position' | 'read'>,
    state: Pick<StateStore, 'read' | 'rowWith'>,
  ) {
    this.#head = head;
    this.#state = state;
  }

  /** The history hash at the head; null: unknown. */
  get hash(): bigint | null {
    return this.#chain.hash;
  }

  /** Whether the bytes that are committed next begin a chain: their hash does not follow from what is journaled. */
  get beginsChain(): boolean {
    return this.#chain.from === this.#head.offset;
  }

  /** The head is where the journal ends, or where the keyspace file is if there is none. @throws StorageError */
  recover(state: StateStore): void {
    const { chainStart, toldHash } = state;
    const { offset } = this.#head;
    const from = toldHash?.offset === offset ? offset : (chainStart ?? ZERO);
    this.#chain = new HashChain(recoveredHash(state, offset), from);
  }

  /** A snapshot has taken over; the head is there. @param hash null: unknown */
  replace(hash: bigint | null): void {
    this.#chain = new HashChain(hash, this.#head.offset);
    this.#oldest = null;
  }

  /** The run is about to move the head; it is in the backlog already. */
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
    if (!this.#head.backlog.holds(at)) return UNKNOWN_PLACE;
    const place = this.#find(at);
    if (place.kind !== 'command-end' || place.hash === null) return place;
    return begins(this.#head.history, at, place.hash) ? { kind: 'command-end', hash: null } : place;
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
    // The row is large, and was journaled before this process or before the backlog went back so far.
    const run = new StreamDecoder().push(this.#state.read(row.start, 1));
    if (run !== null) this.#chain.mark(run, row.start, row.hash);
    const found = this.#chain.markWith(at);
    return found === null ? UNKNOWN_PLACE : this.#findIn(found, at);
  }

  #findIn(mark: Mark, at: Offset): Place {
    if (mark.from === at) return { kind: 'command-end', hash: mark.hash };
    if (mark.isWhole) return { kind: 'inside-command' };
    const from = mark.from as Offset;
    if (this.#head.backlog.holds(from)) return placeIn(endsOf(this.#read(from, at), from, mark.hash), at);
    // All of its row is read for it, so that is done once.
    if (this.#oldest?.from !== from) {
      this.#oldest = endsOf(this.#read(from, mark.to as Offset), from, mark.hash);
    }
    return placeIn(this.#oldest, at);
  }

  /** @returns the bytes behind `from` up to `to`, which the backlog or the journal has */
  #read(from: Offset, to: Offset): Buffer {
    const parts: Buffer[] = [];
    for (let at: number = from; at < to; at += (parts.at(-1) as Buffer).length) {
      parts.push(this.#head.read(at as Offset, to - at));
    }
    return Buffer.concat(parts).subarray(0, to - from);
  }
}

/** @param bytes what follows `from`, where a write ends @param hash the history hash there */
function endsOf(bytes: Buffer, from: Offset, hash: bigint | null): Ends {
  const hashes = new Map<number, bigint | null>();
  let at = 0;
  let value = hash;
  for (const end of new StreamDecoder().push(bytes)?.boundaries ?? []) {
    if (value !== null) value = chained(value, bytes.subarray(at, end), [end - at], xxh64);
    hashes.set(from + end, value);
    at = end;
  }
  return { from, hashes };
}

function placeIn({ hashes }: Ends, at: Offset): Place {
  const hash = hashes.get(at);
  return hash === undefined ? { kind: 'inside-command' } : { kind: 'command-end', hash };
}

/**
 * @param end where the journal ends, or the keyspace file if the journal is empty; after a power cut that may be ahead of the
 *   last snapshot
 * @returns the history hash there, as the master has told it, or from the last row of the journal; null: unknown
 */
function recoveredHash(state: StateStore, end: Offset): bigint | null {
  if (end === 0) return EMPTY_HISTORY_HASH;
  const { journalEnd, toldHash } = state;
  if (toldHash?.offset === end) return toldHash.hash;
  if (journalEnd === null) return null;
  const row = state.rowWith((end - 1) as Offset);
  if (row === null || row.hash === null) return null;
  const run = new StreamDecoder().push(state.read(row.start, 1));
  return run === null ? null : chained(row.hash, run.bytes, run.boundaries, xxh64);
}

/** Whether this is the hash with which a chain was begun at `at`: it says nothing of the bytes before, and nobody compares it. */
function begins({ runId, lineage }: History, at: Offset, hash: bigint): boolean {
  const runIds = [runId, ...lineage.map((ancestor) => ancestor.runId)];
  return runIds.some((each) => begunAt({ runId: each, offset: at }, xxh64) === hash);
}
