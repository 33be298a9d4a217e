/** A mirror's storage in the browser's IndexedDB: one database, with one transaction for each update. */
import type { Entry } from './entry.ts';
import { type MirrorStorage, StorageConflict, type StoredCopy } from './storage.ts';

const ENTRIES = 'entries';
const META = 'meta';
/** The one record of `meta`. */
const CURRENT = 'current';
/** Of what is stored: another one is thrown away and the mirror starts over. */
const VERSION = 1;

interface Meta {
  readonly scope: string;
  readonly position: string;
}

/** @param name of the database, `psyncd:NAME`; two mirrors at a time must not share one */
export function indexedDbStorage(name: string): MirrorStorage {
  // Opened when it is needed first, and again if that failed.
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
        // Nothing of it may be stored, also what was asked for before it failed.
        abort(transaction);
        // That it was aborted is only the consequence.
        done.catch(() => undefined);
        throw error;
      }
      await done;
    },

    async close() {
      // If it could not be opened there is nothing to close.
      (await opening?.catch(() => null))?.close();
      opening = null;
    },
  };
}

/** @param lost called when the browser closes it, as when somebody deletes the data of the site */
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
      // Whoever deletes it, or a newer version of the page, must not wait for this one.
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
    // It has been aborted already.
  }
}

function completion(transaction: IDBTransaction): Promise<void> {
  return new Promise((resolve, reject) => {
    transaction.oncomplete = () => resolve();
    transaction.onabort = () => reject(transaction.error ?? new Error('the transaction was aborted'));
  });
}
