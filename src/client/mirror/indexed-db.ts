/** Stores a mirror in the browser's IndexedDB: one database, one transaction per update. */
import type { Entry } from '../entry.ts';
import { type MirrorStorage, StorageConflict, type StoredCopy } from './storage.ts';

const ENTRIES = 'entries';
const META = 'meta';
/** Key of the only record in `meta`. */
const CURRENT = 'current';
/** Version of the stored format; a copy in another format is discarded, and the mirror starts over. */
const VERSION = 1;

interface Meta {
  readonly scope: string;
  readonly position: string;
}

/** @param name names the database `psyncd:NAME`; two mirrors must not share one at the same time */
export function indexedDbStorage(name: string): MirrorStorage {
  // The database opens on first use, and again after a failure.
  let opening: Promise<IDBDatabase> | null = null;
  const database = (): Promise<IDBDatabase> => {
    opening ??= open(`psyncd:${name}`, lost).catch((error: unknown) => {
      lost();
      throw error;
    });
    return opening;
  };
  const lost = (): void => {
    opening = null;
  };
  return {
    async load() {
      const transaction = (await database()).transaction([ENTRIES, META]);
      const [meta, entries] = await Promise.all([
        answer<Meta | undefined>(transaction.objectStore(META).get(CURRENT)),
        answer<Entry[]>(transaction.objectStore(ENTRIES).getAll()),
      ]);
      return meta === undefined ? null : ({ ...meta, entries } satisfies StoredCopy);
    },

    async save(update) {
      const transaction = (await database()).transaction([ENTRIES, META], 'readwrite');
      const done = completion(transaction);
      const entries = transaction.objectStore(ENTRIES);
      const meta = transaction.objectStore(META);
      try {
        if (update.kind === 'replace') {
          entries.clear();
          for (const entry of update.entries) entries.put(entry);
          meta.put({ scope: update.scope, position: update.position } satisfies Meta, CURRENT);
        } else {
          const current = await answer<Meta | undefined>(meta.get(CURRENT));
          if (current?.position !== update.base) throw new StorageConflict();
          for (const key of update.remove) entries.delete(key);
          for (const entry of update.put) entries.put(entry);
          meta.put({ scope: current.scope, position: update.position } satisfies Meta, CURRENT);
        }
      } catch (error) {
        // Nothing of a failed update may be stored, including earlier requests of the transaction.
        abort(transaction);
        // The abort is only a consequence of the first error.
        done.catch(() => undefined);
        throw error;
      }
      await done;
    },

    async close() {
      // A database that could not be opened needs no closing.
      (await opening?.catch(() => null))?.close();
      opening = null;
    },
  };
}

/** @param lost called when the browser closes the database, for example because the user deletes the site's data */
function open(name: string, lost: () => void): Promise<IDBDatabase> {
  const request = indexedDB.open(name, VERSION);
  request.onupgradeneeded = () => {
    const database = request.result;
    for (const store of database.objectStoreNames) database.deleteObjectStore(store);
    database.createObjectStore(ENTRIES, { keyPath: 'key' });
    database.createObjectStore(META);
  };
  return new Promise((resolve, reject) => {
    request.onblocked = () => reject(new Error('another tab holds an older version of the storage open'));
    request.onerror = () => reject(request.error);
    request.onsuccess = () => {
      const database = request.result;
      database.onclose = lost;
      // A deletion, or a newer version of the page, must not wait for this connection.
      database.onversionchange = () => {
        database.close();
        lost();
      };
      resolve(database);
    };
  });
}

function answer<T>(request: IDBRequest): Promise<T> {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result as T);
    request.onerror = () => reject(request.error);
  });
}

function abort(transaction: IDBTransaction): void {
  try {
    transaction.abort();
  } catch {
    // The transaction is already aborted.
  }
}

function completion(transaction: IDBTransaction): Promise<void> {
  return new Promise((resolve, reject) => {
    transaction.oncomplete = () => resolve();
    transaction.onabort = () => reject(transaction.error ?? new Error('the transaction was aborted'));
  });
}
