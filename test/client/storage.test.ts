/** One contract for all storages of mirrors; IndexedDB is `fake-indexeddb` here, and Chromium's in examples-browser. */
import 'fake-indexeddb/auto';
import assert from 'node:assert/strict';
import test from 'node:test';
import type { Entry } from '../../src/client/mirror/entry.ts';
import { mirror } from '../../src/client/mirror/mirror.ts';
import {
  checkedCopy,
  type MirrorStorage,
  memoryStorage,
  StorageConflict,
  type StoredCopy,
} from '../../src/client/mirror/storage.ts';
import { scriptedFeed } from '../support/scripted-feed.ts';
import { abc } from '../support/scripted-mirror.ts';

// Types of browsers are not known here.
declare const indexedDB: {
  deleteDatabase(name: string): { onsuccess: (event: unknown) => void; onerror: (error: unknown) => void };
};
const indexedDb: string = '../../src/client/mirror/indexed-db.ts';
const { indexedDbStorage } = (await import(indexedDb)) as {
  readonly indexedDbStorage: (name: string) => MirrorStorage;
};

function entry(key: string, value: Entry['value'] = key): Entry {
  return { key, value, version: 1, expiresAt: null };
}

async function loaded(storage: MirrorStorage): Promise<(StoredCopy & { entries: Entry[] }) | null> {
  const stored = await storage.load();
  if (stored === null) return null;
  return { ...stored, entries: [...stored.entries].sort((left, right) => (left.key < right.key ? -1 : 1)) };
}

const REPLACE = { kind: 'replace', scope: 's', position: 'p1', entries: [entry('a'), entry('b')] } as const;
let names = 0;
const STORAGES: Readonly<Record<string, () => MirrorStorage>> = {
  memoryStorage,
  indexedDbStorage: () => {
    names += 1;
    return indexedDbStorage(`test-${names}`);
  },
};

for (const [name, create] of Object.entries(STORAGES)) {
  test(`${name}: what is stored is loaded, with its position`, async () => {
    const storage = create();
    assert.equal(await storage.load(), null);
    const bytes = entry('bytes', Uint8Array.of(0, 255));
    await storage.save({ ...REPLACE, entries: [...REPLACE.entries, bytes] });
    const { entries } = REPLACE;
    assert.deepEqual(await loaded(storage), { scope: 's', position: 'p1', entries: [...entries, bytes] });
    await storage.close();
  });

  test(`${name}: a patch changes entries and position together`, async () => {
    const storage = create();
    await storage.save(REPLACE);
    const put = [entry('b', 'new'), entry('c')];
    await storage.save({
      kind: 'patch',
      scope: 's',
      base: 'p1',
      position: 'p2',
      put,
      remove: ['a', 'missing'],
    });
    assert.deepEqual(await loaded(storage), { scope: 's', position: 'p2', entries: put });
    await storage.close();
  });

  test(`${name}: a patch of another base changes nothing`, async () => {
    const storage = create();
    const patch = {
      kind: 'patch',
      scope: 's',
      base: 'p0',
      position: 'p2',
      put: [entry('c')],
      remove: ['a'],
    } as const;
    await assert.rejects(storage.save(patch), { name: 'StorageConflict', isEmpty: true });
    assert.equal(await storage.load(), null);
    await storage.save(REPLACE);
    await assert.rejects(storage.save(patch), { name: 'StorageConflict', isEmpty: false });
    await assert.rejects(storage.save({ ...patch, base: 'p1', scope: 'other' }), StorageConflict);
    const { scope, position, entries } = REPLACE;
    assert.deepEqual(await loaded(storage), { scope, position, entries });
    await storage.close();
  });

  test(`${name}: replacing leaves nothing of what was there`, async () => {
    const storage = create();
    await storage.save(REPLACE);
    await storage.save({ kind: 'replace', scope: 'other', position: 'q1', entries: [entry('z')] });
    assert.deepEqual(await loaded(storage), { scope: 'other', position: 'q1', entries: [entry('z')] });
    await storage.close();
  });
}

test('indexedDbStorage: a failed update leaves everything as it was', async () => {
  const storage = indexedDbStorage('uncloneable');
  await storage.save(REPLACE);
  const bad = { ...entry('x'), value: (() => undefined) as unknown as string };
  const patch = {
    kind: 'patch',
    scope: 's',
    base: 'p1',
    position: 'p2',
    put: [entry('c'), bad],
    remove: ['a'],
  } as const;
  await assert.rejects(storage.save(patch), { name: 'DataCloneError' });
  await assert.rejects(storage.save({ ...REPLACE, entries: [entry('c'), bad] }), { name: 'DataCloneError' });
  const { scope, position, entries } = REPLACE;
  assert.deepEqual(await loaded(storage), { scope, position, entries });
  await storage.close();
});

test('indexedDbStorage: of two writers to one name only one goes on', async () => {
  const [one, other] = [indexedDbStorage('shared'), indexedDbStorage('shared')];
  await one.save(REPLACE);
  assert.equal((await other.load())?.position, 'p1');
  const patch = { kind: 'patch', scope: 's', base: 'p1', position: 'p2', put: [], remove: ['a'] } as const;
  await other.save(patch);
  await assert.rejects(one.save(patch), StorageConflict);
  await Promise.all([one.close(), other.close()]);
});

test('indexedDbStorage: many entries, and large ones, are stored and loaded in parts', async () => {
  const storage = indexedDbStorage('many');
  const large = 'x'.repeat(300_000);
  const many = Array.from({ length: 5_000 }, (_, index) => {
    return entry(`k${String(index).padStart(5, '0')}`, index % 500 === 3 ? large : 'v');
  });
  await storage.save({ ...REPLACE, entries: many });
  assert.deepEqual((await loaded(storage))?.entries, many);
  await storage.close();
});

