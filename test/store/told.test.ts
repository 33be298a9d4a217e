/** What clients and other nodes are told of a failure has nothing of the keys and values that it is about, whatever they are. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import Database, { type Database as Connection } from 'better-sqlite3';
import { Refusal } from '../../src/keyspace/refusal.ts';
import { asProblem } from '../../src/node/feed/feed-problems.ts';
import { DamagedSnapshot, StorageError, toldOf } from '../../src/node/ports/failures.ts';
import { Problem, storageProblem } from '../../src/node/problem.ts';
import { offset, type Position } from '../../src/replication/position.ts';
import { inspect } from '../../src/store/checks/inspect.ts';
import { PlainFile } from '../../src/store/checks/page-source.ts';
import { scrub } from '../../src/store/checks/scrub.ts';
import { damage, entryChecksum, verifyEntry } from '../../src/store/keyspace/entry-checksum.ts';
import { FileFailures } from '../../src/store/keyspace/file-failures.ts';
import { IncomingFile } from '../../src/store/keyspace/incoming-file.ts';
import { prepareKeyspace, writePosition } from '../../src/store/keyspace/keyspace-schema.ts';
import { DamageError } from '../../src/store/start-error.ts';
import { storageFailure } from '../../src/store/storage-failure.ts';
import { StreamDecoder } from '../../src/stream/decoder.ts';
import { runId } from '../support/arbitraries.ts';
import { temporaryFolder } from '../support/cluster.ts';
import { seeded } from '../support/random.ts';

const END: Position = { runId: runId('a'), offset: offset(1_000_000) };
/** Characters at which a text could be cut, or that a text escapes, and others. */
const CHARACTERS = [
  '"',
  "'",
  '/',
  '\\',
  '\n',
  '\t',
  ' ',
  ' /',
  " '",
  ': ',
  ', ',
  'Ж',
  '\u{1f600}',
  'Q',
  'W',
  'X',
  'Z',
];
/** So many characters of a key in a row tell something of it. */
const TELLING = 4;

function randomKey(random: () => number): string {
  const length = TELLING + Math.floor(random() * 30);
  return Array.from({ length }, () => CHARACTERS[Math.floor(random() * CHARACTERS.length)]).join('');
}

/** @throws AssertionError if a part of the key is in the text, as it is or as JSON writes it */
function hides(told: string, key: string, what: string): void {
  for (const spelled of [key, JSON.stringify(key).slice(1, -1)]) {
    for (let at = 0; at + TELLING <= spelled.length; at += 1) {
      const part = spelled.slice(at, at + TELLING);
      assert.ok(!told.includes(part), `${what}: ${JSON.stringify(part)} is in ${JSON.stringify(told)}`);
    }
  }
}

function failureOf(act: () => unknown): unknown {
  try {
    act();
  } catch (error) {
    return error;
  }
  return assert.fail('nothing was thrown');
}

/** An entry that is not what a node writes: its version, expiry or checksum. */
interface Wrong {
  readonly version?: number;
  readonly expiresAt?: number;
  readonly checksum?: number;
  readonly value?: number;
}
const WRONG: readonly Wrong[] = [
  { checksum: 7 },
  { version: END.offset + 1 },
  { expiresAt: -1 },
  { value: 1_200 },
];

/** A keyspace file with one entry. @returns its path */
function fileWith(folder: string, key: string, wrong: Wrong): string {
  const path = join(folder, `keyspace-${Math.random()}.db`);
  const db = new Database(path);
  prepareKeyspace(db, path, { runId: END.runId, offset: offset(1) });
  const value = Buffer.alloc(wrong.value ?? 3, 'v');
  const version = wrong.version ?? 5;
  const expiresAt = wrong.expiresAt ?? null;
  const checksum = wrong.checksum ?? entryChecksum(key, value, version, expiresAt);
  db.prepare('INSERT INTO entries (key, value, version, expires_at, checksum) VALUES (?, ?, ?, ?, ?)').run(
    key,
    value,
    version,
    expiresAt,
    checksum,
  );
  writePosition(db, END);
  db.pragma('journal_mode = DELETE');
  db.close();
  return path;
}

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

