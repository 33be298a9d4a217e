/**
 * The checksum of each entry in a keyspace file. SQLite has none for its pages: a flipped bit in a value would reach
 * the client. Each read of an entry verifies the checksum.
 */
import { crc32 } from 'node:zlib';
import { telling } from '../../node/ports/failures.ts';

/** @returns CRC-32 of `<version> <expiry> <key>\n` in UTF-8, and the value */
export function entryChecksum(key: string, value: Buffer, version: number, expiresAt: number | null): number {
  return crc32(value, crc32(`${version} ${expiresAt ?? ''} ${key}\n`));
}

/**
 * @param checksum null: the row dates from before there were checksums
 * @throws Error with SQLite's code for damage if the checksum does not match
 */
export function verifyEntry(
  key: string,
  value: Buffer,
  version: number,
  expiresAt: number | null,
  checksum: number | null,
): void {
  if (checksum === null || checksum === entryChecksum(key, value, version, expiresAt)) return;
  throw entryDamage(key, 'is not what was written');
}

/**
 * Makes an error with the code that SQLite uses for damaged pages.
 * @param told for others than the operator; without it, the message names no key, no value and no file
 */
export function damage(message: string, told = message): Error {
  return telling(Object.assign(new Error(message), { code: 'SQLITE_CORRUPT' }), told);
}

/** Makes an error for a damaged entry. @param what is wrong with it, without its key and its value */
export function entryDamage(key: string, what: string): Error {
  return damage(`the entry ${JSON.stringify(key)} ${what}`, `the entry "…" ${what}`);
}
