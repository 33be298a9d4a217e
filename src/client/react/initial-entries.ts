/** Entries that a page shows before its mirror has any: those that its server rendered. */

import {
  type Context,
  createContext,
  createElement,
  type ReactElement,
  type ReactNode,
  useMemo,
} from 'react';
import type { EntrySource, WithKey } from './live-mirror.ts';

export const NO_ENTRIES: EntrySource<never> = /* @__PURE__ */ sourceOf([]);
export const InitialSource: Context<EntrySource<never>> = /* @__PURE__ */ createContext(NO_ENTRIES);

export interface InitialEntriesProps {
  readonly entries: readonly WithKey[];
  readonly children?: ReactNode;
}

/**
 * Gives the components below it entries to show while their mirrors have no copy: on the server, while the browser
 * takes over what the server rendered, and until the node has sent a copy. Without it they show no entries then.
 * @param props `entries`: the same on the server and in the browser, such as `mirror.snapshot()` of the server
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
