/**
 * Where a mirror can keep its copy, so that a page that is loaded again goes on by position instead of starting over.
 *
 * Data and position belong together: each update is stored as a whole or not at all. That is all that a storage has
 * to promise; whatever else goes wrong, the worst that happens is that the mirror starts over.
 */
import type { Entry } from './entry.ts';

export interface StoredCopy {
  /** What the copy is a copy of: the prefixes. Another scope is another copy. */
  readonly scope: string;
  readonly position: string;
  readonly entries: Iterable<Entry>;
}

export type StorageUpdate =
  /** Whatever was there is replaced. */
  | ({ readonly kind: 'replace' } & StoredCopy)
  | {
      readonly kind: 'patch';
      /** What has to be the stored position, and is not if somebody else has written. */
      readonly base: string;
      readonly position: string;
      readonly put: readonly Entry[];
      readonly remove: readonly string[];
    };

export interface MirrorStorage {
  /** @returns null: there is nothing. A rejection means the same to a mirror. */
  load(): Promise<StoredCopy | null>;
  /** @throws StorageConflict when a patch has another base */
  save(update: StorageUpdate): Promise<void>;
  /** Lets go; nothing follows. */
  close(): Promise<void>;
}

/** Somebody else writes to the same storage, such as the same page in another tab. */
export class StorageConflict extends Error {
  override readonly name = 'StorageConflict';

  constructor() {
    super('something else writes to the same storage');
  }
}

/** Forgets with the process; for tests, and for mirrors that come and go within a page. */
export function memoryStorage(): MirrorStorage {
  let stored: { scope: string; position: string; entries: Map<string, Entry> } | null = null;
  return {
    load: async () => stored && { ...stored, entries: [...stored.entries.values()] },
    save: async (update) => {
      if (update.kind === 'replace') {
        const entries = new Map<string, Entry>();
        for (const entry of update.entries) entries.set(entry.key, entry);
        stored = { scope: update.scope, position: update.position, entries };
        return;
      }
      if (stored === null || stored.position !== update.base) throw new StorageConflict();
      for (const entry of update.put) stored.entries.set(entry.key, entry);
      for (const key of update.remove) stored.entries.delete(key);
      stored.position = update.position;
    },
    close: async () => undefined,
  };
}
