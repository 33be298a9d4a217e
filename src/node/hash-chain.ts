/**
 * The history hash at the head of the stream, and *marks*: places inside large journal rows whose hash is known, so that an
 * offset which somebody asks for is found without decoding more than 64 KiB. Rows that are small need none: the journal
 * says where they begin, and which hash is there.
 *
 * Owns: the head's history hash, and the marks.
 */
import { chained } from '../replication/history-hash.ts';
import type { Offset } from '../replication/position.ts';
import type { Run } from '../stream/command.ts';
import { xxh64 } from './xxh64.ts';

/** A stretch of the stream. Marks do not overlap, and begin and end where writes do. */
export interface Mark {
  readonly from: number;
  readonly to: number;
  /** The history hash at `from`; null: unknown. */
  readonly hash: bigint | null;
  /** It is one single write, which may be larger than `MARK_BYTES`. */
  readonly isWhole: boolean;
}

/** A row that is larger gets marks: each covers at most so many bytes, or a single write. */
export const MARK_BYTES = 64 * 1024;

export class HashChain {
  #hash: bigint | null;
  #from: Offset;
  /** In the order of the stream. */
  #marks: Mark[] = [];

  /**
   * @param hash the history hash at the head; null: unknown
   * @param from the chain is unbroken since this offset
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
   * The hash follows from the one at this offset and all bytes between. Before it there may be other hashes: of whoever goes
   * on from one of these the hash at the head is not known.
   */
  get from(): Offset {
    return this.#from;
  }

  /** From the head at `at` on the stream has this hash; what is known of the places before it stays. */
  set(hash: bigint | null, at: Offset): void {
    this.#hash = hash;
    this.#from = at;
  }

  /** The head moves. @param from where it was @param keptFrom marks of what ends before this offset are dropped */
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

  /** Marks a large row that has none, or not all. @param hash the history hash before it */
  mark({ bytes, boundaries }: Run, from: Offset, hash: bigint | null): void {
    const { marks } = marksOf(bytes, boundaries, from, hash);
    const before = this.#marks.filter(({ to }) => to <= from);
    const after = this.#marks.filter((mark) => mark.from >= from + bytes.length);
    this.#marks = [...before, ...marks, ...after];
  }

  /** @returns the mark that has the byte after `at`; null: the byte is in a row without marks */
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

/** Chains over a large row, and marks it on the way. */
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
