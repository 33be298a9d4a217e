/** A snapshot is a file of somebody else: whatever is wrong with it, it does not replace what the replica has. */
import assert from 'node:assert/strict';
import { readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import test from 'node:test';
import Database, { type Database as Connection } from 'better-sqlite3';
import type { ChildNode } from '../../src/cli/child-node.ts';
import { until } from '../../src/cli/until.ts';
import { entryChecksum } from '../../src/store/keyspace/entry-checksum.ts';
import { positionChecksum } from '../../src/store/keyspace/keyspace-schema.ts';
import { Cluster, linkState, textOf } from '../support/cluster.ts';
import { movePosition, rootOf } from '../support/damage.ts';
import { scriptedMaster } from '../support/scripted-master.ts';

const LARGE_BYTES = 50_000;
/** As large as the messages of a real master. */
const PART_BYTES = 256 * 1024;

interface Mutation {
  readonly what: string;
  /** What the replica says. */
  readonly refusal: RegExp;
  readonly change?: (db: Connection, end: number) => void;
  /** After that, with the root page of the table `entries`. */
  readonly spoil?: (file: Buffer, entriesRoot: number, pageSize: number) => Buffer;
}

/** Adds an entry, as psyncd would if it let it in. */
function put(
  db: Connection,
  key: string | Buffer,
  version: number,
  more: Partial<Record<'value', Buffer> & Record<'expiresAt' | 'checksum', number>> = {},
): void {
  const value = more.value ?? Buffer.from('v');
  const expiresAt = more.expiresAt ?? null;
  const checksum = more.checksum ?? entryChecksum(key.toString(), value, version, expiresAt);
  db.prepare(
    'INSERT INTO entries (key, value, version, expires_at, checksum) VALUES (CAST(? AS TEXT), ?, ?, ?, ?)',
  ).run(key, value, BigInt(version), expiresAt === null ? null : BigInt(expiresAt), checksum);
}

function anotherView(columns: string): (db: Connection) => void {
  return (db) => db.exec(`DROP VIEW whole_entries; CREATE VIEW whole_entries AS ${columns}`);
}

const OTHER_SCHEMA = /snapshot: it is damaged: its schema has what psyncd's has not: /;
const OTHER_PAGES = /snapshot: it is damaged: /;

const MUTATIONS: readonly Mutation[] = [
  {
    what: 'a trigger that deletes everything',
    change: (db) => db.exec('CREATE TRIGGER t AFTER INSERT ON entries BEGIN DELETE FROM entries; END'),
    refusal: /its schema has what psyncd's has not: trigger "…"/,
  },
  {
    what: 'a view that lies',
    change: anotherView("SELECT key, version, expires_at, checksum, x'00' AS value, 1 AS size FROM entries"),
    refusal: /its schema has not psyncd's view "…", but another/,
  },
  {
    what: 'a view that never ends',
    change: anotherView(
      `WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i FROM n)
       SELECT '' || i AS key, i AS version, NULL AS expires_at, NULL AS checksum, x'00' AS value, 1 AS size FROM n WHERE i > 1`,
    ),
    refusal: /its schema has not psyncd's view "…", but another/,
  },
  {
    what: 'a view whose difference hides between quotes and comments',
    change: (db) => {
      const row = db
        .prepare("SELECT sql FROM sqlite_schema WHERE name = 'whole_entries'")
        .pluck()
        .get() as string;
      db.exec(
        `DROP VIEW whole_entries; ${row.replace('value) ELSE', "value) /* ' */ + 0 /* ' */ ELSE")}`.replace(
          'ELSE value END',
          "ELSE value /* '*/ || '--' /* ' */ END",
        ),
      );
    },
    refusal: /its schema has not psyncd's view "…", but another/,
  },
  {
    what: 'a foreign table',
    change: (db) => db.exec('CREATE TABLE photos (name TEXT)'),
    refusal: OTHER_SCHEMA,
  },
  {
    what: 'another index',
    change: (db) => db.exec('CREATE INDEX i ON entries (version)'),
    refusal: OTHER_SCHEMA,
  },
  {
    what: 'another column',
    change: (db) => db.exec('ALTER TABLE entries ADD COLUMN x INTEGER'),
    refusal: /its schema has not psyncd's table "…", but another/,
  },
  {
    what: 'no index of expiries',
    change: (db) => db.exec('DROP INDEX entries_by_expiry'),
    refusal: /its schema has no index "entries_by_expiry"/,
  },
  {
    what: 'the number of another schema',
    change: (db) => db.pragma('user_version = 3'),
    refusal: /the master's keyspace has schema 3/,
  },
  {
    what: 'the mark of another program',
    change: (db) => db.pragma('application_id = 1'),
    refusal: /is no keyspace file of psyncd/,
  },
  { what: 'an empty key', change: (db, end) => put(db, '', end), refusal: /a key is empty/ },
  {
    what: 'a key of 1,025 bytes',
    change: (db, end) => put(db, 'k'.repeat(1_025), end),
    refusal: /a key has more than 1024 bytes/,
  },
  {
    what: 'a key of a megabyte',
    change: (db, end) => put(db, 'k'.repeat(2 ** 20), end),
    refusal: /a row has \d+ bytes; \d+ are the most/,
  },
  {
    what: 'a key that is not UTF-8',
    change: (db, end) => put(db, Buffer.from([0x78, 0xff]), end),
    refusal: /has a key that is not UTF-8/,
  },
  {
    what: 'a key that is not UTF-8 and as long as what it becomes',
    change: (db, end) => put(db, Buffer.from([0x78, 0xf0, 0x9f, 0x98]), end),
    refusal: /has a key that is not UTF-8/,
  },
  {
    what: 'a version beyond the position',
    change: (db, end) => put(db, 'late', end + 1),
    refusal: /"…" has the version \d+, but the position is/,
  },
  { what: 'a version of 0', change: (db) => put(db, 'early', 0), refusal: /"…" has the version 0/ },
  {
    what: 'a version that no number can hold',
    change: (db) => put(db, 'huge', 2 ** 60),
    refusal: /"…" has the version/,
  },
  {
    what: 'an expiry before all times',
    change: (db, end) => put(db, 'past', end, { expiresAt: -1 }),
    refusal: /"…" expires at -1/,
  },
  {
    what: 'an expiry that no number can hold',
    change: (db, end) => put(db, 'never', end, { expiresAt: 2 ** 60 }),
    refusal: /"…" expires at/,
  },
  {
    what: 'an entry whose checksum is wrong',
    change: (db, end) => put(db, 'spoilt', end, { checksum: 1 }),
    refusal: /the entry "…" is not what was written/,
  },
  {
    what: 'a value that is too large',
    change: (db) => db.exec(`UPDATE large_values SET value = zeroblob(${16 * 2 ** 20 + 1})`),
    refusal: /has a value of more than 16777216 bytes/,
  },
  {
    what: 'a large value among small ones',
    change: (db, end) => put(db, 'wide', end, { value: Buffer.alloc(2_000) }),
    refusal: /"…" has a large value where only small ones are/,
  },
  {
    what: 'a large value that belongs to nobody',
    change: (db, end) => db.exec(`INSERT INTO large_values VALUES (${end}, x'00')`),
    refusal: /there are 3 large values, but 2 belong to entries/,
  },
  {
    what: 'a large value that belongs to two',
    change: (db) => {
      const [id, value] = db.prepare('SELECT id, value FROM large_values').raw().get() as [number, Buffer];
      put(db, 'shares', id, { value: Buffer.alloc(0), checksum: entryChecksum('shares', value, id, null) });
    },
    refusal: /there are 2 large values, but 3 belong to entries/,
  },
  {
    what: 'another position',
    change: (db) => movePosition(db, -1),
    refusal: /it is at [0-9a-f]+:\d+, announced was/,
  },
  {
    what: 'a position without its checksum',
    change: (db) => db.exec('UPDATE position SET checksum = NULL'),
    refusal: /it is damaged: the table position holds [0-9a-f]+:\d+, which is not what was written/,
  },
  { what: 'half of the file', spoil: (file) => file.subarray(0, file.length / 2), refusal: OTHER_PAGES },
  {
    what: 'a b-tree whose page is its own child',
    spoil: (file, root, size) => innerPage(file, root, size, root),
    refusal: /it is damaged: page \d+ is used twice/,
  },
  {
    what: 'a table of tables that goes round in circles',
    spoil: (file) => {
      file[100] = 5;
      file.writeUInt16BE(0, 103);
      file.writeUInt32BE(1, 108);
      return file;
    },
    refusal: /it is damaged: page 1 is used twice/,
  },
  {
    what: 'two entries in the wrong order',
    spoil: (file, root, size) => {
      const pointers = (root - 1) * size + 8;
      const [first, second] = [file.readUInt16BE(pointers), file.readUInt16BE(pointers + 2)];
      file.writeUInt16BE(second, pointers);
      file.writeUInt16BE(first, pointers + 2);
      return file;
    },
    refusal: /the entry "…" is out of order/,
  },
  {
    what: 'an expiry that stands in the table only',
    spoil: (file) => {
      // Twice: in the row of the table, and in that of the index, where the key comes behind it.
      const index = [file.indexOf('expires'), file.lastIndexOf('expires')].find(
        (each) => file.toString('latin1', each + 7, each + 11) !== 'late',
      ) as number;
      file.write('expirez', index);
      return file;
    },
    refusal: OTHER_PAGES,
  },
  {
    what: 'a row that claims a gigabyte',
    spoil: (file, root, size) => {
      const page = (root - 1) * size;
      const cell = page + file.readUInt16BE(page + 8);
      file.set([0x84, 0x80, 0x80, 0x80, 0x00], cell);
      return file;
    },
    refusal: OTHER_PAGES,
  },
  {
    what: 'free pages that are in use',
    spoil: (file, root) => {
      file.writeUInt32BE(root, 32);
      file.writeUInt32BE(1, 36);
      return file;
    },
    refusal: /it is damaged: page \d+ is used twice/,
  },
];

/** Makes of the page an inner one without cells, and with one child. */
function innerPage(file: Buffer, page: number, size: number, child: number): Buffer {
  const at = (page - 1) * size;
  file[at] = 2;
  file.writeUInt16BE(0, at + 3);
  file.writeUInt32BE(child, at + 8);
  return file;
}

interface Source {
  readonly path: string;
  readonly runId: string;
  readonly offset: number;
}

/** A keyspace file with everything that there is: small and large values, expiries, odd keys, a row without a checksum. */
async function goodSnapshot(cluster: Cluster): Promise<Source> {
  const source = await cluster.start('source');
  for (const key of ['a', 'b', '\ufffd', '\u{1f600}', 'nul\u0000', 'k'.repeat(1_024)])
    await source.client.set(key, `value of ${key}`);
  await source.client.set('expires', 'late', { ttl: 1e6 });
  await source.client.set('empty', '');
  await source.client.set('large', 'x'.repeat(LARGE_BYTES));
  // Deleted: its version is free.
  await source.client.delete('b');
  const { runId, offset } = await source.client.replication();
  await source.stop();
  const path = join(cluster.data('source'), 'keyspace-1.db');
  const db = new Database(path);
  db.exec("UPDATE entries SET checksum = NULL WHERE key = 'a'");
  db.close();
  return { path, runId, offset };
}

async function mutated({ path, offset }: Source, { change, spoil }: Mutation): Promise<Buffer> {
  const copy = `${path}.copy`;
  await writeFile(copy, await readFile(path));
  const db = new Database(copy);
  change?.(db, offset);
  const size = db.pragma('page_size', { simple: true }) as number;
  db.close();
  const root = rootOf(copy, 'entries');
  const file = await readFile(copy);
  await rm(copy);
  return spoil?.(file, root, size) ?? file;
}

function utf16({ runId, offset }: Source, path: string): Connection {
  const db = new Database(path);
  db.pragma("encoding = 'UTF-16le'");
  const good = new Database(join(path, '..', 'keyspace-1.db'), { readonly: true });
  for (const sql of good.prepare('SELECT sql FROM sqlite_schema').pluck().all() as string[]) db.exec(sql);
  for (const name of ['user_version', 'application_id'])
    db.pragma(`${name} = ${good.pragma(name, { simple: true })}`);
  good.close();
  db.prepare('INSERT INTO position VALUES (1, ?, ?, ?)').run(
    runId,
    offset,
    positionChecksum({ runId, offset }),
  );
  return db;
}

test('a replica says what is wrong with a snapshot, keeps its data, and asks again', async (t) => {
  const cluster = await Cluster.create(t);
  const source = await goodSnapshot(cluster);
  const replica = await cluster.start('replica');
  await replica.client.set('old', 'data');
  const { position } = await replica.client.replication();
  const offer = async (file: Buffer): Promise<Awaited<ReturnType<typeof scriptedMaster>>> => {
    const master = await scriptedMaster(t, (socket) => {
      socket.send(Buffer.from(`+FULLRESYNC ${source.runId} ${source.offset} forced\r\n$${file.length}\r\n`));
      for (let at = 0; at < file.length; at += PART_BYTES) socket.send(file.subarray(at, at + PART_BYTES));
    });
    await replica.client.replicaOf(master.wsUrl);
    return master;
  };
  const refuses = async (what: string, file: Buffer, refusal: RegExp): Promise<void> => {
    const { wsUrl, requests } = await offer(file);
    const detail = await until(`${what} is refused`, async () => detailOf(replica, wsUrl));
    assert.match(detail, refusal, what);
    assert.equal((await replica.client.replication()).position, position, what);
    assert.equal(await textOf(replica, 'old'), 'data');
    if (what === 'a foreign table') await until('it asks again', () => requests.length >= 2);
  };
  for (const mutation of MUTATIONS) {
    await refuses(mutation.what, await mutated(source, mutation), mutation.refusal);
  }
  const other = `${source.path}.utf16`;
  utf16(source, other).close();
  await refuses('UTF-16', await readFile(other), /its text is in UTF-16le, not in UTF-8/);

  await offer(await readFile(source.path));
  await linkState(replica, 'streaming');
  assert.equal(await textOf(replica, 'large'), 'x'.repeat(LARGE_BYTES));
  assert.equal(await textOf(replica, 'old'), null);
  assert.equal((await replica.client.digest()).keys, 8);
});

async function detailOf(node: ChildNode, wsUrl: string): Promise<string | null> {
  const { upstream } = await node.client.replication();
  return upstream?.url === wsUrl && upstream.detail?.startsWith('snapshot:') === true
    ? upstream.detail
    : null;
}
