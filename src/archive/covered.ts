/**
 * The parts of a stream that many segments cover together, whatever the order in which they come. Segments that touch or overlap become one
 * part, so the memory grows with the gaps only. Pure.
 */
import type { ListedSegment } from './coverage.ts';

/** Least and most number of segments that become parts at once, which costs the time of a look at all parts. */
const LEAST_BATCH = 64;
const MOST_BATCH = 4_096;

/** A part of a stream that segments cover together. */
export interface Part<Last = ListedSegment | null> {
  /** The offset before its first byte. */
  readonly after: number;
  /** The offset of its last byte. */
  readonly end: number;
  /** A segment that ends there; null: none does. */
  readonly last: Last;
}

export class Covered<Last extends ListedSegment | null = ListedSegment | null> {
  /** In order; between two of them is a gap. */
  #parts: readonly Part<Last>[] = [];
  #added: Part<Last>[] = [];

  /** @returns the number of parts, or more by what was added last */
  get size(): number {
    return this.#parts.length + this.#added.length;
  }

  /** The parts in order; between two of them is a gap. */
  get parts(): readonly Part<Last>[] {
    if (this.#added.length > 0) this.#join();
    return this.#parts;
  }

  add(part: Part<Last>): void {
    this.#added.push(part);
    const batch = Math.min(MOST_BATCH, Math.max(LEAST_BATCH, this.#parts.length / 4));
    if (this.#added.length >= batch) this.#join();
  }

  /** @returns the end of the part that has the byte after an offset; null: none has it */
  from(at: number): Pick<Part<Last>, 'end' | 'last'> | null {
    return this.parts.find(({ after, end }) => after <= at && end > at) ?? null;
  }

  #join(): void {
    const added = this.#added.sort((one, other) => one.after - other.after);
    const old = this.#parts;
    const parts: Part<Last>[] = [];
    for (let [taken, joined] = [0, 0]; taken + joined < old.length + added.length; ) {
      const [mine, other] = [old[taken], added[joined]];
      const isMine = other === undefined || (mine !== undefined && mine.after <= other.after);
      const next = (isMine ? mine : other) as Part<Last>;
      if (isMine) taken += 1;
      else joined += 1;
      const before = parts.at(-1);
      if (before === undefined || next.after > before.end) parts.push(next);
      else parts[parts.length - 1] = joinedPart(before, next);
    }
    this.#parts = parts;
    this.#added = [];
  }
}

/** @returns one part for two, of which the second one begins inside of the first one or at its end */
function joinedPart<Last>(one: Part<Last>, other: Part<Last>): Part<Last> {
  if (other.end > one.end) return { after: one.after, end: other.end, last: other.last };
  return other.end === one.end && one.last === null ? { ...one, last: other.last } : one;
}
