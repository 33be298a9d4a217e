/**
 * Checks a backup: its seal, before SQLite reads any of it, and then everything that a replica checks in a snapshot, and the
 * manifest.
 */
import { closeSync, existsSync, openSync, readSync, statSync } from 'node:fs';
import { messageOf } from '../../node/ports/failures.ts';
import { formatPosition } from '../../replication/position.ts';
import { digestOf } from '../checks/digest.ts';
import { inspect } from '../checks/inspect.ts';
import { PlainFile } from '../checks/page-source.ts';
import { PageWalk } from '../checks/page-walk.ts';
import { damage } from '../keyspace/entry-checksum.ts';
import { APPLICATION_IDS, schemaVersion } from '../migrate.ts';
import { StartError } from '../start-error.ts';
import { codeOf, isDamage, isOfDisk } from '../storage-failure.ts';
import { withUntrusted } from '../untrusted-file.ts';
import { CheckError } from './backup-error.ts';
import { BACKUP_FORMAT, type Manifest, readFormat, readManifest } from './manifest.ts';
import { checkSeal, type Report, type SealState } from './seal.ts';

const MAGIC = 'SQLite format 3\0';
const HEADER_BYTES = 100;
const USER_VERSION = 60;
const APPLICATION_ID = 68;
/** First bytes of a file that gzip has made. */
const GZIP = 0x1f8b;
/** SQLite's code for a file that is shorter than its header says. */
const SHORT = 'SQLITE_IOERR_SHORT_READ';

/**
 * Checks the whole file and does not change it.
 * @param version of this psyncd, for messages
 * @throws CheckError
 */
export async function checkBackup(path: string, version: string, report?: Report): Promise<Manifest> {
  try {
    const header = headerOf(path);
    // Without a header of ours there may still be a seal: then the header is damaged.
    const seal = await checkSeal(path, report);
    if (seal !== 'fits') throw unsealed(path, header, seal);
    refuseCompanions(path);
    refuseNewer(path, version);
    return checkContents(path);
  } catch (error) {
    throw finding(path, error);
  }
}

/** @returns the first bytes of the file */
function headerOf(path: string): Buffer {
  const found = statSync(path);
  if (found.isDirectory()) throw new CheckError('unknown', `${path} is a folder`);
  if (!found.isFile()) throw new CheckError('unknown', `${path} is no file`);
  if (found.size === 0) throw new CheckError('damaged', `${path} is damaged: it is empty`);
  const header = Buffer.alloc(HEADER_BYTES);
  const file = openSync(path, 'r');
  try {
    readSync(file, header, 0, HEADER_BYTES, 0);
  } finally {
    closeSync(file);
  }
  return header;
}

function unsealed(path: string, header: Buffer, seal: SealState): CheckError {
  const id = header.readUInt32BE(APPLICATION_ID);
  const isBackup = id === APPLICATION_IDS.backup || seal === 'differs';
  if (isBackup) {
    const what =
      seal === 'none' ? 'a part of it is missing or changed' : 'its bytes are not those that were written';
    return new CheckError('damaged', `${path} is damaged: ${what}`);
  }
  const no = (what: string): CheckError =>
    new CheckError('unknown', `${path} is no backup of psyncd: ${what}`);
  if (header.readUInt16BE(0) === GZIP) return no('it is compressed with gzip; unpack it first');
  if (/^\s*</.test(header.toString('latin1'))) {
    return no('it is HTML or XML, such as the page with which a server reports an error');
  }
  if (header.toString('latin1', 0, MAGIC.length) !== MAGIC) return no('it is no SQLite file');
  if (id === APPLICATION_IDS.keyspace)
    return no('it is a keyspace file without a manifest, as in a data folder');
  if (id === APPLICATION_IDS.state) return no('it is the psyncd.db of a data folder');
  return no('it is an SQLite file of another program');
}

/** SQLite would take what stands in such a file for a part of the backup. */
function refuseCompanions(path: string): void {
  for (const suffix of ['-wal', '-journal']) {
    if (existsSync(path + suffix)) {
      throw new CheckError('unknown', `${path} is in use by a program, or was: there is ${path}${suffix}`);
    }
  }
}

/** @throws CheckError if only a newer psyncd can read the file */
function refuseNewer(path: string, version: string): void {
  const walk = new PageWalk(new PlainFile(path));
  try {
    walk.checkSchemaPages();
  } finally {
    walk.close();
  }
  const found = withUntrusted(path, 'read', readFormat);
  const own = schemaVersion('backup');
  const schema = headerOf(path).readUInt32BE(USER_VERSION);
  if (found === null) throw damage('its manifest cannot be read');
  if (found.format > BACKUP_FORMAT || schema > own) {
    throw new CheckError(
      'unknown',
      `${path} was made by psyncd ${found.version} in format ${found.format}.${schema}; this is psyncd ${version}, which reads up to ` +
        `${BACKUP_FORMAT}.${own}: use psyncd ${found.version} or a newer one`,
    );
  }
  if (schema < own) {
    throw new CheckError(
      'unknown',
      `${path} was made by psyncd ${found.version} in format ${found.format}.${schema}; this is psyncd ${version}, which reads only ` +
        `${BACKUP_FORMAT}.${own}: restore it with psyncd ${found.version}, and start this one on the folder`,
    );
  }
}

function checkContents(path: string): Manifest {
  const found = inspect(
    {
      path,
      kind: 'backup',
      pages: new PlainFile(path),
      position: null,
      opened: (use) => withUntrusted(path, 'read', use),
    },
    () => false,
  );
  const [manifest, sum] = withUntrusted(path, 'read', (db) => [readManifest(db), digestOf(db)]);
  const { position, keys, bytes, digest } = manifest;
  const at = formatPosition(position);
  if (formatPosition(sum.position) !== at)
    throw damage(`its entries are of ${formatPosition(sum.position)}, not of ${at}`);
  if (keys !== sum.keys || keys !== found?.entries) throw damage(`it has ${sum.keys} entries, not ${keys}`);
  if (digest !== sum.digest) throw damage(`its entries have the digest ${sum.digest}, not ${digest}`);
  if (bytes !== statSync(path).size) throw damage(`it has not ${bytes} bytes`);
  return manifest;
}

function finding(path: string, error: unknown): unknown {
  if (error instanceof CheckError) return error;
  const code = codeOf(error);
  if (isDamage(code) || code === SHORT || error instanceof StartError) {
    return new CheckError('damaged', `${path} is damaged: ${messageOf(error)}`);
  }
  if (code === 'ENOENT') return new CheckError('unknown', `there is no ${path}`);
  if (isOfDisk(code)) return new CheckError('unknown', `${path} cannot be read: ${messageOf(error)}`);
  return error;
}
