import { useMemo } from 'react';
import { byKey } from '../collection/sorted-entries.ts';
import type { EntrySource, LiveMirror, WithKey } from './live-mirror.ts';
import { useSource } from './use-source.ts';

/**
 * Reads the entries with a prefix, in the order of their keys, which is that of a node's pages: by the bytes of their
 * UTF-8. The component renders again when one of them changes, appears or goes, and not when others do.
 * @param mirror null: there is none yet
 * @param filter `{ prefix }`; default: all entries
 * @returns the same array while none of them changes, with the same object for each entry that has not changed
 */
export function useEntries<E extends WithKey>(
  mirror: LiveMirror<E> | null,
  { prefix = '' }: { readonly prefix?: string | undefined } = {},
): readonly E[] {
  const select = useMemo(() => entriesWith<E>(prefix), [prefix]);
  return useSource(mirror, undefined, prefix, select);
}

/** @returns a function that reads the entries with a prefix from the source that it is given */
function entriesWith<E extends WithKey>(prefix: string): (source: EntrySource<E>) => readonly E[] {
  let read: readonly E[] | null = null;
  let selected: readonly E[] = [];
  return (source) => {
    const all = source.snapshot();
    if (all !== read) {
      read = all;
      const fitting = all.filter(({ key }) => key.startsWith(prefix));
      const found = source.isSorted ? fitting : sorted(fitting, selected);
      const isSame =
        found.length === selected.length && found.every((entry, index) => entry === selected[index]);
      if (!isSame) selected = Object.freeze(found);
    }
    return selected;
  };
}

/** @param before the same entries at the last time, in order */
function sorted<E extends WithKey>(entries: readonly E[], before: readonly E[]): readonly E[] {
  const left = new Map(entries.map((entry) => [entry.key, entry]));
  // What was there is in order already: sorting it again takes one comparison for each entry.
  const known: E[] = [];
  for (const { key } of before) {
    const entry = left.get(key);
    if (entry) known.push(entry);
    left.delete(key);
  }
  return left.size > 0 ? [...known, ...left.values()].sort(byKey) : known;
}
