/**
 * Storage for a mirror's copy, so that a reloaded page continues from a position instead of starting over.
 *
 * Data and position belong together: a storage only has to promise that each update is stored as a whole or not at all.
 * Whatever else fails, the mirror at worst starts over.
 */
import { isKey, isNumber, isText, isTime, own } from '../event.ts';
import type { Signal } from '../platform.ts';
import { parsePosition } from '../position.ts';
import type { Entry } from './entry.ts';
import { inParts } from './in-parts.ts';

export interface StoredCopy {
  /** What the copy contains: the prefixes. Another scope is another copy. */
  readonly scope: string;
  readonly position: string;
  readonly entries: Iterable<Entry>;
}

export type StorageUpdate =
  /** Replaces everything that was stored. */
  | ({ readonly kind: 'replace' } & StoredCopy)
  | {
      readonly kind: 'patch';
      /** Scope of the copy that it changes. */
      readonly scope: string;
      /** The stored position that the update expects; another one means that another program has written. */
      readonly base: string;
      readonly position: string;
      readonly put: readonly Entry[];
      readonly remove: readonly string[];
    };

export interface MirrorStorage {
  /**
   * Resolves once no other mirror writes to this storage; a mirror saves nothing before. A storage without this method
   * belongs to one mirror at a time.
   * @param signal gives the right up when the mirror has closed, or ends the wait; other mirrors may have the same
   * storage
   */
  lock?(signal: Signal): Promise<void>;
  /** @returns null: nothing is stored. A mirror treats a rejection like null. */
  load(): Promise<StoredCopy | null>;
  /** @throws StorageConflict when a patch has another base or scope */
  save(update: StorageUpdate): Promise<void>;
  /** Closes the storage; no further calls of this mirror follow. */
  close(): Promise<void>;
}

/**
 * A patch does not fit what is stored: another program writes to the same storage, such as the same page in another
 * tab, or somebody has deleted the data.
 */
export class StorageConflict extends Error {
  override readonly name = 'StorageConflict';
  /** Whether nothing is stored. */
  declare readonly isEmpty: boolean;

  constructor(isEmpty = false) {
    super('the stored copy has changed');
    this.isEmpty = isEmpty;
  }
}

/** @returns what is stored @throws StorageConflict if an update does not fit it */
export function mustFit<Stored extends Pick<StoredCopy, 'scope' | 'position'>>(
  stored: Stored | null | undefined,
  { base, scope }: StorageUpdate & { readonly kind: 'patch' },
): Stored {
  if (stored?.position !== base || stored.scope !== scope) throw new StorageConflict(!stored);
  return stored;
}

/** @returns the entries that an update puts into the storage */
export function putBy(update: StorageUpdate): Iterable<Entry> {
  return update.kind === 'patch' ? update.put : update.entries;
}

/** Name of the storage, for errors. */
export const STORAGE = 'the storage';

/** A copy as a storage has loaded it. */
export interface LoadedCopy {
  readonly position: string;
  readonly entries: Map<string, Entry>;
}

/**
 * Checks a copy that a storage has loaded, which other programs may have written. A Map takes 2^24 entries at most.
 * @param prefixes of its keys
 * @param signal ends the check of one that does not end
 * @throws TypeError if it is not what a mirror saves, or the signal is aborted; RangeError if it has more entries than a Map
 */
export async function checkedCopy(
  { position, entries: stored }: StoredCopy,
  prefixes: readonly string[],
  signal: Signal,
): Promise<LoadedCopy> {
  const entries = new Map<string, Entry>();
  const must = (isRight: unknown): void => {
    if (!isRight) throw new TypeError('the stored copy is none');
  };
  must(parsePosition(position));
  // What is checked is kept: a getter may have another answer next time.
  const check = ({ key, value, version, expiresAt }: Entry): void => {
    must(
      !signal.aborted &&
        isKey(key, prefixes) &&
        (isText(value) || value instanceof Uint8Array) &&
        isNumber(version) &&
        isTime(expiresAt),
    );
    entries.set(key, Object.freeze({ key, value: own(value), version, expiresAt }));
  };
  await inParts(stored, check, othersFirst);
  return { position, entries };
}

/** Lets others go first. It needs no timer: those of a hidden page ring once a second. */
function othersFirst(): Promise<void> {
  return new Promise((resolve) => {
    const { port1, port2 } = new MessageChannel();
    (port1 as unknown as { onmessage?: () => void }).onmessage = () => {
      // An open port would keep a program alive.
      port1.close();
      resolve();
    };
    port2.postMessage(null);
  });
}

/** Keeps the copy in memory only: for tests, and for mirrors that come and go within a page. */
export function memoryStorage(): MirrorStorage {
  let stored: { scope: string; position: string; entries: Map<string, Entry> } | null = null;
  return {
    load: async () => stored && { ...stored, entries: [...stored.entries.values()] },
    save: async (update) => {
      const { scope, position } = update;
      let entries = new Map<string, Entry>();
      if (update.kind === 'patch') {
        entries = mustFit(stored, update).entries;
        for (const key of update.remove) entries.delete(key);
      }
      for (const entry of putBy(update)) entries.set(entry.key, entry);
      stored = { scope, position, entries };
    },
    close: async () => undefined,
  };
}
