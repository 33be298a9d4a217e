/** Tells a backup by its first bytes. */
import { APPLICATION_IDS } from '../migrate.ts';

const MAGIC = 'SQLite format 3\0';
const APPLICATION_ID_AT = 68;

/** Whether a file that begins so is a backup that psyncd has made; it may be damaged. */
export function isBackupHeader(bytes: Uint8Array): boolean {
  const header = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
  return (
    header.length >= APPLICATION_ID_AT + 4 &&
    header.toString('latin1', 0, MAGIC.length) === MAGIC &&
    header.readUInt32BE(APPLICATION_ID_AT) === APPLICATION_IDS.backup
  );
}
