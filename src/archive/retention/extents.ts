/**
 * Which bytes of one run ID an archive has, as few stretches: segments that touch become one as they are listed, in whatever order that
 * is. So a million segments in a row take no more memory than one.
 */
import type { ListedSegment } from '../coverage.ts';

/** Bytes of the stream that segments have without a gap. */
export interface Stretch {
  /** The offset before the first byte. */
  readonly from: number;
  /** The offset of the last byte. */
  readonly to: number;
  /** A segment that ends there. */
  readonly last: ListedSegment;
}

export class Extents {
  readonly #byFrom = new Map<number, Stretch>();
  readonly #byTo = new Map<number, Stretch>();

  /** Number of stretches at present; some of them may overlap. */
  get size(): number {
    return this.#byFrom.size;
  }

  add(segment: ListedSegment): void {
    const before = this.#byTo.get(segment.after);
    const next = this.#byFrom.get(segment.end);
    const from = before?.from ?? segment.after;
    const { to, last } = next ?? { to: segment.end, last: segment };
    for (const each of [before, next]) if (each !== undefined) this.#remove(each);
    const sameFrom = this.#byFrom.get(from);
    const sameTo = this.#byTo.get(to);
    if (sameFrom !== undefined && sameFrom.to >= to) return;
    if (sameTo !== undefined && sameTo.from <= from) return;
    for (const each of [sameFrom, sameTo]) if (each !== undefined) this.#remove(each);
    const stretch = { from, to, last };
    this.#byFrom.set(from, stretch);
    this.#byTo.set(to, stretch);
  }

  /** @returns the stretches in order; those that overlap may be several */
  get stretches(): readonly Stretch[] {
    return [...this.#byFrom.values()];
  }

  #remove({ from, to }: Stretch): void {
    this.#byFrom.delete(from);
    this.#byTo.delete(to);
  }
}

/** @returns the stretches in order, with those that overlap or touch as one */
export function joined(stretches: Iterable<Stretch>): readonly Stretch[] {
  const whole: Stretch[] = [];
  for (const each of [...stretches].sort((one, other) => one.from - other.from)) {
    const before = whole.at(-1);
    if (before === undefined || each.from > before.to) whole.push(each);
    else if (each.to > before.to) whole[whole.length - 1] = { ...each, from: before.from };
  }
  return whole;
}
