/** What both hooks for entries have in common. */
import { useCallback, useContext, useSyncExternalStore } from 'react';
import { InitialSource, NO_ENTRIES } from './initial-entries.ts';
import type { EntrySource, LiveMirror, WithKey } from './live-mirror.ts';

/**
 * @param mirror null: there is none yet
 * @param key of the entry that `select` reads; undefined: it reads those with the prefix
 * @param select returns the same value while nothing that it reads changes
 * @returns what `select` reads from the mirror, or from the initial entries while the mirror has no copy
 */
export function useSource<E extends WithKey, Selected>(
  mirror: LiveMirror<E> | null,
  key: string | undefined,
  prefix: string | undefined,
  select: (source: EntrySource<E>) => Selected,
): Selected {
  const initial = useContext(InitialSource);
  const subscribe = useCallback(
    (listener: () => void) => {
      if (mirror === null) return () => undefined;
      const ends = [mirror.subscribe(listener, key === undefined ? { prefix } : { key })];
      // The first copy replaces the initial entries. An entry that it lacks is no change of the mirror, but its state
      // changes then.
      if (initial !== NO_ENTRIES && mirror.position === null) ends.push(mirror.on('state', listener));
      return () => {
        for (const end of ends) end();
      };
    },
    [mirror, key, prefix, initial],
  );
  return useSyncExternalStore(
    subscribe,
    () => select(mirror === null || mirror.position === null ? initial : mirror),
    () => select(initial),
  );
}
