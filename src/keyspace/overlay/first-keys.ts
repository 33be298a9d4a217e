/**
 * The first keys of a range, out of many that are in no order, by one look at each.
 *
 * Nearly all of them are past the range, or past as many as are wanted that were found before: one comparison of bytes where
 * they lie, and no string is made. Sorting all of an overlay for a page kept everybody waiting for most of a second.
 */
import quickselect from 'quickselect';
import { compareKeys } from '../key.ts';

export interface KeyRange {
  /** Only keys that begin so. */
  readonly prefix: string;
  /** Not below the prefix. */
  readonly from: string;
  /** Without `from` itself. */
  readonly exclusive: boolean;
}

/** More are kept than are wanted, if few are: what is beyond them is looked for each time that there are twice as many. */
const KEPT = 512;

export class FirstKeys {
  readonly #count: number;
  readonly #kept: number;
  readonly #from: Buffer;
  readonly #exclusive: boolean;
  /** Only keys before it; null: there is no such bound. */
  #before: Buffer | null;
  readonly #candidates: string[] = [];

  /** @param count how many are wanted */
  constructor({ prefix, from, exclusive }: KeyRange, count: number) {
    this.#count = count;
    this.#kept = Math.max(count, KEPT);
    this.#from = Buffer.from(from);
    this.#exclusive = exclusive;
    this.#before = behind(prefix);
  }

  /** Whether the key whose UTF-8 bytes are here may be one of them. */
  admits(memory: Uint8Array, start: number, length: number): boolean {
    if (this.#before !== null && compareBytes(memory, start, length, this.#before) >= 0) return false;
    const order = compareBytes(memory, start, length, this.#from);
    return this.#exclusive ? order > 0 : order >= 0;
  }

  /** @param key one that is admitted, and was not added before */
  add(key: string): void {
    this.#candidates.push(key);
    if (this.#candidates.length < 2 * this.#kept) return;
    const last = this.#kept - 1;
    quickselect(this.#candidates, last, 0, this.#candidates.length - 1, compareKeys);
    this.#candidates.length = this.#kept;
    this.#before = Buffer.from(this.#candidates[last] as string);
  }

  /** In key order; fewer than were wanted: these are all. */
  get keys(): readonly string[] {
    return this.#candidates.sort(compareKeys).slice(0, this.#count);
  }
}

/** The least bytes that come after everything that begins with the prefix; null: after the empty one there is nothing. */
function behind(prefix: string): Buffer | null {
  if (prefix === '') return null;
  const bytes = Buffer.from(prefix);
  // In UTF-8 no byte is 0xff.
  bytes[bytes.length - 1] = (bytes[bytes.length - 1] as number) + 1;
  return bytes;
}

function compareBytes(memory: Uint8Array, start: number, length: number, other: Uint8Array): number {
  const common = Math.min(length, other.length);
  for (let index = 0; index < common; index += 1) {
    const difference = (memory[start + index] as number) - (other[index] as number);
    if (difference !== 0) return difference;
  }
  return length - other.length;
}
