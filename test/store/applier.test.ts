/** The applier: what it writes is the state at the position, and no row of `entries` goes beyond its page. */
import assert from 'node:assert/strict';
import { readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import Database, { type Database as Connection } from 'better-sqlite3';
import fc from 'fast-check';
import { ChunkPool } from '../../src/keyspace/overlay/chunk-pool.ts';
import { Overlay } from '../../src/keyspace/overlay/overlay.ts';
import { offset } from '../../src/replication/position.ts';
import { Applier } from '../../src/store/keyspace/applier.ts';
import { verifyEntry } from '../../src/store/keyspace/entry-checksum.ts';
import { numberOf, prepareKeyspace } from '../../src/store/keyspace/keyspace-schema.ts';
import { migrate } from '../../src/store/migrate.ts';
import type { Command } from '../../src/stream/command.ts';
import { after, type Keyspace, runId } from '../support/arbitraries.ts';
import { temporaryFolder } from '../support/cluster.ts';

const RUN_ID = runId('a');
const NOTHING: Keyspace = new Map();
/** Short ones and a long one, so that the limit is met by values of both kinds. */
const KEYS = ['a', 'b', 'ключ', 'k'.repeat(512)];
const SIZES = [0, 1, 100, 447, 448, 449, 950, 951, 952, 953, 958, 959, 960, 1_100, 4_096, 50_000];

const anySize = fc.constantFrom(...SIZES);
const anyKey = fc.constantFrom(...KEYS);
const anyCommand: fc.Arbitrary<Command> = fc.oneof(
  {
    weight: 8,
    arbitrary: fc.record({
      kind: fc.constant('set' as const),
      key: anyKey,
      value: fc.tuple(anySize, fc.nat(255)).map(([size, fill]) => Buffer.alloc(size, fill)),
      expiresAt: fc.constantFrom(null, 4e12),
    }),
  },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('del' as const), keys: fc.tuple(anyKey) }) },
  {
    weight: 2,
    arbitrary: fc.record({
      kind: fc.constant('expire-at' as const),
      key: anyKey,
      expiresAt: fc.constant(4e12),
    }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('persist' as const), key: anyKey }) },
  { weight: 1, arbitrary: fc.constant<Command>({ kind: 'flush-all' }) },
);

type Row = [
  key: string,
  value: Buffer,
  size: number,
  version: number,
  expiresAt: number | null,
  checksum: number,
];

function stateOf(db: Connection): Keyspace {
  const rows = db
    .prepare<[], Row>(
      'SELECT key, value, size, version, expires_at, checksum FROM whole_entries ORDER BY key',
    )
    .raw()
    .all();
  return new Map(
    rows.map(([key, value, size, version, expiresAt, checksum]) => {
      verifyEntry(key, value, version, expiresAt, checksum);
      assert.equal(size, value.length);
      return [key, { value, version, expiresAt }];
    }),
  );
}

function sorted(state: Keyspace): Keyspace {
  return new Map([...state].sort(([left], [right]) => Buffer.compare(Buffer.from(left), Buffer.from(right))));
}

/** A new file, as the applier's thread makes it. */
function fresh(path = ':memory:'): Connection {
  const db = new Database(path);
  prepareKeyspace(db, path, { runId: RUN_ID, offset: offset(0) });
  return db;
}

/** So many pages of `entries` hold nothing but what does not fit into a row's page. */
function pagesBeyond(db: Connection): unknown {
  return db
    .prepare("SELECT count(*) FROM dbstat WHERE name = 'entries' AND pagetype = 'overflow'")
    .pluck()
    .get();
}

test('after each commit the file holds the state at its position: no value of a replaced entry is left, no row is larger than a page takes', () => {
  const stretches = fc.array(fc.array(anyCommand, { minLength: 1, maxLength: 12 }), {
    minLength: 1,
    maxLength: 6,
  });
  fc.assert(
    fc.property(stretches, (all) => {
      const db = fresh();
      try {
        const applier = new Applier(db);
        const overlay = new Overlay(new ChunkPool(() => 2 ** 20));
        let state = NOTHING;
        let at = 0;
        for (const commands of all) {
          for (const command of commands) {
            at += 10;
            const below = state;
            overlay.apply(command, at, (key) => below.get(key) ?? null);
            state = after(state, command, at);
          }
          overlay.seal(at);
          applier.flush({ runId: RUN_ID, offset: offset(at) }, overlay.sealed);
          overlay.applied(at);
          assert.deepEqual(stateOf(db), sorted(state));
          const large = db.prepare('SELECT id FROM large_values ORDER BY id').pluck().all();
          const needed = [...state.entries()]
            .filter(([key, { value }]) => Buffer.byteLength(key) + value.length > 960)
            .map(([, { version }]) => version);
          assert.deepEqual(
            large,
            needed.sort((left, right) => left - right),
          );
          assert.equal(pagesBeyond(db), 0);
        }
      } finally {
        db.close();
      }
    }),
    { numRuns: 150 },
  );
});