/** Errors about the key, with its text in all places where an error may have one. */
function errorsAbout(key: string): readonly unknown[] {
  const system = `ENOENT: no such file or directory, open '/data/${key}'`;
  return [
    failureOf(() => verifyEntry(key, Buffer.from('v'), 1, null, 0)),
    failureOf(() => JSON.parse(`{${key}`)),
    failureOf(() => new Database(':memory:').exec(`SELECT * FROM "${key.replaceAll('"', '""')}"`)),
    new Error(key),
    new Error(`cannot do it: ${JSON.stringify(key)}`),
    new TypeError(key),
    new DamageError(`/data/x is damaged: the entry ${JSON.stringify(key)} is not what was written`),
    new Refusal('NOT_FOUND', `there is no key ${JSON.stringify(key)}`),
    new Problem('NOT_FOUND', `there is no key ${JSON.stringify(key)}`),
    Object.assign(new Error(system), { code: 'ENOENT', syscall: 'open' }),
    Object.assign(new Error(`EIO: ${key}, read`), { code: 'EIO', syscall: 'read' }),
    Object.assign(new Error(key), { code: key }),
    Object.assign(new Error(key), { code: 'SQLITE_CORRUPT' }),
    damage(`the entry ${key} is not what was written`, 'an entry is not what was written'),
    key,
    { message: key },
  ];
}

test('no error tells others four characters of the key that it is about', async (t) => {
  const { seed, random } = seeded();
  t.diagnostic(`PSYNCD_SEED=${seed}`);
  for (let round = 0; round < 200; round += 1) {
    const key = randomKey(random);
    for (const error of errorsAbout(key)) {
      hides(toldOf(error), key, 'told');
      const failures = [storageFailure(error), new FileFailures('/data/x', () => undefined).of(error)];
      for (const failure of failures) {
        hides(failure.message, key, 'a failure of the disk');
        hides(toldOf(failure), key, 'a failure of the disk, told');
        hides(storageProblem(failure).message, key, 'an answer');
        hides(asProblem(failure).message, key, 'the end of a feed');
      }
    }
  }
});

test('what a check finds wrong with an entry tells others nothing of its key', async (t) => {
  const { seed, random } = seeded();
  t.diagnostic(`PSYNCD_SEED=${seed}`);
  const folder = await temporaryFolder(t);
  for (let round = 0; round < 10; round += 1) {
    for (const wrong of WRONG) {
      const key = randomKey(random);
      const path = fileWith(folder, key, wrong);
      const found = failureOf(() =>
        inspect({ path, pages: new PlainFile(path), position: END, opened: reading(path) }, () => false),
      );
      assert.match(toldOf(found), /^the entry "…" /);
      hides(toldOf(found), key, 'a snapshot');
      if (wrong.checksum === undefined) continue;
      const stop = new Int32Array(new SharedArrayBuffer(Int32Array.BYTES_PER_ELEMENT));
      const scrubbed = failureOf(() => reading(path)((db) => scrub(db, stop)));
      assert.equal(toldOf(scrubbed), 'the entry "…" is not what was written');
    }
  }
});

test('a snapshot with a damaged entry is refused without its key, whatever the key is', async (t) => {
  const { seed, random } = seeded();
  t.diagnostic(`PSYNCD_SEED=${seed}`);
  const folder = await temporaryFolder(t);
  for (const [index, key] of ['patient Ada Lovelace /diagnosis', randomKey(random)].entries()) {
    const bytes = readFileSync(fileWith(folder, key, { checksum: 7 }));
    const file = await IncomingFile.create(join(folder, `arriving-${index}.db`), index, bytes.length);
    await file.write([bytes]);
    const error = await file.finish(END, null).then(
      () => assert.fail('it was taken'),
      (thrown: unknown) => thrown,
    );
    assert.ok(error instanceof DamagedSnapshot);
    assert.equal(toldOf(error), 'it is damaged: the entry "…" is not what was written');
    await file.discard();
  }
});

test('bytes that are no stream are refused without them', (t) => {
  const { seed, random } = seeded();
  t.diagnostic(`PSYNCD_SEED=${seed}`);
  for (let round = 0; round < 200; round += 1) {
    const key = randomKey(random);
    const length = Buffer.byteLength(key);
    for (const bytes of [
      key,
      `*${key}\r\n`,
      `*2\r\n$${key}\r\n`,
      `*2\r\n$3\r\nDEL\r\n$${length}\r\n${key}!!`,
      `*2\r\n$${length}\r\n${key}\r\n$1\r\na\r\n`,
      `*3\r\n$3\r\nSET\r\n$${length}\r\n${key}\r\n:1\r\n`,
    ]) {
      try {
        new StreamDecoder().push(Buffer.from(bytes));
      } catch (error) {
        hides(String(error), key, 'a stream');
      }
    }
  }
});

test('a failure of the system or of the disk is told with its code', () => {
  const full = Object.assign(new Error("ENOSPC: no space left on device, open '/data/x'"), {
    code: 'ENOSPC',
    syscall: 'open',
  });
  assert.equal(toldOf(full), 'ENOSPC: no space left on device, open');
  assert.equal(toldOf(new StorageError('no space left on the device', true)), 'no space left on the device');
  assert.equal(toldOf(new TypeError('x')), 'the log of the node says more');
});
