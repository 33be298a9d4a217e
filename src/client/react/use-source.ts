/** What both hooks for entries have in common. */
import { useCallback, useContext, useMemo, useSyncExternalStore } from 'react';
import { InitialSource, NO_ENTRIES, ownOf, under } from './initial-entries.ts';
import type { EntrySource, LiveMirror, WithKey } from './live-mirror.ts';

/**
 * @param mirror null: there is none yet
 * @param key of the entry that `select` reads; undefined: it reads those with the prefix
 * @param select returns the same value while nothing that it reads changes
 * @returns what `select` reads from the mirror; while the mirror has no copy, from its pending writes and below them from
 * the initial entries
 */
export function useSource<E extends WithKey, Selected>(
  mirror: LiveMirror<E> | null,
  key: string | undefined,
  prefix: string | undefined,
  select: (source: EntrySource<E>) => Selected,
): Selected {
  const given = useContext(InitialSource);
  const initial = useMemo(() => ownOf(given, mirror), [given, mirror]);
  const first = useMemo(() => under(initial, mirror), [initial, mirror]);
  const subscribe = useCallback(
    (listener: () => void) => {
      if (mirror === null) return () => undefined;
      const ends = [mirror.subscribe(listener, key === undefined ? { prefix } : { key })];
      // The first copy replaces the initial entries. An entry that it lacks is no change of the mirror, but its state
      // changes then.
      if (given !== NO_ENTRIES && mirror.position === null) ends.push(mirror.on('state', listener));
      return () => {
        for (const end of ends) end();
      };
    },
    [mirror, key, prefix, given],
  );
  return useSyncExternalStore(
    subscribe,
    () => select(mirror === null || mirror.position === null ? first : mirror),
    () => select(initial),
  );
}