test('pages of deleted entries are freed a few at a time, not while the file is frozen, and the file gets shorter once no old state is read', async (t) => {
  const path = join(await temporaryFolder(t), 'keyspace-1.db');
  const db = fresh(path);
  t.after(() => db.close());
  const applier = new Applier(db);
  const overlay = new Overlay(new ChunkPool(() => 2 ** 25));
  const keys = Array.from({ length: 20_000 }, (_, index) => `key${index}`);
  let at = 0;
  const flush = (commands: readonly Command[]): void => {
    for (const command of commands) {
      at += 1;
      overlay.apply(command, at, () => null);
    }
    overlay.seal(at);
    applier.flush({ runId: RUN_ID, offset: offset(at) }, overlay.sealed);
    overlay.applied(at);
  };
  const pages = (what: 'page_count' | 'freelist_count'): number => numberOf(db, what);

  flush(keys.map((key) => ({ kind: 'set', key, value: Buffer.alloc(500, key), expiresAt: null })));
  flush([{ kind: 'set', key: 'large', value: Buffer.alloc(2 ** 22), expiresAt: null }]);
  assert.equal(applier.tidy(), false);
  db.pragma('wal_checkpoint(TRUNCATE)');
  const full = statSync(path).size;
  flush([{ kind: 'del', keys: [...keys.slice(2_000), 'large'] }]);
  applier.freeze();
  assert.equal(applier.tidy(), false);
  assert.equal(full, pages('page_count') * 4_096);
  assert.ok(pages('freelist_count') > (3 / 4) * pages('page_count'));
  applier.thaw();
  const state = stateOf(db);

  const reader = new Database(path, { readonly: true });
  t.after(() => reader.close());
  reader.exec('BEGIN');
  const seen = reader.prepare('SELECT count(*) FROM entries').pluck();
  assert.equal(seen.get(), 2_000);
  while (applier.tidy());
  assert.ok(pages('freelist_count') <= 1_024);
  assert.ok(pages('page_count') * 4_096 < full / 2);
  assert.deepEqual(stateOf(db), state);
  assert.equal(statSync(path).size, full);
  assert.equal(seen.get(), 2_000);
  reader.exec('COMMIT');
  assert.equal(applier.tidy(), false);
  assert.equal(statSync(path).size, pages('page_count') * 4_096);
  assert.deepEqual(stateOf(db), state);
  assert.equal(db.pragma('integrity_check', { simple: true }), 'ok');
});

test('a file from before there were `large_values` holds the same after the migration', async (t) => {
  const path = join(await temporaryFolder(t), 'keyspace-1.db');
  const db = new Database(path);
  t.after(() => db.close());
  for (const name of ['001-initial', '002-expiry-index', '003-entry-checksum']) {
    db.exec(readFileSync(new URL(`../../migrations/keyspace/${name}.sql`, import.meta.url), 'utf8'));
  }
  db.pragma(`application_id = ${0x70737901}`);
  db.pragma('user_version = 3');
  const insert = db.prepare('INSERT INTO entries (key, value, version, expires_at) VALUES (?, ?, ?, ?)');
  const held = SIZES.map((size, index): [string, Buffer, number, number | null] => [
    `k${index}`.padEnd(index % 2 === 0 ? 10 : 400, '-'),
    Buffer.alloc(size, `${index}`),
    100 + index,
    index % 3 === 0 ? 4e12 : null,
  ]);
  for (const row of held) insert.run(...row);
  assert.notEqual(pagesBeyond(db), 0);
  assert.equal(migrate(db, 'keyspace', path), false);
  assert.equal(pagesBeyond(db), 0);
  const read = db.prepare('SELECT key, value, version, expires_at FROM whole_entries WHERE key = ?').raw();
  for (const row of held) assert.deepEqual(read.get(row[0]), row);
});
