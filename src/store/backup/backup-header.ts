/** Tells a backup by its first bytes. */
import { APPLICATION_IDS } from '../migrate.ts';

const MAGIC = 'SQLite format 3\0';
const APPLICATION_ID_AT = 68;
const PAGE_SIZE_AT = 16;
const PAGES_AT = 28;
/** Length of what `isBackupHeader` and `lengthInHeader` need, in bytes. */
export const HEADER_BYTES = 100;

/** Whether a file that begins so is a backup that psyncd has made; it may be damaged. */
export function isBackupHeader(bytes: Uint8Array): boolean {
  const header = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
  return (
    header.length >= APPLICATION_ID_AT + 4 &&
    header.toString('latin1', 0, MAGIC.length) === MAGIC &&
    header.readUInt32BE(APPLICATION_ID_AT) === APPLICATION_IDS.backup
  );
}

/** @returns the length in bytes that a backup says of itself at its begin; null: it does not begin as a backup */
export function lengthInHeader(bytes: Uint8Array): number | null {
  if (!isBackupHeader(bytes)) return null;
  const header = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
  // SQLite writes 1 for the size that two bytes cannot hold.
  const pageBytes = header.readUInt16BE(PAGE_SIZE_AT);
  return (pageBytes === 1 ? 65_536 : pageBytes) * header.readUInt32BE(PAGES_AT);
}
