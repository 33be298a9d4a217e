/** Finds who wants a key, in a time that does not depend on how many want others: by each length that a prefix has. */
import type { Subscription } from './subscription.ts';

export class SubscriptionIndex {
  readonly #byPrefix = new Map<string, Set<Subscription>>();
  /** How many different prefixes there are of each length, in UTF-16 units, shortest first. */
  #lengths: [length: number, count: number][] = [];

  add(subscription: Subscription): void {
    for (const prefix of subscription.prefixes.list) {
      const known = this.#byPrefix.get(prefix);
      if (known !== undefined) {
        known.add(subscription);
        continue;
      }
      this.#byPrefix.set(prefix, new Set([subscription]));
      const same = this.#lengths.find(([length]) => length === prefix.length);
      if (same === undefined) this.#lengths.push([prefix.length, 1]);
      else same[1] += 1;
    }
    this.#lengths.sort(([one], [other]) => one - other);
  }

  delete(subscription: Subscription): void {
    for (const prefix of subscription.prefixes.list) {
      const known = this.#byPrefix.get(prefix);
      known?.delete(subscription);
      if (known?.size !== 0) continue;
      this.#byPrefix.delete(prefix);
      const same = this.#lengths.find(([length]) => length === prefix.length);
      if (same !== undefined) same[1] -= 1;
    }
    this.#lengths = this.#lengths.filter(([, count]) => count > 0);
  }

  /** Adds those who want the key to `found`. */
  find(key: string, found: Set<Subscription>): void {
    for (const [length] of this.#lengths) {
      if (length > key.length) return;
      const known = this.#byPrefix.get(length === 0 ? '' : key.slice(0, length));
      if (known !== undefined) for (const subscription of known) found.add(subscription);
    }
  }
}
