import type { LiveMirror, WithKey } from './live-mirror.ts';
import { useSource } from './use-source.ts';

/**
 * Reads one entry. The component renders again when the entry changes, is deleted or expires, and not when others do.
 * @param mirror null: there is none yet
 * @returns the same object while the entry does not change; undefined: there is no such entry
 */
export function useEntry<E extends WithKey>(mirror: LiveMirror<E> | null, key: string): E | undefined {
  return useSource<E, E | undefined>(mirror, key, undefined, (source) => source.getEntry(key));
}
