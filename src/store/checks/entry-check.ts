/**
 * Checks every entry of a keyspace file that another node wrote, before the file replaces anything. An entry that this
 * node would never have written must not enter by way of a snapshot.
 *
 * The check decodes the rows of `entries` itself, from the bytes of the pages: SQLite spends most of its time on
 * handing rows over (measured: 200,000 entries take 0.1 s here and 0.8 s as rows of a SELECT). Rules over more than one
 * row are left to SQLite, in queries that return no rows.
 */
import { isUtf8 } from 'node:buffer';
import { crc32 } from 'node:zlib';
import type { Database } from 'better-sqlite3';
import { MAX_KEY_BYTES } from '../../keyspace/key.ts';
import { MAX_VALUE_BYTES } from '../../keyspace/write.ts';
import type { Offset } from '../../replication/position.ts';
import { damage, entryDamage, verifyEntry } from '../keyspace/entry-checksum.ts';
import { MAX_ROW_BYTES } from '../keyspace/keyspace-schema.ts';
import type { RowVisitor } from './page-walk.ts';
import { LONG_BYTES, shortSum } from './row-sum.ts';
import { varint } from './varint.ts';

/**
 * Number of columns: key, value, version, expires_at, checksum. Rows from before there were checksums lack the last
 * one.
 */
const COLUMNS = 5;
/** Serial types of SQLite's record format (https://www.sqlite.org/fileformat2.html#record_format). */
const NULL = 0;
const INTEGER_BYTES: readonly (number | undefined)[] = [undefined, 1, 2, 3, 4, 6, 8];
const ZERO = 8;
const ONE = 9;
const FIRST_BLOB = 12;
/** Space for the version, expiry and punctuation that an entry's checksum covers, in bytes. */
const PREFIX_BYTES = 64;
const SPACE = 0x20;
const DIGIT_0 = 0x30;
/** What an entry's checksum has between key and value. */
const LINE_END = Buffer.from('\n');

/**
 * Checks the rows of the table `entries` and their order; `checkTables` checks values that are stored in
 * `large_values`.
 */
export class RowCheck implements RowVisitor {
  readonly root: number;
  readonly rowBytes = MAX_KEY_BYTES + MAX_ROW_BYTES + 64;
  readonly #end: Offset;
  /** Serial type and start of each column of the current row. */
  readonly #types = new Float64Array(COLUMNS);
  readonly #starts = new Uint32Array(COLUMNS + 1);
  readonly #prefix = Buffer.alloc(PREFIX_BYTES);
  /** The place after the last number that `#number` decoded. */
  #numberEnd = 0;
  /** The previous key, in the first `#lastBytes` bytes; -1: there is none. */
  readonly #last = Buffer.alloc(MAX_KEY_BYTES);
  #lastBytes = -1;
  #entries = 0;
  #expiring = 0;
  #empty = 0;

  /**
   * @param root first page of the table
   * @param end offset of the file's position; no entry may have a later version
   */
  constructor(root: number, end: Offset) {
    this.root = root;
    this.#end = end;
  }

  /** Number of rows seen so far. */
  get entries(): number {
    return this.#entries;
  }

  /** Number of rows seen so far that have an expiry. */
  get expiring(): number {
    return this.#expiring;
  }

  /** Number of rows seen so far without a value: it is empty, or in `large_values`. */
  get empty(): number {
    return this.#empty;
  }

  begin(after: Buffer | null): void {
    this.#lastBytes = after?.copy(this.#last) ?? -1;
  }

