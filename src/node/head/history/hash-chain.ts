/**
 * The history hash at the head of the stream, and *marks*: sections of large journal rows, each with the hash at its start. With
 * them the node finds the hash at any offset by decoding at most 64 KiB. Small rows need no marks, because the journal stores the
 * start of each row and the hash there.
 *
 * Owns: the head's history hash, and the marks.
 */
import { chained } from '../../../replication/history-hash.ts';
import type { Offset } from '../../../replication/position.ts';
import type { Run } from '../../../stream/command.ts';
import { xxh64 } from './xxh64.ts';

/** A section of the stream. Marks do not overlap, and begin and end where writes begin and end. */
export interface Mark {
  readonly from: number;
  readonly to: number;
  /** The history hash at `from`; null: unknown. */
  readonly hash: bigint | null;
  /** Whether the mark is one single write, larger than `MARK_BYTES`. */
  readonly isWhole: boolean;
}

/** Size in bytes above which a row gets marks, and the largest size of a mark that covers more than one write. */
export const MARK_BYTES = 64 * 1024;

export class HashChain {
  #hash: bigint | null;
  /** The start of the chain (see the getter). */
  #from: Offset;
  /** Sorted by offset. */
  #marks: Mark[] = [];

  /**
   * @param hash the history hash at the head; null: unknown
   * @param from offset since which the chain is unbroken
   */
  constructor(hash: bigint | null, from: Offset) {
    this.#hash = hash;
    this.#from = from;
  }

  /** The history hash at the head; null: unknown. */
  get hash(): bigint | null {
    return this.#hash;
  }

  /**
   * Start of the chain: the hash at the head follows from the hash here and all bytes between. The hashes at earlier offsets
   * belong to another chain, so the hash at the head does not follow from them.
   */
  get from(): Offset {
    return this.#from;
  }

  /** Begins a chain with this hash at the head, whose offset is `at`. The marks before it stay. */
  set(hash: bigint | null, at: Offset): void {
    this.#hash = hash;
    this.#from = at;
  }

  /**
   * Adds a run at the head.
   * @param from offset before the run
   * @param keptFrom offset up to which nobody asks for hashes any more: marks that end before it are dropped
   */
  add({ bytes, boundaries }: Run, from: Offset, keptFrom: number): void {
    if (bytes.length > MARK_BYTES) {
      const first = this.#marks.findIndex(({ to }) => to >= keptFrom);
      this.#marks.splice(0, first === -1 ? this.#marks.length : first);
      const { marks, hash } = marksOf(bytes, boundaries, from, this.#hash);
      for (const mark of marks) this.#marks.push(mark);
      this.#hash = hash;
    } else if (this.#hash !== null) {
      this.#hash = chained(this.#hash, bytes, boundaries, xxh64);
    }
  }

  /** Makes the marks of a large row, in place of those that it has. @param from offset before the row @param hash the hash there */
  mark({ bytes, boundaries }: Run, from: Offset, hash: bigint | null): void {
    const { marks } = marksOf(bytes, boundaries, from, hash);
    const before = this.#marks.filter(({ to }) => to <= from);
    const after = this.#marks.filter((mark) => mark.from >= from + bytes.length);
    this.#marks = [...before, ...marks, ...after];
  }

  /** @returns the mark that covers the byte after `at`; null: no mark does */
  markWith(at: Offset): Mark | null {
    let [low, high] = [0, this.#marks.length];
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.#marks[middle] as Mark).from <= at) low = middle + 1;
      else high = middle;
    }
    const mark = this.#marks[low - 1];
    return mark === undefined || mark.to <= at ? null : mark;
  }
}

/**
 * Makes the marks of a large row.
 * @param base offset before the row
 * @param before the history hash there; null: unknown
 * @returns the marks, and the history hash after the row
 */
function marksOf(
  bytes: Buffer,
  boundaries: readonly number[],
  base: Offset,
  before: bigint | null,
): { readonly marks: readonly Mark[]; readonly hash: bigint | null } {
  const marks: Mark[] = [];
  let hash = before;
  let open = { from: 0, hash: before };
  const end = (to: number, isWhole: boolean): void => {
    if (to > open.from) marks.push({ from: base + open.from, to: base + to, hash: open.hash, isWhole });
    open = { from: to, hash };
  };
  let start = 0;
  for (const boundary of boundaries) {
    if (boundary - open.from > MARK_BYTES) end(start, false);
    if (hash !== null) hash = chained(hash, bytes.subarray(start, boundary), [boundary - start], xxh64);
    if (boundary - start > MARK_BYTES) end(boundary, true);
    start = boundary;
  }
  end(bytes.length, false);
  return { marks, hash };
}
