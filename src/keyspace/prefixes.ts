/** A choice of keys: those that begin with one of several prefixes. */
import { compareKeys } from './key.ts';

export class Prefixes {
  /** Prefixes in key order, none a prefix of another. `['']` chooses every key. */
  readonly list: readonly string[];
  /** Identifier that is equal for equal choices, however they were written. */
  readonly id: string;

  /** @param wanted prefixes; none: every key */
  constructor(wanted: readonly string[]) {
    const sorted = [...new Set(wanted.length === 0 ? [''] : wanted)].sort(compareKeys);
    const list: string[] = [];
    for (const prefix of sorted) {
      // In key order, strings with a common prefix follow it.
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