  lastKey(): Buffer {
    return Buffer.from(this.#last.subarray(0, this.#lastBytes));
  }

  end(before: Buffer | null): void {
    if (before !== null && !this.#isBefore(before, 0, before.length)) {
      throw entryDamage(before.toString(), 'is out of order');
    }
  }

  /** @throws Error with SQLite's code for damage; the message says what is wrong */
  row(record: Buffer, start: number, end: number): void {
    this.#entries += 1;
    this.#split(record, start, end);
    const [key, value] = [this.#starts[0] as number, this.#starts[1] as number];
    const version = this.#starts[2] as number;
    if (!isBlob(this.#types[0], 1) || !isBlob(this.#types[1], 0))
      throw damage('an entry is not of a key and a value');
    if (value === key) throw damage('a key is empty');
    if (value - key > MAX_KEY_BYTES) throw damage(`a key has more than ${MAX_KEY_BYTES} bytes`);
    if (!isText(record, key, value)) throw this.#wrong(record, 'has a key that is not UTF-8');
    if (!this.#isBefore(record, key, value)) throw this.#wrong(record, 'is out of order');
    this.#lastBytes = record.copy(this.#last, 0, key, value);
    if (version - value > MAX_ROW_BYTES)
      throw this.#wrong(record, 'has a large value where only small ones are');
    const [number, expiresAt, checksum] = [
      this.#integer(record, 2),
      this.#integer(record, 3),
      this.#integer(record, 4),
    ];
    if (number === null || !Number.isSafeInteger(number) || number < 1 || number > this.#end) {
      throw this.#wrong(record, `has the version ${number}, but the position is ${this.#end}`);
    }
    if (expiresAt !== null && (!Number.isSafeInteger(expiresAt) || expiresAt < 0)) {
      throw this.#wrong(record, `expires at ${expiresAt}`);
    }
    if (expiresAt !== null) this.#expiring += 1;
    if (version === value) this.#empty += 1;
    // An empty value may be a placeholder for a value in `large_values`: `checkTables` checks those.
    if (checksum === null || version === value) return;
    if (checksum !== this.#checksum(record, number, expiresAt))
      throw this.#wrong(record, 'is not what was written');
  }

  /** Whether the previous key sorts before the key in these bytes. */
  #isBefore(bytes: Buffer, from: number, to: number): boolean {
    const last = this.#last;
    const common = Math.min(this.#lastBytes, to - from);
    for (let index = 0; index < common; index += 1) {
      const difference = (last[index] as number) - (bytes[from + index] as number);
      if (difference !== 0) return difference < 0;
    }
    return this.#lastBytes < to - from;
  }

  /** Finds type and start of each column. */
  #split(record: Buffer, start: number, end: number): void {
    const headerEnd = start + this.#number(record, start);
    if (headerEnd > end) throw damage('a row has no whole header');
    let next = headerEnd;
    for (let column = 0; column < COLUMNS; column += 1) {
      const type = this.#numberEnd < headerEnd ? this.#number(record, this.#numberEnd) : NULL;
      this.#types[column] = type;
      this.#starts[column] = next;
      next += bytesOf(type);
    }
    this.#starts[COLUMNS] = next;
    if (this.#numberEnd !== headerEnd || next !== end)
      throw damage('a row is longer or shorter than its columns');
  }

  /** Decodes the same as `varint`, without an object for each number. `#numberEnd` becomes the place after it. */
  #number(record: Buffer, at: number): number {
    const first = record[at] as number;
    if (first < 0x80) {
      this.#numberEnd = at + 1;
      return first;
    }
    const second = record[at + 1] ?? 0x80;
    if (second < 0x80) {
      this.#numberEnd = at + 2;
      return (first & 0x7f) * 128 + second;
    }
    const { value, end } = varint(record, at);
    this.#numberEnd = end;
    return value;
  }

  /** @returns the integer; null for SQL NULL; NaN for any other type */
  #integer(record: Buffer, column: number): number | null {
    const type = this.#types[column] as number;
    const at = this.#starts[column] as number;
    if (type === NULL) return null;
    if (type === ZERO || type === ONE) return type - ZERO;
    const bytes = INTEGER_BYTES[type];
    if (bytes === undefined) return Number.NaN;
    if (bytes === 8) return Number(record.readBigInt64BE(at));
    let value = ((record[at] as number) << 24) >> 24;
    for (let index = 1; index < bytes; index += 1) value = value * 256 + (record[at + index] as number);
    return value;
  }

  /** Computes the same checksum as `entryChecksum`, from the bytes of the row. */
  #checksum(record: Buffer, version: number, expiresAt: number | null): number {
    const [key, value, end] = [
      this.#starts[0] as number,
      this.#starts[1] as number,
      this.#starts[2] as number,
    ];
    const prefix = this.#prefix;
    let length = putNumber(prefix, 0, version);
    prefix[length] = SPACE;
    length += 1;
    if (expiresAt !== null) length = putNumber(prefix, length, expiresAt);
    prefix[length] = SPACE;
    let sum = shortSum(prefix, 0, length + 1, 0);
    sum = partSum(record, key, value, sum);
    sum = shortSum(LINE_END, 0, LINE_END.length, sum);
    return partSum(record, value, end, sum);
  }

  #wrong(record: Buffer, what: string): Error {
    return entryDamage(record.toString('utf8', this.#starts[0], this.#starts[1]), what);
  }
}

/** @param text 1 for text, 0 for bytes */
function isBlob(type: number | undefined, text: 0 | 1): boolean {
  return type !== undefined && type >= FIRST_BLOB && type % 2 === text;
}

function bytesOf(type: number): number {
  return type >= FIRST_BLOB
    ? Math.floor((type - FIRST_BLOB) / 2)
    : type === 7
      ? 8
      : (INTEGER_BYTES[type] ?? 0);
}

/** @returns the CRC-32 of the bytes before `from`, whose sum is given, and those up to `to` */
function partSum(bytes: Buffer, from: number, to: number, sum: number): number {
  return to - from < LONG_BYTES ? shortSum(bytes, from, to, sum) : crc32(bytes.subarray(from, to), sum);
}

/**
 * Writes a whole number from 0 in decimal digits, without making a string.
 * @returns the place after the last digit
 */
function putNumber(into: Buffer, at: number, value: number): number {
  let end = at + 1;
  for (let left = value; left >= 10; left = Math.floor(left / 10)) end += 1;
  for (let place = end - 1, left = value; place >= at; place -= 1) {
    const rest = Math.floor(left / 10);
    into[place] = DIGIT_0 + left - 10 * rest;
    left = rest;
  }
  return end;
}

/** Whether the bytes are UTF-8. Most keys are short and ASCII, so that case comes first. */
function isText(bytes: Buffer, from: number, to: number): boolean {
  for (let at = from; at < to; at += 1) {
    if ((bytes[at] as number) >= 0x80) return isUtf8(bytes.subarray(at, to));
  }
  return true;
}

type LargeRow = [
  key: string,
  version: number,
  expiresAt: number | null,
  checksum: number | null,
  id: number | null,
  value: Buffer | null,
];

/**
 * Checks the values in `large_values`, and that neither it nor the index holds rows without an entry.
 * @param rows has seen all rows of `entries` in this state of the file, and what it has counted need not be searched for again; null:
 *   it has seen another state
 * @param isStopped asked at each entry whose value is in `large_values`
 * @returns false if the check was stopped
 * @throws Error with SQLite's code for damage; the message says what is wrong
 */
export function checkTables(
  db: Database,
  rows: Pick<RowCheck, 'empty' | 'expiring'> | null,
  isStopped: () => boolean,
): boolean {
  const large = rows?.empty === 0 ? 0 : largeValues(db, isStopped);
  if (large === null) return false;
  // A row without an entry would collide with a later entry of the same key.
  expectCount(db, large, 'large values', 'SELECT count(*) FROM large_values');
  // The sign keeps SQLite from the index; NOT INDEXED has no effect on a table WITHOUT ROWID.
  const expiring = rows?.expiring ?? count(db, 'SELECT count(*) FROM entries WHERE +expires_at IS NOT NULL');
  const index = 'entries INDEXED BY entries_by_expiry';
  expectCount(db, expiring, 'expiries', `SELECT count(*) FROM ${index} WHERE expires_at IS NOT NULL`);
  if (expiring === 0) return true;
  const lost = db
    .prepare(
      `SELECT key FROM entries AS each WHERE +expires_at IS NOT NULL AND NOT EXISTS (
         SELECT 1 FROM ${index} WHERE entries.expires_at = each.expires_at AND entries.key = each.key) LIMIT 1`,
    )
    .pluck()
    .get() as string | undefined;
  if (lost !== undefined) throw entryDamage(lost, 'is not found by its expiry');
  return true;
}

/** Checks the values in `large_values` that belong to entries. @returns how many there are; null if the check was stopped */
function largeValues(db: Database, isStopped: () => boolean): number | null {
  const rows = db
    .prepare(
      `SELECT key, version, expires_at, checksum, id,
         CASE WHEN length(large_values.value) <= ${MAX_VALUE_BYTES} THEN large_values.value END
       FROM entries LEFT JOIN large_values ON id = version WHERE length(entries.value) = 0`,
    )
    .raw()
    .iterate() as IterableIterator<LargeRow>;
  let large = 0;
  for (const [key, version, expiresAt, checksum, id, value] of rows) {
    if (isStopped()) return null;
    if (id !== null) large += 1;
    if (id !== null && value === null)
      throw entryDamage(key, `has a value of more than ${MAX_VALUE_BYTES} bytes`);
    verifyEntry(key, value ?? Buffer.alloc(0), version, expiresAt, checksum);
  }
  return large;
}

function expectCount(db: Database, expected: number, what: string, query: string): void {
  const found = count(db, query);
  if (found !== expected) throw damage(`there are ${found} ${what}, but ${expected} belong to entries`);
}

function count(db: Database, query: string): number {
  return db.prepare(query).pluck().get() as number;
}
