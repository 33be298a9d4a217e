/** Entries that a page shows before its mirror has any: those that its server rendered. */

import {
  type Context,
  createContext,
  createElement,
  type ReactElement,
  type ReactNode,
  useMemo,
} from 'react';
import type { EntrySource, LiveMirror, WithKey } from './live-mirror.ts';

export const NO_ENTRIES: EntrySource<never> = /* @__PURE__ */ sourceOf([]);
export const InitialSource: Context<EntrySource<never>> = /* @__PURE__ */ createContext(NO_ENTRIES);

export interface InitialEntriesProps {
  readonly entries: readonly WithKey[];
  readonly children?: ReactNode;
}

/**
 * Gives the components below it entries to show while their mirrors have no copy: on the server, while the browser
 * takes over what the server rendered, and until the node has sent a copy. Without it they show no entries then. A mirror
 * takes those with its prefixes, a collection those that are its own, and decodes them.
 * @param props `entries`: as a mirror has them, the same on the server and in the browser, such as `mirror.snapshot()` of
 * the server
 */
export function InitialEntries({ entries, children }: InitialEntriesProps): ReactElement {
  const source = useMemo(() => sourceOf(entries), [entries]);
  return createElement(InitialSource.Provider, { value: source }, children);
}

/** The type says `never` because the mirrors that read it have entries of any type. */
function sourceOf(entries: readonly WithKey[]): EntrySource<never> {
  const byKey = new Map(entries.map((entry) => [entry.key, entry]));
  return { getEntry: (key) => byKey.get(key) as undefined, snapshot: () => entries as readonly never[] };
}

/** @returns the initial entries that a mirror could have, as it would have them; without a mirror all of them */
export function ownOf<E extends WithKey>(
  initial: EntrySource<never>,
  mirror: LiveMirror<E> | null,
): EntrySource<E> {
  if (mirror === null || initial === NO_ENTRIES) return initial;
  const { prefixes = [''] } = mirror;
  const own = (entry: E | undefined): E | undefined =>
    entry && prefixes.some((prefix) => entry.key.startsWith(prefix))
      ? mirror.typed
        ? mirror.typed(entry)
        : entry
      : undefined;
  let all: readonly E[] | undefined;
  return {
    getEntry: (key) => own(initial.getEntry(key)),
    snapshot: () => {
      all ??= initial.snapshot().flatMap((entry) => own(entry) ?? []);
      return all;
    },
  };
}

/** @returns the initial entries with those above them that a mirror has without a copy: its pending writes */
export function under<E extends WithKey>(
  initial: EntrySource<E>,
  mirror: LiveMirror<E> | null,
): EntrySource<E> {
  if (mirror === null) return initial;
  let of: readonly E[] | undefined;
  let all: readonly E[] = [];
  return {
    getEntry: (key) => mirror.getEntry(key) ?? initial.getEntry(key),
    snapshot: () => {
      const above = mirror.snapshot();
      if (above !== of) {
        of = above;
        all = [...initial.snapshot().filter(({ key }) => mirror.getEntry(key) === undefined), ...above];
      }
      return all;
    },
  };
}
