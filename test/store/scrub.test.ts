/** The scrub of a keyspace file: what it finds, what it lets pass, and that a scrub stops when it is told to. */
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test, { type TestContext } from 'node:test';
import Database from 'better-sqlite3';
import type { Scrubbed } from '../../src/node/ports/keyspace.ts';
import { scrub } from '../../src/store/checks/scrub.ts';
import { entryChecksum } from '../../src/store/keyspace/entry-checksum.ts';
import { migrate } from '../../src/store/migrate.ts';
import { temporaryFolder } from '../support/cluster.ts';
import { flippedSeparator, pageOf, rootOf, separatorIn } from '../support/damage.ts';

const ENTRIES = 1_000;

/**
 * A file with short and long values, entries that expire, free pages, and something in the WAL or not.
 * @param vacuum `NONE`: as an older psyncd has made it
 */
async function keyspace(t: TestContext, vacuum: 'INCREMENTAL' | 'NONE' = 'INCREMENTAL'): Promise<string> {
  const path = join(await temporaryFolder(t), 'keyspace-1.db');
  const db = new Database(path);
  db.pragma(`auto_vacuum = ${vacuum}`);
  db.pragma('journal_mode = WAL');
  migrate(db, 'keyspace', path);
  const insert = db.prepare(
    'INSERT INTO entries (key, value, version, expires_at, checksum) VALUES (?, ?, ?, ?, ?)',
  );
  const insertLarge = db.prepare('INSERT INTO large_values (id, value) VALUES (?, ?)');
  const put = (key: string, size: number, version: number, expiresAt: number | null): void => {
    const value = Buffer.alloc(size, key);
    insert.run(key, value, version, expiresAt, entryChecksum(key, value, version, expiresAt));
  };
  db.transaction(() => {
    for (let index = 0; index < ENTRIES; index += 1) {
      put(`key/${String(index).padStart(4, '0')}`, 100, index + 1, index % 3 === 0 ? 4e12 + index : null);
    }
    for (const [index, key] of ['\ufffe', '\u{1f600}', 'long'].entries()) {
      const value = Buffer.alloc(50_000, key);
      const version = ENTRIES + 1 + index;
      insertLarge.run(version, value);
      insert.run(key, Buffer.alloc(0), version, null, entryChecksum(key, value, version, null));
    }
    for (let index = 0; index < 100; index += 1) put(`temporary/${index}`, 900, ENTRIES + 10, 4e12);
    insert.run('from before there were checksums', Buffer.from('x'), 1, null, null);
  })();
  db.prepare("DELETE FROM entries WHERE key LIKE 'temporary/%'").run();
  db.close();
  return path;
}

function scrubbed(path: string, stop = 0): Scrubbed {
  const db = new Database(path, { readonly: true });
  try {
    return scrub(db, new Int32Array(new SharedArrayBuffer(4)).fill(stop));
  } finally {
    db.close();
  }
}

/** Changes a page of a closed file. */
function changed(path: string, page: number, change: (bytes: Buffer) => void): void {
  const { at, length } = pageOf(path, page);
  const bytes = readFileSync(path);
  change(bytes.subarray(at, at + length));
  writeFileSync(path, bytes);
}

for (const vacuum of ['INCREMENTAL', 'NONE'] as const) {
  test(`a scrub of an undamaged file looks at all of it, also at what is still in the WAL (auto_vacuum ${vacuum})`, async (t) => {
    const path = await keyspace(t, vacuum);
    assert.deepEqual(scrubbed(path), { finished: true, entries: ENTRIES + 4 });
    const writer = new Database(path);
    writer.prepare("DELETE FROM entries WHERE key < 'key/05'").run();
    assert.deepEqual(scrubbed(path), { finished: true, entries: ENTRIES / 2 + 3 });
    writer.prepare('DELETE FROM entries').run();
    assert.deepEqual(scrubbed(path), { finished: true, entries: 0 });
    // More than one page says what the others are.
    const large = writer.prepare('INSERT INTO large_values (id, value) VALUES (?, zeroblob(2000000))');
    for (let id = 1; id <= 5; id += 1) large.run(id);
    assert.deepEqual(scrubbed(path), { finished: true, entries: 0 });
    writer.close();
  });
}

test('a scrub stops when it is told to', async (t) => {
  assert.deepEqual(scrubbed(await keyspace(t), 1), { finished: false, entries: 0 });
});

test('a scrub finds a page that misleads searches', async (t) => {
  const path = await keyspace(t);
  const lost = flippedSeparator(path);
  const db = new Database(path);
  assert.equal(db.prepare('SELECT 1 FROM entries WHERE key = ?').get(lost), undefined);
  db.close();
  assert.throws(() => scrubbed(path), { code: 'SQLITE_CORRUPT' });
});

test('a scrub finds a pointer to the wrong page of the tree', async (t) => {
  const path = await keyspace(t);
  // The pointer to the rightmost page becomes that of the first cell.
  changed(path, rootOf(path, 'entries'), (page) =>
    page.copy(page, 8, page.readUInt16BE(12), page.readUInt16BE(12) + 4),
  );
  assert.throws(() => scrubbed(path), { code: 'SQLITE_CORRUPT', message: /page \d+ is used twice/ });
});

test('a scrub finds an entry that is missing from the expiry index', async (t) => {
  const path = await keyspace(t);
  changed(path, rootOf(path, 'entries_by_expiry'), (page) => {
    page.write('kez/', separatorIn(page), 'latin1');
  });
  assert.throws(() => scrubbed(path), { code: 'SQLITE_CORRUPT', message: /is not found by its expiry/ });
});

test('a scrub finds a flipped bit of a value', async (t) => {
  const path = await keyspace(t);
  const bytes = readFileSync(path);
  const at = bytes.indexOf('key/0500key/0500');
  bytes[at + 20] = (bytes[at + 20] as number) ^ 1;
  writeFileSync(path, bytes);
  assert.throws(() => scrubbed(path), { code: 'SQLITE_CORRUPT', message: /is not what was written/ });
});

test('a scrub finds that a large value is missing', async (t) => {
  const path = await keyspace(t);
  const db = new Database(path);
  db.prepare('DELETE FROM large_values WHERE id = ?').run(ENTRIES + 2);
  db.close();
  assert.throws(() => scrubbed(path), { code: 'SQLITE_CORRUPT', message: /is not what was written/ });
});

test('a scrub finds a page of zeros', async (t) => {
  const path = await keyspace(t);
  const db = new Database(path);
  const leaf = db
    .prepare("SELECT pageno FROM dbstat WHERE name = 'entries' AND pagetype = 'leaf' LIMIT 1")
    .pluck();
  const page = leaf.get() as number;
  db.close();
  changed(path, page, (bytes) => bytes.fill(0));
  assert.throws(() => scrubbed(path), { code: 'SQLITE_CORRUPT' });
});
