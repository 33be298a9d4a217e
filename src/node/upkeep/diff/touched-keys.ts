/**
 * What commands have done to keys between two positions: the first keys in key order, so that memory is bounded however many keys
 * there are.
 *
 * The stream has effects only: it says what an entry became, and not whether there was one before. But a master deletes, and
 * changes the expiry of, only what is there. So the first command on a key tells whether the key was there before, unless it is a
 * SET. For those keys the commands before the first position may tell.
 */
import { compareKeys } from '../../../keyspace/key.ts';
import { assertNever, type Command } from '../../../stream/command.ts';

/**
 * `added`: not there before, and there now. `changed`: there before and now, and written in between; also with the same value.
 * `removed`: there before, and not now. `added-or-changed`: there now; whether it was before is not known. `removed-or-passing`:
 * not there now; whether it was before is not known, and if not, it has only come and gone.
 */
export type KeyChange = 'added' | 'changed' | 'removed' | 'added-or-changed' | 'removed-or-passing';

export const KEY_CHANGES: readonly KeyChange[] = [
  'added',
  'changed',
  'removed',
  'added-or-changed',
  'removed-or-passing',
];

export interface ChangedKey {
  readonly key: string;
  readonly change: KeyChange;
  /** Version of the entry; null: there is none now, or only its expiry has changed. */
  readonly version: number | null;
}

interface Fate {
  /** Whether the key was there before; null: unknown. */
  before: boolean | null;
  /** Whether it is there after the commands so far. */
  after: boolean;
  version: number | null;
}

export class TouchedKeys {
  readonly #prefix: string;
  readonly #after: string | null;
  readonly #most: number;
  readonly #fates = new Map<string, Fate>();
  /** The keys of `#fates`, in key order. */
  readonly #keys: string[] = [];

  /**
   * @param prefix only keys that begin so
   * @param after only keys after this one; null: from the first key
   * @param limit largest number of keys of the page
   */
  constructor(prefix: string, after: string | null, limit: number) {
    this.#prefix = prefix;
    this.#after = after;
    // One more than the page has, to know whether there is a next page.
    this.#most = limit + 1;
  }

  /**
   * Takes the next command between the two positions.
   * @param end offset of its end
   */
  take(command: Command, end: number): void {
    switch (command.kind) {
      case 'set':
        this.#note(command.key, null, true, end);
        return;
      case 'del':
        for (const key of command.keys) this.#note(key, true, false, null);
        return;
      case 'expire-at':
      case 'persist':
        this.#note(command.key, true, true, null);
        return;
      case 'flush-all':
        for (const fate of this.#fates.values()) {
          fate.after = false;
          fate.version = null;
        }
        return;
      default:
        assertNever(command);
    }
  }

  /** The keys of which the commands so far do not tell whether they were there before. */
  get unknown(): Earlier {
    const fates = new Map([...this.#fates].filter(([, { before }]) => before === null));
    return new Earlier(fates);
  }

  /** The page, and the key after which the next page begins; null: this is the last page. */
  get page(): { readonly changes: readonly ChangedKey[]; readonly next: string | null } {
    const keys = this.#keys.slice(0, this.#most - 1);
    const changes = keys.flatMap((key) => {
      const { before, after, version } = this.#fates.get(key) as Fate;
      const change = changeOf(before, after);
      return change === null ? [] : [{ key, change, version }];
    });
    return { changes, next: this.#keys.length < this.#most ? null : (keys.at(-1) ?? null) };
  }

  /** @param before whether the key was there before the command; null: unknown */
  #note(key: string, before: boolean | null, after: boolean, version: number | null): void {
    const known = this.#fates.get(key);
    if (known !== undefined) {
      known.after = after;
      // A new expiry leaves the version as it is.
      if (version !== null || !after) known.version = version;
      return;
    }
    if (!key.startsWith(this.#prefix)) return;
    if (this.#after !== null && compareKeys(key, this.#after) <= 0) return;
    const isFull = this.#keys.length === this.#most;
    if (isFull && compareKeys(key, this.#keys[this.#most - 1] as string) > 0) return;
    if (isFull) this.#fates.delete(this.#keys.pop() as string);
    this.#keys.splice(this.#place(key), 0, key);
    this.#fates.set(key, { before, after, version });
  }

  /** @returns the index in `#keys` at which the key belongs */
  #place(key: string): number {
    let [low, high] = [0, this.#keys.length];
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (compareKeys(this.#keys[middle] as string, key) < 0) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}

/** Finds out from the commands before the first position which keys were there at it. */
export class Earlier {
  readonly #fates: ReadonlyMap<string, Fate>;

  constructor(fates: ReadonlyMap<string, Fate>) {
    this.#fates = fates;
  }

  get isEmpty(): boolean {
    return this.#fates.size === 0;
  }

  /** Nothing was there: before the first command of a history, and after the last FLUSHALL. */
  takeEmpty(): void {
    for (const fate of this.#fates.values()) fate.before = false;
  }

  /** Takes the next command before the first position. */
  take(command: Command): void {
    switch (command.kind) {
      case 'set':
      case 'expire-at':
      case 'persist':
        this.#note(command.key, true);
        return;
      case 'del':
        for (const key of command.keys) this.#note(key, false);
        return;
      case 'flush-all':
        this.takeEmpty();
        return;
      default:
        assertNever(command);
    }
  }

  #note(key: string, isThere: boolean): void {
    const fate = this.#fates.get(key);
    if (fate !== undefined) fate.before = isThere;
  }
}

/** @returns null: the key was not there before, and is not there now */
function changeOf(before: boolean | null, after: boolean): KeyChange | null {
  if (before === null) return after ? 'added-or-changed' : 'removed-or-passing';
  if (before) return after ? 'changed' : 'removed';
  return after ? 'added' : null;
}
