/**
 * Finds which of some keys begin with one of somebody's prefixes. The first searches compare every key; if more follow, the
 * keys are sorted once, and a search takes a few steps for each prefix and each key that is found. So thousands who search
 * the same keys for different prefixes cost little more than one.
 */
import type { Prefixes } from '../../keyspace/prefixes.ts';

/** So many searches compare every key before the keys are sorted: sorting costs about as much as they do. */
const SCANS = 4;

export class KeySearch {
  readonly #keys: readonly (string | null)[];
  #scans = 0;
  #sorted: SortedKeys | null = null;

  /** @param keys null stands for what everybody wants, whatever the prefixes are */
  constructor(keys: readonly (string | null)[]) {
    this.#keys = keys;
  }

  /** @returns the indexes of what is wanted, in ascending order */
  find(prefixes: Prefixes): readonly number[] {
    const { list } = prefixes;
    if (list[0] === '') return Array.from(this.#keys.keys());
    if (this.#scans < SCANS) {
      this.#scans += 1;
      const found: number[] = [];
      for (const [index, key] of this.#keys.entries()) {
        if (key === null || prefixes.matches(key)) found.push(index);
      }
      return found;
    }
    this.#sorted ??= sort(this.#keys);
    return findIn(this.#sorted, list);
  }
}

interface SortedKeys {
  readonly keys: readonly string[];
  /** Where each of them was before. */
  readonly indexes: readonly number[];
  /** What everybody wants. */
  readonly always: readonly number[];
}

function sort(all: readonly (string | null)[]): SortedKeys {
  const always: number[] = [];
  const pairs: [key: string, index: number][] = [];
  for (const [index, key] of all.entries()) {
    if (key === null) always.push(index);
    else pairs.push([key, index]);
  }
  // By UTF-16 units: whatever begins with the same prefix stands together in this order too.
  pairs.sort(([one], [other]) => (one < other ? -1 : one > other ? 1 : 0));
  return { keys: pairs.map(([key]) => key), indexes: pairs.map(([, index]) => index), always };
}

/** @param prefixes none of them begins with another one: no key is found twice */
function findIn({ keys, indexes, always }: SortedKeys, prefixes: readonly string[]): readonly number[] {
  const found = [...always];
  for (const prefix of prefixes) {
    for (let at = firstNotBefore(keys, prefix); keys[at]?.startsWith(prefix); at += 1) {
      found.push(indexes[at] as number);
    }
  }
  return found.sort((one, other) => one - other);
}

/** @returns the index of the first of the values, which are in order, that is not less than `value` */
export function firstNotBefore<T extends string | number>(values: readonly T[], value: T): number {
  let [low, high] = [0, values.length];
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((values[middle] as T) < value) low = middle + 1;
    else high = middle;
  }
  return low;
}