test('indexedDbStorage: the first one to lock it may write; the next one when that one is closed', {
  skip: !('locks' in navigator) && 'this Node has no locks',
}, async () => {
  const [one, other, third] = [locking('locked'), locking('locked'), locking('locked')];
  await one.locked;
  const order: string[] = [];
  const second = other.locked?.then(() => order.push('second'));
  const ended = assert.rejects(third.locked ?? Promise.resolve(), { name: 'AbortError' });
  third.closing.abort();
  await ended;
  order.push('first is closed');
  one.closing.abort();
  await second;
  assert.deepEqual(order, ['first is closed', 'second']);
  other.closing.abort();
  const last = locking('locked');
  await last.locked;
  last.closing.abort();
});

/** Asks for the lock of a storage of this name, as a mirror does. */
function locking(name: string, storage = indexedDbStorage(name)) {
  const closing = new AbortController();
  return { storage, closing, locked: storage.lock?.(closing.signal) };
}

test('indexedDbStorage: of two mirrors with one storage object, the close of one leaves the other its turn', {
  skip: !('locks' in navigator) && 'this Node has no locks',
}, async () => {
  const storage = indexedDbStorage('object');
  const [one, other] = [locking('object', storage), locking('object', storage)];
  await one.locked;
  await storage.save(REPLACE);
  const [loading, closing] = [storage.load(), storage.close()];
  one.closing.abort();
  assert.equal((await loading)?.position, 'p1');
  await Promise.all([closing, other.locked]);
  await storage.save({ ...REPLACE, position: 'p2' });
  const third = locking('object', storage);
  third.closing.abort();
  await assert.rejects(third.locked ?? Promise.resolve(), { name: 'AbortError' });
  await storage.close();
  // The lock is still that of the other one.
  assert.deepEqual(
    (await navigator.locks.query()).held?.map(({ name }) => name),
    ['psyncd:object'],
  );
  other.closing.abort();
  await storage.close();
});

test('indexedDbStorage: a database that is deleted while it is open is created again', async () => {
  const storage = indexedDbStorage('deleted');
  await storage.save(REPLACE);
  await new Promise((resolve, reject) => {
    const deleting = indexedDB.deleteDatabase('psyncd:deleted');
    deleting.onsuccess = resolve;
    deleting.onerror = reject;
  });
  const patch = { kind: 'patch', scope: 's', base: 'p1', position: 'p2', put: [], remove: [] } as const;
  await assert.rejects(storage.save(patch), StorageConflict);
  assert.equal(await storage.load(), null);
  await storage.save(REPLACE);
  assert.equal((await storage.load())?.position, 'p1');
  await storage.close();
});

test('indexedDbStorage: a copy stays stored when the right to it has gone, until the page deletes it', async (t) => {
  const history = abc();
  const revoked = { type: 'error', code: 'FORBIDDEN', detail: 'revoked' };
  const feed = await scriptedFeed(t, (index) => (index === 0 ? history.from(undefined) : [revoked, 4403]));
  const opened = () => mirror({ url: feed.url, storage: indexedDbStorage('ada') });
  const first = opened();
  await first.ready;
  await first.close();
  const second = opened();
  await assert.rejects(second.ready, { code: 'FORBIDDEN' });
  assert.equal(second.state.kind, 'failed');
  assert.ok(second.size > 0, 'the next user of the browser would see them');
  await second.close();

  await new Promise((resolve, reject) => {
    const deleting = indexedDB.deleteDatabase('psyncd:ada');
    deleting.onsuccess = resolve;
    deleting.onerror = reject;
  });
  const storage = indexedDbStorage('ada');
  assert.equal(await storage.load(), null);
  await storage.close();
});

test('indexedDbStorage: a connection that the browser has lost without an event is replaced', async (t) => {
  const storage = indexedDbStorage('lost');
  await storage.save(REPLACE);
  type Begin = (...args: unknown[]) => unknown;
  const { IDBDatabase } = globalThis as unknown as { IDBDatabase: { prototype: { transaction: Begin } } };
  const { transaction } = IDBDatabase.prototype;
  let lost: unknown;
  t.mock.method(IDBDatabase.prototype, 'transaction', function (this: unknown, ...args: unknown[]) {
    lost ??= this;
    if (lost === this) throw new DOMException('the connection was lost', 'InvalidStateError');
    return transaction.apply(this, args);
  });
  await assert.rejects(async () => storage.load(), /the connection was lost/);
  assert.equal((await storage.load())?.position, 'p1');
  await storage.save(REPLACE);
  await storage.close();
});

test('the check of a stored copy rests before the page would notice, and needs no timer, which a hidden page slows down', async (t) => {
  // Each entry takes a millisecond.
  let now = 0;
  t.mock.method(performance, 'now', () => now);
  // The timers of a hidden page ring late; here they never ring.
  t.mock.timers.enable({ apis: ['setTimeout'] });
  let turn = 0;
  let turns: NodeJS.Immediate;
  const next = (): void => {
    turn += 1;
    turns = setImmediate(next);
  };
  next();
  t.after(() => clearImmediate(turns));
  const inTurn = new Map<number, number>();
  function* entries(): Generator<Entry> {
    for (let count = 0; count < 100; count += 1) {
      now += 1;
      inTurn.set(turn, (inTurn.get(turn) ?? 0) + 1);
      yield entry(`key ${count}`);
    }
  }
  const position = `${'a'.repeat(40)}:1`;
  const stored = { scope: 's', position, entries: entries() };
  const copy = await checkedCopy(stored, ['key '], new AbortController().signal);
  assert.equal(copy.entries.size, 100);
  assert.ok(inTurn.size > 1 && Math.max(...inTurn.values()) < 50, `${[...inTurn.values()]}`);
});
