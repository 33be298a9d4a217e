/** One bit of a keyspace file is flipped, anywhere: no copy of it that holds something else than was written gets past the check. */
import assert from 'node:assert/strict';
import {
  closeSync,
  copyFileSync,
  existsSync,
  openSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import test, { type TestContext } from 'node:test';
import Database, { type Database as Connection } from 'better-sqlite3';
import type { Digest } from '../../src/node/ports/keyspace.ts';
import { offset, type Position } from '../../src/replication/position.ts';
import { digestOf } from '../../src/store/checks/digest.ts';
import { expectPosition, type Inspection, inspect } from '../../src/store/checks/inspect.ts';
import { PlainFile } from '../../src/store/checks/page-source.ts';
import { Applier } from '../../src/store/keyspace/applier.ts';
import { entryChecksum } from '../../src/store/keyspace/entry-checksum.ts';
import { FrozenPageSource } from '../../src/store/keyspace/frozen-file.ts';
import { prepareKeyspace, writePosition } from '../../src/store/keyspace/keyspace-schema.ts';
import { runId } from '../support/arbitraries.ts';
import { temporaryFolder } from '../support/cluster.ts';
import { seeded } from '../support/random.ts';

const ROUNDS = 120;
const END: Position = { runId: runId('a'), offset: offset(1_000_000) };

/** Writes small and large entries, some of which expire, and deletes many, so that there are free pages. */
function fill(db: Connection): void {
  const insert = db.prepare(
    'INSERT INTO entries (key, value, version, expires_at, checksum) VALUES (?, ?, ?, ?, ?)',
  );
  const large = db.prepare('INSERT INTO large_values (id, value) VALUES (?, ?)');
  const put = (key: string, value: Buffer, version: number, expiresAt: number | null): void => {
    const isLarge = value.length > 900;
    if (isLarge) large.run(version, value);
    const checksum = entryChecksum(key, value, version, expiresAt);
    insert.run(key, isLarge ? Buffer.alloc(0) : value, version, expiresAt, checksum);
  };
  db.transaction(() => {
    for (let index = 0; index < 400; index += 1) {
      const expiresAt = index % 5 === 0 ? 4e12 + index : null;
      put(
        `key/${String(index).padStart(4, '0')}`,
        Buffer.alloc(index % 300, `${index}`),
        index + 1,
        expiresAt,
      );
    }
    for (let index = 0; index < 3; index += 1)
      put(`large/${index}`, Buffer.alloc(20_000, `${index}`), 1_000 + index, null);
    for (let index = 0; index < 60; index += 1)
      put(`temporary/${index}`, Buffer.alloc(800), 2_000 + index, null);
    db.exec("DELETE FROM entries WHERE key LIKE 'temporary/%'");
    writePosition(db, END);
  })();
}

interface Stage {
  readonly path: string;
  readonly db: Connection;
  readonly applier: Applier;
}

/** Flips a bit that the numbers choose. @returns where */
function flip(path: string, random: () => number): string {
  const at = Math.floor(random() * statSync(path).size);
  const bit = Math.floor(random() * 8);
  const bytes = readFileSync(path);
  bytes[at] = (bytes[at] as number) ^ (1 << bit);
  writeFileSync(path, bytes);
  return `bit ${bit} of byte ${at} (page ${Math.floor(at / 4_096) + 1}, byte ${at % 4_096} of it)`;
}

/** Opens the file anew for each use, as a thread does. */
function reading(path: string): <T>(use: (db: Connection) => T) => T {
  return (use) => {
    const db = new Database(path, { readonly: true });
    try {
      return use(db);
    } finally {
      db.close();
    }
  };
}

/** What a replica says of the file: null if it takes it, or else what is wrong. */
function refusal(path: string): string | null {
  try {
    const found = inspect(
      { path, pages: new PlainFile(path), position: END, opened: reading(path) },
      () => false,
    );
    expectPosition((found as Inspection).position, END, 'announced');
    return null;
  } catch (error) {
    return String(error);
  }
}

/** Sends what is frozen, as a snapshot: to a file. @returns what a replica and the master itself say of it */
function sent({ path, applier }: Stage): {
  readonly replica: string | null;
  readonly master: string | null;
} {
  const pages = applier.freeze();
  const file = openSync(path, 'r');
  const source = new FrozenPageSource(path, file, pages);
  try {
    const bytes = Buffer.alloc(source.bytes);
    for (let at = 0; at < bytes.length; at += pages.pageSize)
      source.read(at, bytes.subarray(at, at + pages.pageSize));
    writeFileSync(`${path}.sent`, bytes);
    let master: string | null = null;
    try {
      const own = new FrozenPageSource(path, file, pages);
      inspect({ path, pages: own, position: pages.position, opened: reading(path) }, () => false);
    } catch (error) {
      master = String(error);
    }
    return { replica: refusal(`${path}.sent`), master };
  } finally {
    source.close();
    closeSync(file);
    applier.thaw();
  }
}

function digestIn(path: string): Digest {
  const db = new Database(path, { readonly: true });
  try {
    return digestOf(db);
  } finally {
    db.close();
  }
}

async function whole(t: TestContext): Promise<string> {
  const path = join(await temporaryFolder(t), 'whole.db');
  const db = new Database(path);
  prepareKeyspace(db, path, { runId: runId('a'), offset: offset(1) });
  fill(db);
  db.close();
  return path;
}

function opened(path: string): Stage {
  const db = new Database(path);
  try {
    prepareKeyspace(db, path, null);
    return { path, db, applier: new Applier(db) };
  } catch (error) {
    db.close();
    throw error;
  }
}

for (const [where, isOpen] of [
  ['a file that nobody has open', false],
  ['a file that is open', true],
] as const) {
  test(`one flipped bit of ${where}: what arrives is what was written, or replica and master refuse it`, async (t) => {
    const good = await whole(t);
    const expected = digestIn(good);
    const { seed, random } = seeded();
    t.diagnostic(`PSYNCD_SEED=${seed}`);
    const path = `${good}.copy`;
    let refused = 0;
    for (let round = 0; round < ROUNDS; round += 1) {
      for (const suffix of ['', '-wal', '-shm']) rmSync(path + suffix, { force: true });
      copyFileSync(good, path);
      const before = isOpen ? opened(path) : null;
      const what = flip(path, random);
      let stage: Stage;
      try {
        stage = before ?? opened(path);
      } catch {
        // The master does not start with it.
        refused += 1;
        continue;
      }
      const { replica, master } = sent(stage);
      stage.db.close();
      if (replica === null) assert.deepEqual(digestIn(`${path}.sent`), expected, what);
      else {
        refused += 1;
        assert.ok(
          master !== null || replica.includes('announced was'),
          `${what}: only the replica says ${replica}`,
        );
      }
    }
    assert.ok(refused > ROUNDS / 10, `${refused} were refused`);
  });
}

test('one flipped bit that makes of the checksum of an entry the time at which it expires is found', async (t) => {
  const path = await whole(t);
  const bytes = readFileSync(path);
  // Header of the row `key/0137`: its length, and the types of key, value (137 bytes), version and expiry (none).
  const header = bytes.indexOf(Buffer.from([0x07, 0x1d, 0x82, 0x1e, 0x02, 0x00]));
  assert.notEqual(header, -1);
  // A number of two bytes now, which takes in the type of the checksum.
  bytes[header + 5] = 0x80;
  writeFileSync(path, bytes);
  const db = new Database(path, { readonly: true });
  const row = db.prepare("SELECT expires_at IS NULL, checksum IS NULL FROM entries WHERE key = 'key/0137'");
  assert.deepEqual(row.raw().get(), [0, 1]);
  db.close();
  assert.match(String(refusal(path)), /there are 80 expiries, but 81 belong to entries/);
});

test('one flipped bit of the WAL of a file that is open: what arrives is what was written, or it is refused', async (t) => {
  const good = await whole(t);
  const { seed, random } = seeded();
  t.diagnostic(`PSYNCD_SEED=${seed}`);
  const path = `${good}.copy`;
  for (let round = 0; round < ROUNDS; round += 1) {
    for (const suffix of ['', '-wal', '-shm']) rmSync(path + suffix, { force: true });
    copyFileSync(good, path);
    const stage = opened(path);
    const update = stage.db.prepare('UPDATE entries SET value = ?, checksum = ? WHERE key = ?');
    for (let index = 1; index < 40; index += 7) {
      const key = `key/${String(index).padStart(4, '0')}`;
      const value = Buffer.from(`new ${round}`);
      update.run(value, entryChecksum(key, value, index + 1, index % 5 === 0 ? 4e12 + index : null), key);
    }
    const expected = digestOf(stage.db);
    const isHeader = round % 2 === 0;
    // Half of the flips hit the few bytes that say which page a frame holds, and its sums.
    const wal = readFileSync(`${path}-wal`);
    const frame = 32 + Math.floor(random() * Math.floor((wal.length - 32) / 4_120)) * 4_120;
    const at = frame + Math.floor(random() * (isHeader ? 24 : 4_120));
    wal[at] = (wal[at] as number) ^ (1 << Math.floor(random() * 8));
    writeFileSync(`${path}-wal`, wal);
    const { replica, master } = sent(stage);
    stage.db.close();
    if (replica === null) assert.deepEqual(digestIn(`${path}.sent`), expected, `byte ${at}`);
    else assert.ok(master !== null, `byte ${at}: only the replica says ${replica}`);
  }
  assert.ok(existsSync(`${path}.sent`));
});
