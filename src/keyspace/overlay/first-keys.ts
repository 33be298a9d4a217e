/**
 * Finds the first keys of a range among many unordered keys, looking at each once.
 *
 * Nearly all keys are outside of the range, or after as many keys as are wanted: one comparison of bytes in place
 * rejects them, without making a string. Sorting a whole overlay for one page blocked the event loop for most of a
 * second.
 *
 * The client may not know of the keys outside of its ranges, so what such a key costs must not tell how it begins: the first bytes are
 * compared to their end, and among many ranges numbers are compared, made of the bytes behind those that all ranges share.
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
/** Number of bytes that are compared to their end, even if the first of them differs. */
const EVEN_BYTES = 32;
/** Number of bytes behind the shared ones that a head has; a double holds that many exactly. */
const HEAD_BYTES = 6;

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
  /** With which all prefixes begin. */
  readonly #lead: Buffer;
  /** Head of the first key of each range, in order. */
  readonly #heads: Float64Array;
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
    this.#lead = sharedLead(ranges.map(({ prefix }) => Buffer.from(prefix)));
    this.#heads = Float64Array.from(this.#ranges, ({ from }) =>
      headOf(from, this.#lead.length, from.length - this.#lead.length),
    );
  }

  /** Whether the key with these UTF-8 bytes may be among the first. */
  admits(memory: Uint8Array, start: number, length: number): boolean {
    if (!beginsWith(memory, start, length, this.#lead)) return false;
    if (this.#before !== null && compareBytes(memory, start, length, this.#before) >= 0) return false;
    const range = this.#rangeOf(memory, start, length);
    if (range === undefined) return false;
    const { from, exclusive, before } = range;
    if (before !== null && compareBytes(memory, start, length, before) >= 0) return false;
    const order = compareBytes(memory, start, length, from);
    return exclusive ? order > 0 : order >= 0;
  }

  /** @returns the last range that does not begin behind the key, or the first one; undefined: there are no ranges */
  #rangeOf(memory: Uint8Array, start: number, length: number): Range | undefined {
    const heads = this.#heads;
    let [low, high] = [0, heads.length - 1];
    if (high <= 0) return this.#ranges[0];
    const lead = this.#lead.length;
    const head = headOf(memory, start + lead, length - lead);
    while (low < high) {
      const middle = (low + high + 1) >>> 1;
      const other = heads[middle] as number;
      const isBehind =
        head === other
          ? compareBytes(memory, start, length, (this.#ranges[middle] as Range).from) >= 0
          : head > other;
      if (isBehind) low = middle;
      else high = middle - 1;
    }
    return this.#ranges[low];
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

/** @returns the bytes with which all of them begin */
function sharedLead(prefixes: readonly Buffer[]): Buffer {
  const [first = Buffer.alloc(0)] = prefixes;
  let shared = first.length;
  for (const prefix of prefixes) {
    shared = Math.min(shared, prefix.length);
    for (let index = 0; index < shared; index += 1) if (prefix[index] !== first[index]) shared = index;
  }
  return first.subarray(0, shared);
}

/** @returns a number of the first bytes; of two heads that differ, the larger one belongs to the later key */
function headOf(memory: Uint8Array, start: number, length: number): number {
  let head = 0;
  for (let index = 0; index < HEAD_BYTES; index += 1) {
    head = head * 256 + (index < length ? (memory[start + index] as number) : 0);
  }
  return head;
}

/** Whether the key begins so. It takes as long for every key of enough bytes, unless `EVEN_BYTES` are the same. */
function beginsWith(memory: Uint8Array, start: number, length: number, lead: Uint8Array): boolean {
  if (length < lead.length) return false;
  const even = Math.min(lead.length, EVEN_BYTES);
  let difference = 0;
  for (let index = 0; index < even; index += 1) {
    difference |= (memory[start + index] as number) ^ (lead[index] as number);
  }
  if (difference !== 0) return false;
  for (let index = even; index < lead.length; index += 1) {
    if (memory[start + index] !== lead[index]) return false;
  }
  return true;
}

function compareBytes(memory: Uint8Array, start: number, length: number, other: Uint8Array): number {
  const common = Math.min(length, other.length);
  for (let index = 0; index < common; index += 1) {
    const difference = (memory[start + index] as number) - (other[index] as number);
    if (difference !== 0) return difference;
  }
  return length - other.length;
}
