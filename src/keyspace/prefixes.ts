/** Which keys somebody wants: those that begin with one of some prefixes. */
import { compareKeys } from './key.ts';

export class Prefixes {
  /** In key order; none of them begins with another one. `['']` stands for every key. */
  readonly list: readonly string[];
  /** Equal for the same choice of keys, however it was written. */
  readonly id: string;

  /** @param wanted none at all: every key */
  constructor(wanted: readonly string[]) {
    const sorted = [...new Set(wanted.length === 0 ? [''] : wanted)].sort(compareKeys);
    const list: string[] = [];
    for (const prefix of sorted) {
      // In key order whatever begins with a prefix follows it.
      const last = list[list.length - 1];
      if (last === undefined || !prefix.startsWith(last)) list.push(prefix);
    }
    this.list = list;
    this.id = JSON.stringify(list);
  }

  matches(key: string): boolean {
    return this.list.some((prefix) => key.startsWith(prefix));
  }
}
