/** Functions to call when entries change: all entries, those with a prefix, or one. */

import { callEach, type Groups, listen } from './listeners.ts';

/** The entries that a subscription is about: one, those with a prefix, or all. */
export type EntryFilter =
  | { readonly key: string; readonly prefix?: undefined }
  | { readonly prefix?: string | undefined; readonly key?: undefined };

/** Called with everything that has changed together, also what the subscription is not about. */
export type ChangeListener = (() => void) | ((changes: Iterable<{ readonly key: string }>) => void);

export class Subscriptions {
  readonly #byKey: Groups<string> = new Map();
  readonly #byPrefix: Groups<string> = new Map();

  /** @returns a function that removes the subscription */
  add(listener: ChangeListener, { key, prefix = '' }: EntryFilter): () => void {
    return key === undefined ? listen(this.#byPrefix, prefix, listener) : listen(this.#byKey, key, listener);
  }

  /** Calls each listener once whose entries are among the changed ones. */
  notify(changes: readonly { readonly key: string }[]): void {
    // Those for all entries first: collections are among them, which other listeners read.
    const due = new Set<Parameters<typeof callEach>[0]>([this.#byPrefix.get('')]);
    // Thousands of prefixes have few lengths.
    const lengths = new Set([...this.#byPrefix.keys()].map(({ length }) => length));
    for (const { key } of changes) {
      due.add(this.#byKey.get(key));
      for (const length of lengths) due.add(this.#byPrefix.get(key.slice(0, length)));
    }
    for (const group of due) callEach(group, changes);
  }
}
