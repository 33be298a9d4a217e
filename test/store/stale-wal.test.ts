/**
 * A keyspace file and a WAL from different moments: what is taken for one state is one; what a process leaves that ends at
 * any moment is always taken.
 */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { existsSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import Database, { type Database as Connection } from 'better-sqlite3';
import { ChunkPool } from '../../src/keyspace/overlay/chunk-pool.ts';
import { Overlay } from '../../src/keyspace/overlay/overlay.ts';
import { offset } from '../../src/replication/position.ts';
import { Applier } from '../../src/store/keyspace/applier.ts';
import { MARK_SCHEMA, prepareKeyspace, writePosition } from '../../src/store/keyspace/keyspace-schema.ts';
import { isWalStale } from '../../src/store/stale-wal.ts';
import { runId } from '../support/arbitraries.ts';
import { temporaryFolder } from '../support/cluster.ts';
import { seeded } from '../support/random.ts';

const RUN_ID = runId('a');
const STEPS = 80;
const PAIRS = 200;
const PAGE_BYTES = 4_096;
const SECTOR_BYTES = 512;

/** What lay on the disk at one moment. */
interface Moment {
  readonly file: Buffer;
  /** Null: there was none. */
  readonly wal: Buffer | null;
  /** What SQLite read there. */
  readonly contents: string;
}

function contentsOf(db: Connection): string {
  const hash = createHash('sha256');
  for (const row of db.prepare('SELECT * FROM whole_entries ORDER BY key').raw().iterate())
    hash.update(JSON.stringify(row));
  return `${JSON.stringify(db.prepare('SELECT * FROM position').raw().all())} ${hash.digest('hex')}`;
}

/** A keyspace file whose process may end at any moment: the files are moved then, as they lie there. */
class Stage {
  readonly moments: Moment[] = [];
  /** The same states, but with a file that a killed checkpoint has left. */
  readonly torn: Moment[] = [];
  readonly #folder: string;
  readonly #random: () => number;
  readonly #overlay = new Overlay(new ChunkPool(() => 2 ** 20));
  #number = 0;
  #at = 0;
  #db: Connection;
  #applier: Applier;
  #reader: Connection | null = null;

  constructor(folder: string, random: () => number) {
    this.#folder = folder;
    this.#random = random;
    this.#db = this.#opened(true);
    this.#applier = new Applier(this.#db);
    this.moments.push(this.#moment());
  }

  step(): void {
    const chance = this.#random();
    if (chance < 0.55) this.#flush();
    else if (chance < 0.6) this.#applier.tidy();
    else if (chance < 0.8) this.#checkpoint();
    else if (chance < 0.86) this.#read();
    else if (chance < 0.93) this.#kill();
    else this.#stop();
    this.moments.push(this.#moment());
  }

  end(): void {
    this.#reader?.close();
    this.#db.close();
  }

  #below(end: number): number {
    return Math.floor(this.#random() * end);
  }

  get #path(): string {
    return join(this.#folder, `stage-${this.#number}.db`);
  }

  #opened(anew: boolean): Connection {
    assert.equal(isWalStale(this.#path, MARK_SCHEMA), false);
    const db = new Database(this.#path);
    prepareKeyspace(db, this.#path, anew ? { runId: RUN_ID, offset: offset(0) } : null);
    return db;
  }

  #flush(): void {
    for (let writes = 1 + this.#below(60); writes > 0; writes -= 1) {
      this.#at += 10;
      const key = `key/${this.#below(400)}`;
      const value = Buffer.alloc(this.#below(this.#below(10) === 0 ? 9_000 : 300), `${this.#at}`);
      if (this.#below(4) === 0) this.#overlay.apply({ kind: 'del', keys: [key] }, this.#at, () => null);
      else this.#overlay.apply({ kind: 'set', key, value, expiresAt: null }, this.#at, () => null);
    }
    this.#overlay.seal(this.#at);
    this.#applier.flush({ runId: RUN_ID, offset: offset(this.#at) }, this.#overlay.sealed);
    this.#overlay.applied(this.#at);
  }

  /** Moves what readers allow into the file; and tears the file as a process would that is killed meanwhile. */
  #checkpoint(): void {
    const before = this.#moment();
    this.#db.pragma('wal_checkpoint(PASSIVE)');
    const after = this.#moment();
    if (after.file.equals(before.file)) return;
    for (let count = 0; count < 4; count += 1) {
      const pages = this.#below(after.file.length / PAGE_BYTES);
      // The machine may lose its power within a page.
      const end = pages * PAGE_BYTES + (this.#below(2) === 0 ? this.#below(8) * SECTOR_BYTES : 0);
      const file = Buffer.concat([after.file.subarray(0, end), before.file.subarray(end)]);
      this.torn.push({ ...before, file });
    }
  }

  /** Begins or ends a long read. */
  #read(): void {
    if (this.#reader === null) {
      this.#reader = new Database(this.#path, { readonly: true });
      this.#reader.exec('BEGIN');
      this.#reader.prepare('SELECT count(*) FROM entries').get();
    } else this.#forgetReader();
  }

  #forgetReader(): void {
    this.#reader?.close();
    this.#reader = null;
  }

  #kill(): void {
    const { file, wal } = this.#moment();
    this.#forgetReader();
    this.#db.close();
    this.#number += 1;
    put(this.#path, file, wal);
    this.#begin();
  }

  #stop(): void {
    this.#forgetReader();
    this.#db.close();
    this.#begin();
  }

  #begin(): void {
    this.#db = this.#opened(false);
    this.#applier = new Applier(this.#db);
  }

  #moment(): Moment {
    const wal = `${this.#path}-wal`;
    const hasWal = existsSync(wal) && statSync(wal).size > 0;
    return {
      file: readFileSync(this.#path),
      wal: hasWal ? readFileSync(wal) : null,
      contents: contentsOf(this.#db),
    };
  }
}

function put(path: string, file: Buffer, wal: Buffer | null): void {
  for (const suffix of ['-wal', '-shm']) rmSync(path + suffix, { force: true });
  writeFileSync(path, file);
  if (wal !== null) writeFileSync(`${path}-wal`, wal);
}

/** @returns what SQLite reads in them, or what it says */
function read(path: string): string {
  const db = new Database(path, { readonly: true });
  try {
    assert.equal(db.pragma('quick_check', { simple: true }), 'ok');
    return contentsOf(db);
  } catch (error) {
    return String(error);
  } finally {
    db.close();
  }
}

test('whenever a process ends, its file and WAL are taken; of different moments only what is one state is', async (t) => {
  const folder = await temporaryFolder(t);
  const { seed, random } = seeded();
  t.diagnostic(`PSYNCD_SEED=${seed}`);
  const stage = new Stage(folder, random);
  for (let step = 0; step < STEPS; step += 1) stage.step();
  stage.end();
  const { moments, torn } = stage;
  const path = join(folder, 'pair.db');
  for (const { file, wal, contents } of [...moments, ...torn]) {
    put(path, file, wal);
    assert.equal(isWalStale(path, MARK_SCHEMA), false);
    assert.equal(read(path), contents);
  }
  // A file into which a part of its WAL was moved is no state by itself: whoever copies it copies both.
  const states = new Set(moments.map(({ contents }) => contents));
  const whole = moments.filter(({ file }) => {
    put(path, file, null);
    return states.has(read(path));
  });
  let refused = 0;
  const withWal = moments.filter(({ wal }) => wal !== null);
  const any = (from: readonly Moment[]): Moment => from[Math.floor(random() * from.length)] as Moment;
  for (let count = 0; count < PAIRS; count += 1) {
    const { file } = any(whole);
    const { wal, contents } = any(withWal);
    put(path, file, wal);
    if (isWalStale(path, MARK_SCHEMA)) {
      refused += 1;
      assert.ok(readFileSync(path).equals(file) && readFileSync(`${path}-wal`).equals(wal as Buffer));
    } else assert.equal(read(path), contents, `pair ${count}`);
  }
  t.diagnostic(
    `${whole.length} of ${moments.length} files are whole; ${refused} of ${PAIRS} pairs were refused`,
  );
  assert.ok(refused > PAIRS / 4, `${refused} were refused`);
});

test('a file from before there were marks: its WAL with the migration is taken, a later one is refused', async (t) => {
  const path = join(await temporaryFolder(t), 'keyspace-1.db');
  const db = new Database(path);
  t.after(() => db.close());
  const names = ['001-initial', '002-expiry-index', '003-entry-checksum', '004-large-values'];
  for (const name of [...names, '005-position-checksum'])
    db.exec(readFileSync(new URL(`../../migrations/keyspace/${name}.sql`, import.meta.url), 'utf8'));
  db.pragma(`application_id = ${0x70737901}`);
  db.pragma('user_version = 5');
  writePosition(db, { runId: RUN_ID, offset: offset(1) });
  db.pragma('journal_mode = WAL');
  const before = readFileSync(path);
  prepareKeyspace(db, path, null);
  const pair = `${path}.pair`;
  put(pair, before, readFileSync(`${path}-wal`));
  assert.equal(isWalStale(pair, MARK_SCHEMA), false);
  assert.equal(read(pair), contentsOf(db));

  db.pragma('wal_checkpoint(TRUNCATE)');
  new Applier(db).flush({ runId: RUN_ID, offset: offset(2) }, []);
  put(pair, before, readFileSync(`${path}-wal`));
  assert.equal(isWalStale(pair, MARK_SCHEMA), true);
  put(pair, readFileSync(path), readFileSync(`${path}-wal`));
  assert.equal(isWalStale(pair, MARK_SCHEMA), false);
});
