/**
 * Finds those keys of a list that begin with one of several prefixes. The first searches compare every key. The next one sorts the
 * keys, and from then on a search takes a few steps for each prefix and each key found. So searches of thousands of subscriptions
 * in the same keys cost little more than one.
 */
import type { Prefixes } from '../../../keyspace/prefixes.ts';

/** Number of searches that compare every key before the keys are sorted. Sorting costs about as much as these searches. */
const SCANS = 4;

export class KeySearch {
  readonly #keys: readonly (string | null)[];
  #scans = 0;
  #sorted: SortedKeys | null = null;

  /** @param keys null stands for a change that every search finds: a FLUSHALL changes all keys */
  constructor(keys: readonly (string | null)[]) {
    this.#keys = keys;
  }

  /** @returns the indexes of the keys that begin with one of the prefixes, in ascending order */
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

/** The keys in ascending order. */
interface SortedKeys {
  readonly keys: readonly string[];
  /** Index of each key in the unsorted list. */
  readonly indexes: readonly number[];
  /** Indexes of the nulls, which every search finds. */
  readonly always: readonly number[];
}

function sort(all: readonly (string | null)[]): SortedKeys {
  const always: number[] = [];
  const pairs: [key: string, index: number][] = [];
  for (const [index, key] of all.entries()) {
    if (key === null) always.push(index);
    else pairs.push([key, index]);
  }
  // The order is by UTF-16 units, unlike the order of keys elsewhere: it also keeps keys with the same prefix together.
  pairs.sort(([one], [other]) => (one < other ? -1 : one > other ? 1 : 0));
  return { keys: pairs.map(([key]) => key), indexes: pairs.map(([, index]) => index), always };
}

/** @param prefixes no prefix begins with another one, so no key is found twice */
function findIn({ keys, indexes, always }: SortedKeys, prefixes: readonly string[]): readonly number[] {
  const found = [...always];
  for (const prefix of prefixes) {
    for (let at = firstNotBefore(keys, prefix); keys[at]?.startsWith(prefix); at += 1) {
      found.push(indexes[at] as number);
    }
  }
  return found.sort((one, other) => one - other);
}

/** @param values in ascending order @returns the index of the first one that is not less than `value` */
export function firstNotBefore<T extends string | number>(values: readonly T[], value: T): number {
  let [low, high] = [0, values.length];
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((values[middle] as T) < value) low = middle + 1;
    else high = middle;
  }
  return low;
}
