/**
 * The checksum that stands with each entry of a keyspace file. SQLite has none: a flipped bit in a value would be served
 * as it is. It is checked whenever an entry is read, so what a disk has made of it is noticed when it is touched.
 */
import { crc32 } from 'node:zlib';

/** @returns CRC-32 of `<version> <expiry> <key>\n` in UTF-8, and the value */
export function entryChecksum(key: string, value: Buffer, version: number, expiresAt: number | null): number {
  return crc32(value, crc32(`${version} ${expiresAt ?? ''} ${key}\n`));
}

/**
 * @param checksum null: of a row from before there were checksums
 * @throws Error with SQLite's own code for damage when they do not agree
 */
export function verifyEntry(
  key: string,
  value: Buffer,
  version: number,
  expiresAt: number | null,
  checksum: number | null,
): void {
  if (checksum === null || checksum === entryChecksum(key, value, version, expiresAt)) return;
  throw damage(`the entry ${JSON.stringify(key)} is not what was written`);
}

/** What is not what was written, as SQLite says it of its own pages. */
export function damage(message: string): Error {
  return Object.assign(new Error(message), { code: 'SQLITE_CORRUPT' });
}
