/**
 * Stores a mirror in the browser's IndexedDB: one database, one transaction per update. Many entries are read and written
 * in parts, with a rest between them, so that the page stays responsive. The tab that holds the Web Lock of the database
 * writes.
 */
import { unless } from '../within.ts';
import type { Entry } from './entry.ts';
import { inParts } from './in-parts.ts';
import { type MirrorStorage, mustFit, putBy, type StorageUpdate, type StoredCopy } from './storage.ts';

const ENTRIES = 'entries';
const META = 'meta';
/** Key of the only record in `meta`. */
const CURRENT = 'current';
/** Most entries to read in one step, and about how many characters and bytes. */
const READ_ENTRIES = 1_000;
const READ_LENGTH = 1_000_000;
/** Version of the stored format. A greater one has to delete the stores of those before. */
const VERSION = 1;

interface Meta {
  readonly scope: string;
  readonly position: string;
}

/** @param name names the database `psyncd:NAME`; of several mirrors that share one, only one writes at a time */
export function indexedDbStorage(name: string): MirrorStorage {
  const database = `psyncd:${name}`;
  // The database opens on first use, and again after a failure.
  let opening: Promise<IDBDatabase> | null = null;
  const begin = async (mode?: 'readwrite'): Promise<IDBTransaction> => {
    opening ??= open(database, lost);
    try {
      return (await opening).transaction([ENTRIES, META], mode);
    } catch (error) {
      // A browser may lose a connection and say so only here.
      lost();
      throw error;
    }
  };
  const lost = (): void => {
    opening = null;
  };
  // Pages that are not secure have no locks, and old browsers too.
  const locks: LockManager | undefined = globalThis.navigator?.locks;
  return {
    ...(locks && {
      lock: (signal) =>
        new Promise((resolve, reject) => {
          const held = (): Promise<never> => {
            resolve();
            return unless(signal, new Promise<never>(() => undefined));
          };
          locks.request(database, { signal }, held).catch(reject);
        }),
    }),

    async load() {
      const transaction = await begin();
      const meta = await answer<Meta | undefined>(transaction.objectStore(META).get(CURRENT));
      if (!meta) return null;
      return { ...meta, entries: await allEntries(transaction.objectStore(ENTRIES)) } satisfies StoredCopy;
    },

    save: async (update) => write(await begin('readwrite'), update),

    async close() {
      const closing = opening;
      // Another mirror with this storage opens the database again.
      lost();
      // A database that could not be opened needs no closing.
      (await closing?.catch(() => null))?.close();
    },
  };
}

/** @throws StorageConflict if the stored copy is not the one that the update begins with */
async function write(transaction: IDBTransaction, update: StorageUpdate): Promise<void> {
  const done = answer(transaction, 'oncomplete', 'onabort');
  // An abort is only a consequence of the first error.
  done.catch(() => undefined);
  try {
    const entries = transaction.objectStore(ENTRIES);
    const meta = transaction.objectStore(META);
    const { scope, position } = update;
    if (update.kind === 'patch') {
      mustFit(await answer<Meta | undefined>(meta.get(CURRENT)), update);
      await inParts(update.remove, (key) => entries.delete(key), answer);
    } else entries.clear();
    await inParts(putBy(update), (entry) => entries.put(entry), answer);
    meta.put({ scope, position } satisfies Meta, CURRENT);
  } catch (error) {
    // Nothing of a failed update may be stored, including earlier requests of the transaction.
    try {
      transaction.abort();
    } catch {
      // The transaction is already aborted.
    }
    throw error;
  }
  await done;
}

/** Reads all entries of the store, in parts. */
async function allEntries(store: IDBObjectStore): Promise<Entry[]> {
  const entries: Entry[] = [];
  let range: IDBKeyRange | undefined;
  let count = 1;
  for (;;) {
    const part = await answer<Entry[]>(store.getAll(range, count));
    let length = 1;
    for (const entry of part) {
      entries.push(entry);
      length += entry.key.length + entry.value.length;
    }
    const last = part.at(-1);
    if (!last || part.length < count) return entries;
    range = IDBKeyRange.lowerBound(last.key, true);
    count = Math.ceil(Math.min(count * 4, READ_ENTRIES, (count * READ_LENGTH) / length));
  }
}

/** @param lost called when the browser closes the database, for example because the user deletes the site's data */
async function open(name: string, lost: () => void): Promise<IDBDatabase> {
  const request = indexedDB.open(name, VERSION);
  request.onupgradeneeded = () => {
    const database = request.result;
    database.createObjectStore(ENTRIES, { keyPath: 'key' });
    database.createObjectStore(META);
  };
  const database = await answer(request);
  database.onclose = lost;
  // A deletion, or a newer version of the page, must not wait for this connection.
  database.onversionchange = () => {
    database.close();
    lost();
  };
  return database;
}

/** @returns the answer; without names that of a request, and with these the end of a transaction */
function answer<T>(of: IDBRequest<T> | IDBTransaction, done = 'onsuccess', failed = 'onerror'): Promise<T> {
  return new Promise((resolve, reject) => {
    Object.assign(of, {
      [done]: () => resolve((of as IDBRequest<T>).result),
      [failed]: () => reject(of.error ?? new Error('aborted')),
    });
  });
}
