/**
 * Finds a WAL that does not belong to the database file beside it, as after a copy of the file was put over the files of
 * a node that was killed. The check reads both without SQLite, which would take them as one, and changes neither.
 *
 * The check runs while this process has no connection to the file, because closing any descriptor of a database file
 * drops all POSIX locks of the process on it. When a part of the evidence cannot be read, as after a power cut, the check
 * finds nothing: other checks find damage.
 */
import { closeSync, openSync, readSync, statSync } from 'node:fs';
import { varint } from './checks/varint.ts';
import { DamageError } from './start-error.ts';
import { FRAME_HEADER_BYTES, frameStart, WAL_HEADER_BYTES, WalSum, walOf } from './wal-layout.ts';
import { type Mark, markChecksum } from './wal-mark.ts';

/** Places in the headers of the file and of its WAL. */
const USER_VERSION = 60;
const PAGE_SIZE_IN_WAL = 8;
const FILE_HEADER_BYTES = 100;
/** Page sizes that SQLite knows. */
const MIN_PAGE_BYTES = 512;
const MAX_PAGE_BYTES = 65_536;
/** Number of frames read at a time: 1 MiB. */
const FRAMES_AT_ONCE = 256;
/** A page of a table that holds rows. */
const LEAF_TABLE = 13;
/** Number of the columns of `wal_mark`. The key, which comes first, is stored outside of the row. */
const COLUMNS = 4;
/** SQLite's types of null and of the integers 0 and 1, which take no bytes, and the lengths of the other integers. */
const NULL = 0;
const ZERO = 8;
const ONE = 9;
const INTEGER_BYTES: readonly number[] = [0, 1, 2, 3, 4, 6];

/** What a WAL says of the file to which it belongs. */
interface WalMarksFound {
  readonly pageSize: number;
  /** The page that holds the mark. */
  readonly page: number;
  /** The marks that the file may have; null: none was drawn yet. */
  readonly allowed: ReadonlySet<number | null>;
}

/**
 * @param path of the database file
 * @param firstVersion schema since which the file has marks
 */
export function isWalStale(path: string, firstVersion: number): boolean {
  try {
    // SQLite removes the WAL of an empty file, and a WAL without frames is nothing.
    if (bytesOf(path) === 0 || bytesOf(walOf(path)) <= WAL_HEADER_BYTES) return false;
    const found = marksInWal(walOf(path));
    if (found === null) return false;
    const own = markInFile(path, found, firstVersion);
    return own !== undefined && !found.allowed.has(own);
  } catch {
    // Opening the file reports what is wrong.
    return false;
  }
}

/** The damage that `isWalStale` finds, and its remedy. */
export function staleWal(path: string): DamageError {
  return new DamageError(
    `${path} is damaged: ${walOf(path)} belongs to another state of it, as when an older copy is put over the files ` +
      'of a node that was killed; nothing was changed, remove all *.db-wal and *.db-shm files of the folder and ' +
      'restore the copy again, or choose another with --data',
  );
}

function bytesOf(path: string): number {
  return statSync(path, { throwIfNoEntry: false })?.size ?? 0;
}

/** Reads the mark in the file itself. @returns null: none was drawn yet; undefined: it cannot be read */
function markInFile(
  path: string,
  { page, pageSize }: WalMarksFound,
  firstVersion: number,
): number | null | undefined {
  const file = openSync(path, 'r');
  try {
    const header = Buffer.alloc(FILE_HEADER_BYTES);
    readSync(file, header, 0, FILE_HEADER_BYTES, 0);
    if (header.readUInt32BE(USER_VERSION) < firstVersion) return null;
    const bytes = Buffer.alloc(pageSize);
    const read = readSync(file, bytes, 0, pageSize, (page - 1) * pageSize);
    return read < pageSize ? undefined : markIn(bytes)?.mark;
  } finally {
    closeSync(file);
  }
}

/**
 * Looks for all marks in a WAL, also in frames behind the last commit: SQLite never moves those into a database file, so no file
 * has such a mark by mistake.
 * @returns null: there is none, or one cannot be read
 */
function marksInWal(path: string): WalMarksFound | null {
  const file = openSync(path, 'r');
  try {
    const start = Buffer.alloc(WAL_HEADER_BYTES);
    readSync(file, start, 0, WAL_HEADER_BYTES, 0);
    const pageSize = start.readUInt32BE(PAGE_SIZE_IN_WAL);
    if (pageSize < MIN_PAGE_BYTES || pageSize > MAX_PAGE_BYTES) return null;
    const allowed = new Set<number | null>();
    let page = 0;
    for (const frame of framesIn(file, start, pageSize)) {
      const isOther = page !== 0 && frame.readUInt32BE(0) !== page;
      const found = isOther ? null : markIn(frame.subarray(FRAME_HEADER_BYTES));
      if (found !== null) {
        page = frame.readUInt32BE(0);
        if (allowed.size === 0) allowed.add(found.previous);
        allowed.add(found.mark);
      } else if (!isOther && page !== 0) return null;
    }
    return page === 0 ? null : { pageSize, page, allowed };
  } finally {
    closeSync(file);
  }
}

/** Reads the frames, each with its header, up to the first one that SQLite would not take. */
function* framesIn(file: number, start: Buffer, pageSize: number): Generator<Buffer> {
  const sum = new WalSum(start);
  const frameBytes = FRAME_HEADER_BYTES + pageSize;
  const part = Buffer.allocUnsafeSlow(frameBytes * FRAMES_AT_ONCE);
  for (let first = 1; ; first += FRAMES_AT_ONCE) {
    const read = readSync(file, part, 0, part.length, frameStart(first, pageSize));
    const words = sum.wordsOf(part);
    for (let at = 0; at + frameBytes <= read; at += frameBytes) {
      if (!sum.matches(part, words, at, frameBytes)) return;
      yield part.subarray(at, at + frameBytes);
    }
    if (read < part.length) return;
  }
}

/** Reads the row of a page. @returns null if there is not exactly one with a valid checksum */
function markIn(page: Buffer): Mark | null {
  if (page[0] !== LEAF_TABLE || page.readUInt16BE(3) !== 1) return null;
  const length = varint(page, page.readUInt16BE(8));
  const row = varint(page, length.end).end;
  if (row + length.value > page.length) return null;
  const values = integersIn(page.subarray(row, row + length.value));
  const [, mark, previous, checksum] = values;
  if (values.length !== COLUMNS || mark == null || previous === undefined) return null;
  return checksum === markChecksum({ mark, previous }) ? { mark, previous } : null;
}

/** Reads a row of integers and nulls. @returns nothing if it is none */
function integersIn(row: Buffer): readonly (number | null)[] {
  const header = varint(row, 0);
  if (header.value > row.length) return [];
  const values: (number | null)[] = [];
  let at = header.value;
  for (let type = header.end; type < header.value; ) {
    const { value: kind, end } = varint(row, type);
    type = end;
    const bytes = kind === ZERO || kind === ONE ? 0 : INTEGER_BYTES[kind];
    if (bytes === undefined || at + bytes > row.length) return [];
    if (kind === NULL) values.push(null);
    else values.push(bytes === 0 ? kind - ZERO : row.readIntBE(at, bytes));
    at += bytes;
  }
  return values;
}
