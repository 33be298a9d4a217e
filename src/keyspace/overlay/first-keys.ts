/**
 * Finds the first keys of a range among many unordered keys, looking at each once.
 *
 * Nearly all keys are outside of the range, or after as many keys as are wanted: one comparison of bytes in place
 * rejects them, without making a string. Sorting a whole overlay for one page blocked the event loop for most of a
 * second.
 */
import quickselect from 'quickselect';
import { compareKeys, keyBehind } from '../key.ts';

export interface KeyRange {
  /** Only keys with this prefix. */
  readonly prefix: string;
  /** First key of the range; not below the prefix. */
  readonly from: string;
  /** Whether `from` itself is excluded. */
  readonly exclusive: boolean;
}

/** Smallest number of keys to keep, if fewer are wanted. When twice as many have come, the larger ones are dropped. */
const KEPT = 512;

/** A range in UTF-8. */
interface Range {
  readonly from: Buffer;
  readonly exclusive: boolean;
  /** Only keys before this one; null: no upper bound. */
  readonly before: Buffer | null;
}

export class FirstKeys {
  readonly #count: number;
  readonly #kept: number;
  readonly #ranges: readonly Range[];
  /** Only keys before this one, because there are enough; null: no upper bound. */
  #before: Buffer | null = null;
  readonly #candidates: string[] = [];

  /**
   * @param ranges in key order; they do not overlap
   * @param count number of keys that are wanted
   */
  constructor(ranges: readonly KeyRange[], count: number) {
    this.#count = count;
    this.#kept = Math.max(count, KEPT);
    this.#ranges = ranges.map(({ prefix, from, exclusive }) => {
      const before = keyBehind(prefix);
      return { from: Buffer.from(from), exclusive, before: before === null ? null : Buffer.from(before) };
    });
  }

  /** Whether the key with these UTF-8 bytes may be among the first. */
  admits(memory: Uint8Array, start: number, length: number): boolean {
    if (this.#before !== null && compareBytes(memory, start, length, this.#before) >= 0) return false;
    // The last range that does not begin behind the key; of one range only, without a search.
    let [low, high] = [0, this.#ranges.length - 1];
    while (low < high) {
      const middle = (low + high + 1) >>> 1;
      if (compareBytes(memory, start, length, (this.#ranges[middle] as Range).from) >= 0) low = middle;
      else high = middle - 1;
    }
    const range = this.#ranges[low];
    if (range === undefined) return false;
    const { from, exclusive, before } = range;
    if (before !== null && compareBytes(memory, start, length, before) >= 0) return false;
    const order = compareBytes(memory, start, length, from);
    return exclusive ? order > 0 : order >= 0;
  }

  /** @param key an admitted key that was not added before */
  add(key: string): void {
    this.#candidates.push(key);
    if (this.#candidates.length < 2 * this.#kept) return;
    const last = this.#kept - 1;
    quickselect(this.#candidates, last, 0, this.#candidates.length - 1, compareKeys);
    this.#candidates.length = this.#kept;
    this.#before = Buffer.from(this.#candidates[last] as string);
  }

  /** The keys in order; fewer than wanted means that there are no more. */
  get keys(): readonly string[] {
    return this.#candidates.sort(compareKeys).slice(0, this.#count);
  }
}

function compareBytes(memory: Uint8Array, start: number, length: number, other: Uint8Array): number {
  const common = Math.min(length, other.length);
  for (let index = 0; index < common; index += 1) {
    const difference = (memory[start + index] as number) - (other[index] as number);
    if (difference !== 0) return difference;
  }
  return length - other.length;
}
