/** Arrays of entries in the order of their keys. */
import { compareKeys } from './key-order.ts';

export interface Keyed {
  readonly key: string;
}

export function byKey(left: Keyed, right: Keyed): number {
  return compareKeys(left.key, right.key);
}

/** @returns index of the first entry whose key is not before this one */
export function firstAt(entries: readonly Keyed[], key: string): number {
  let [low, high] = [0, entries.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (compareKeys((entries[middle] as Keyed).key, key) < 0) low = middle + 1;
    else high = middle;
  }
  return low;
}

/**
 * @param entries in order
 * @param keys that have changed, in order
 * @param now the entry that each of them has now
 */
export function merged<Each extends Keyed>(
  entries: readonly Each[],
  keys: readonly string[],
  now: (key: string) => Each | undefined,
): readonly Each[] {
  const next: Each[] = [];
  let at = 0;
  for (const key of keys) {
    const until = firstAt(entries, key);
    for (; at < until; at += 1) next.push(entries[at] as Each);
    if (entries[at]?.key === key) at += 1;
    const entry = now(key);
    if (entry !== undefined) next.push(entry);
  }
  for (; at < entries.length; at += 1) next.push(entries[at] as Each);
  return next;
}
