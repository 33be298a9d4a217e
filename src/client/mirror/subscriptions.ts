/** Functions to call when entries change: all entries, those with a prefix, or one. */

import { call } from '../report.ts';
import type { Change } from './copy.ts';

/** The entries that a subscription is about: one, those with a prefix, or all. */
export type EntryFilter =
  | { readonly key: string; readonly prefix?: undefined }
  | { readonly prefix?: string | undefined; readonly key?: undefined };

interface Subscription {
  readonly listener: () => void;
}

export class Subscriptions {
  readonly #byKey = new Map<string, Set<Subscription>>();
  readonly #byPrefix = new Map<string, Set<Subscription>>();

  /** @returns a function that removes the subscription */
  add(listener: () => void, { key, prefix = '' }: EntryFilter): () => void {
    const [map, name] = key === undefined ? [this.#byPrefix, prefix] : [this.#byKey, key];
    const subscriptions = map.get(name) ?? new Set();
    map.set(name, subscriptions);
    const subscription = { listener };
    subscriptions.add(subscription);
    return () => {
      subscriptions.delete(subscription);
      if (subscriptions.size === 0 && map.get(name) === subscriptions) map.delete(name);
    };
  }

  /** Calls each listener once whose entries are among the changed ones. */
  notify(changes: Iterable<Pick<Change, 'key'>>): void {
    const due = new Set<Set<Subscription>>();
    for (const { key } of changes) {
      const subscriptions = this.#byKey.get(key);
      if (subscriptions !== undefined) due.add(subscriptions);
      for (const [prefix, others] of this.#byPrefix) if (key.startsWith(prefix)) due.add(others);
    }
    for (const subscriptions of due) {
      // A listener may remove others, which are not called then, and add new ones, which wait for the next change.
      for (const subscription of [...subscriptions]) {
        if (subscriptions.has(subscription)) call(subscription.listener, undefined);
      }
    }
  }
}
