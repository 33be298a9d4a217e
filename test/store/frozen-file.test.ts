/** A frozen keyspace file: byte for byte what a checkpoint would have made of it at that moment, whatever is written meanwhile. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { copyFileSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { open as openFile } from 'node:fs/promises';
import { join } from 'node:path';
import test, { type TestContext } from 'node:test';
import Database, { type Database as Connection } from 'better-sqlite3';
import { offset } from '../../src/replication/position.ts';
import { copyFrozen } from '../../src/store/copies/copy-task.ts';
import { Applier } from '../../src/store/keyspace/applier.ts';
import { FrozenBytes, type FrozenPages } from '../../src/store/keyspace/frozen-file.ts';
import { prepareKeyspace } from '../../src/store/keyspace/keyspace-schema.ts';
import { runId } from '../support/arbitraries.ts';
import { temporaryFolder } from '../support/cluster.ts';
import { seeded } from '../support/random.ts';

const PART_BYTES = 64 * 1024;

async function keyspace(t: TestContext): Promise<{ path: string; db: Connection; applier: Applier }> {
  const path = join(await temporaryFolder(t), 'keyspace-1.db');
  const db = new Database(path);
  t.after(() => db.close());
  prepareKeyspace(db, path, { runId: runId('a'), offset: offset(1) });
  return { path, db, applier: new Applier(db) };
}

async function bytesOf(path: string, pages: FrozenPages, meanwhile: () => void): Promise<Buffer> {
  const file = await openFile(path, 'r');
  const frozen = new FrozenBytes(path, file, pages);
  const parts: Buffer[] = [];
  try {
    for (let at = 0; at < frozen.length; at += PART_BYTES) {
      meanwhile();
      const part = Buffer.alloc(Math.min(PART_BYTES, frozen.length - at), 'not read');
      await frozen.read(at, part);
      parts.push(part);
    }
  } finally {
    frozen.close();
    await file.close();
  }
  await assert.rejects(frozen.read(0, Buffer.alloc(4_096)), /not frozen any more|closed/);
  return Buffer.concat(parts);
}

/** Copies the frozen file on a thread. @returns the hash that the thread has computed; null: it was stopped */
async function copied(path: string, pages: FrozenPages, to: string, stopped = false): Promise<string | null> {
  const file = await openFile(path, 'r');
  const copying = copyFrozen({ path, file: file.fd, pages, to });
  if (stopped) copying.stop();
  try {
    return await copying.done;
  } finally {
    await file.close();
  }
}

function sha256Of(bytes: Buffer): string {
  return createHash('sha256').update(bytes).digest('hex');
}

/** What a checkpoint makes of the file and its WAL. */
function checkpointed(path: string): Buffer {
  for (const suffix of ['', '-wal']) copyFileSync(path + suffix, `${path}.copy${suffix}`);
  const copy = new Database(`${path}.copy`);
  copy.pragma('wal_checkpoint(TRUNCATE)');
  const bytes = readFileSync(`${path}.copy`);
  copy.close();
  return bytes;
}

test('a frozen file has the bytes of its commit, in file or WAL, and later commits change none of them', async (t) => {
  const { path, db, applier } = await keyspace(t);
  const { seed, random } = seeded();
  t.diagnostic(`PSYNCD_SEED=${seed}`);
  const below = (end: number): number => Math.floor(random() * end);
  const put = db.prepare('INSERT OR REPLACE INTO entries (key, value, version) VALUES (?, ?, 1)');
  const drop = db.prepare('DELETE FROM entries WHERE key < ?');
  const change = db.transaction((writes: number) => {
    for (let count = 0; count < writes; count += 1) put.run(`${below(5_000)}`, Buffer.alloc(below(900), 'v'));
    if (below(3) === 0) drop.run(`${below(5_000)}`);
  });
  const reader = new Database(path, { readonly: true });
  t.after(() => reader.close());
  change(3_000);
  for (let round = 0; round < 12; round += 1) {
    // All of it moved into the file, a part because somebody reads an older state, or nothing.
    const before = round % 4;
    if (before === 1) db.pragma('wal_checkpoint(TRUNCATE)');
    if (before === 2) db.pragma('wal_checkpoint(PASSIVE)');
    if (before === 3) {
      reader.exec('BEGIN');
      reader.prepare('SELECT count(*) FROM entries').get();
      change(200);
      db.pragma('wal_checkpoint(PASSIVE)');
    }
    if (below(4) > 0) change(1 + below(300));
    if (below(4) === 0) db.exec('PRAGMA incremental_vacuum');
    const expected = checkpointed(path);
    const pages = applier.freeze();
    const bytes = await bytesOf(path, pages, () => change(20));
    assert.equal(await copied(path, pages, `${path}.${round}`), sha256Of(expected));
    assert.equal(Buffer.compare(readFileSync(`${path}.${round}`), expected), 0, `copy ${round}`);
    assert.equal(bytes.length, expected.length);
    assert.equal(Buffer.compare(bytes, expected), 0, `round ${round}`);
    applier.thaw();
    if (reader.inTransaction) reader.exec('COMMIT');
  }
});

test('a copy that is stopped says so, and one to a path that is taken fails and changes nothing', async (t) => {
  const { path, applier } = await keyspace(t);
  const pages = applier.freeze();
  assert.equal(await copied(path, pages, `${path}.stopped`, true), null);
  writeFileSync(`${path}.taken`, 'mine');
  await assert.rejects(copied(path, pages, `${path}.taken`), { code: 'EEXIST' });
  assert.equal(readFileSync(`${path}.taken`, 'utf8'), 'mine');
  assert.equal(statSync(`${path}.stopped`).mode & 0o777, 0o600);
  applier.thaw();
});
