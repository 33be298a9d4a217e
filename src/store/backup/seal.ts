/**
 * The seal of a backup: the SHA-256 of the whole file, stored inside of the file. For the sum, its 64 digits count as zeros. So a
 * flipped bit anywhere in the file is found before SQLite reads any of it.
 *
 * The seal is the first column of the only row of the table `backup`, so SQLite never splits it between two pages. No other table has text in a row with the number 1 that is alone in its page. So the place of the seal follows from
 * the bytes of the pages, and nothing that clients store can look like it. Remains of an older page can; the check takes
 * whichever of the first few candidates fits.
 */
import { createHash, type Hash, randomBytes } from 'node:crypto';
import { type FileHandle, open as openFile } from 'node:fs/promises';
import { varint } from '../checks/varint.ts';
import { BackupError } from './backup-error.ts';

const MARKER = 'psyncd-backup-sha256:';
const NONCE_BYTES = 16;
const DIGITS = 64;
const ZEROS = Buffer.alloc(DIGITS, '0');
const SEAL = /^psyncd-backup-sha256:[0-9a-f]{32}:[0-9a-f]{64}$/;
const SEAL_BYTES = MARKER.length + 2 * NONCE_BYTES + 1 + DIGITS;
/** Candidates that a check considers. A file that psyncd has made has one. */
const MAX_CANDIDATES = 8;
/** Number of bytes read at a time; a multiple of every page size. */
const READ_BYTES = 1024 * 1024;
/** Mode of a backup: only its owner may read the entries. */
const OWNER_ONLY = 0o600;
const MIN_PAGE_BYTES = 512;
const MAX_PAGE_BYTES = 65_536;
/** Place of the page size in the header of the file. */
const PAGE_SIZE_AT = 16;
const LEAF_TABLE = 13;
/** Length of the header of a leaf. */
const LEAF_HEADER_BYTES = 8;

/** Hears how far a long task has come, in bytes. */
export type Report = (done: number, total: number) => void;

/** A place where a seal may stand. */
interface Candidate {
  /** Place of the digits in the file. */
  readonly at: number;
  readonly digits: string;
  readonly hash: Hash;
}

/** What a file says of its seal. `none`: it has none. */
export type SealState = 'fits' | 'differs' | 'none';

/** @returns a seal with a nonce of its own, before the file's sum is known */
export function newSeal(): string {
  return `${MARKER}${randomBytes(NONCE_BYTES).toString('hex')}:${ZEROS}`;
}

/**
 * Writes the sum into the file and makes the file durable. Nothing else has the file open.
 * @param seal that the file holds
 * @returns the SHA-256, 64 hex digits
 * @throws BackupError if the file does not hold the seal exactly once
 */
export async function closeSeal(
  path: string,
  seal: string,
  report: Report = () => undefined,
): Promise<string> {
  const file = await openFile(path, 'r+');
  try {
    const found = await candidatesIn(file, report);
    const [candidate] = found;
    const text = Buffer.alloc(SEAL_BYTES);
    if (candidate !== undefined) await file.read(text, 0, SEAL_BYTES, candidate.at + DIGITS - SEAL_BYTES);
    if (candidate === undefined || found.length > 1 || text.toString('latin1') !== seal) {
      throw new BackupError(`${path} cannot be sealed: there are ${found.length} places for the seal`);
    }
    const sum = candidate.hash.digest('hex');
    await file.chmod(OWNER_ONLY);
    await file.write(sum, candidate.at, 'latin1');
    await file.sync();
    return sum;
  } finally {
    await file.close();
  }
}

/** Compares the file with its seal. */
export async function checkSeal(path: string, report: Report = () => undefined): Promise<SealState> {
  const file = await openFile(path, 'r');
  try {
    const found = await candidatesIn(file, report);
    if (found.length === 0) return 'none';
    return found.some(({ digits, hash }) => hash.digest('hex') === digits) ? 'fits' : 'differs';
  } finally {
    await file.close();
  }
}

/** @returns the SHA-256 in a seal; null: it is none */
export function sumInSeal(seal: string): string | null {
  return SEAL.test(seal) ? seal.slice(-DIGITS) : null;
}

/** Reads the file once; each candidate has the sum of the file with its own digits as zeros. */
async function candidatesIn(file: FileHandle, report: Report): Promise<readonly Candidate[]> {
  const { size } = await file.stat();
  const part = Buffer.allocUnsafeSlow(READ_BYTES);
  const plain = createHash('sha256');
  const found: Candidate[] = [];
  let pageSize = 0;
  for (let at = 0; at < size; ) {
    const bytes = part.subarray(0, await fill(file, part, at));
    if (bytes.length === 0) break;
    if (at === 0) pageSize = pageSizeIn(bytes);
    let fed = 0;
    const feed = (to: number): void => {
      for (const hash of [plain, ...found.map((each) => each.hash)]) hash.update(bytes.subarray(fed, to));
      fed = to;
    };
    for (const place of pageSize === 0 ? [] : sealsIn(bytes, pageSize)) {
      if (found.length === MAX_CANDIDATES) break;
      feed(place);
      const hash = plain.copy().update(ZEROS);
      const digits = bytes.toString('latin1', place, place + DIGITS);
      feed(place + DIGITS);
      found.push({ at: at + place, digits, hash });
    }
    feed(bytes.length);
    at += bytes.length;
    report(at, size);
  }
  return found;
}

/** @returns number of bytes read: all that there are, up to the length of the buffer */
async function fill(file: FileHandle, into: Buffer, at: number): Promise<number> {
  let filled = 0;
  while (filled < into.length) {
    const { bytesRead } = await file.read(into, filled, into.length - filled, at + filled);
    if (bytesRead === 0) break;
    filled += bytesRead;
  }
  return filled;
}

/** @returns 0: none that SQLite knows */
function pageSizeIn(first: Buffer): number {
  if (first.length < MIN_PAGE_BYTES) return 0;
  const size = first.readUInt16BE(PAGE_SIZE_AT);
  const bytes = size === 1 ? MAX_PAGE_BYTES : size;
  return bytes >= MIN_PAGE_BYTES && (bytes & (bytes - 1)) === 0 ? bytes : 0;
}

/** @returns the places of the digits of seals in these pages */
function sealsIn(bytes: Buffer, pageSize: number): number[] {
  const places: number[] = [];
  for (let page = 0; page + pageSize <= bytes.length; page += pageSize) {
    if (bytes[page] !== LEAF_TABLE || bytes.readUInt16BE(page + 3) !== 1) continue;
    const place = sealIn(bytes.subarray(page, page + pageSize));
    if (place !== null) places.push(page + place);
  }
  return places;
}

/** @returns the place of the digits in a page of one row; null: it is not the row of a seal */
function sealIn(page: Buffer): number | null {
  const cell = page.readUInt16BE(LEAF_HEADER_BYTES);
  // Payload length, row number and header length have at most nine bytes each.
  if (cell + 27 > page.length) return null;
  const row = varint(page, varint(page, cell).end);
  const begin = row.end + varint(page, row.end).value;
  if (row.value !== 1 || begin + SEAL_BYTES > page.length) return null;
  return SEAL.test(page.toString('latin1', begin, begin + SEAL_BYTES)) ? begin + SEAL_BYTES - DIGITS : null;
}
