/** The manifest of a backup: what a file of entries is a backup of. */
import type { Database } from 'better-sqlite3';
import { type Ancestor, formatLineage, parseLineage } from '../../replication/history.ts';
import { formatHash, parseHash } from '../../replication/history-hash.ts';
import { MAX_SNAPSHOT_OFFSET } from '../../replication/link-step.ts';
import { type Position, parsePosition } from '../../replication/position.ts';
import { damage } from '../keyspace/entry-checksum.ts';
import { sumInSeal } from './seal.ts';

/** The highest format that this psyncd reads, of a node that needed tokens: a psyncd that does not know it would restore an open node. */
export const BACKUP_FORMAT = 2;
/** The format for all other nodes; the files are the same. */
export const OPEN_FORMAT = 1;
/** Latest time that a Date can show, in milliseconds since 1970. */
const MAX_TIME = 8.64e15;
/** Longest version of a psyncd that is shown, in characters. */
const MAX_VERSION = 64;

export interface Manifest {
  readonly format: number;
  /** The psyncd that made it. */
  readonly version: string;
  readonly position: Position;
  /** The run IDs that the history grew out of, newest first. */
  readonly lineage: readonly Ancestor[];
  /** About when the entries were as they are in the backup, in milliseconds since 1970. */
  readonly commitTime: number;
  /** Number of entries. */
  readonly keys: number;
  /** Length of the file. */
  readonly bytes: number;
  /** Digest of the entries, 32 hex digits. */
  readonly digest: string;
  /** The history hash at the position; null: unknown. */
  readonly hash: bigint | null;
  /** Whether the node needed tokens, so that a node with its data does not start without. */
  readonly guarded: boolean;
  /** SHA-256 of the file without these digits, 64 hex digits. */
  readonly sha256: string;
}

interface Row {
  readonly sha256: string;
  readonly format: number;
  readonly version: string;
  readonly run_id: string;
  readonly offset: number;
  readonly lineage: string;
  readonly commit_time: number;
  readonly keys: number;
  readonly bytes: number;
  readonly digest: string;
  readonly hash: string | null;
}

/**
 * Writes the manifest into the table `backup`.
 * @param seal from `newSeal`
 */
export function putManifest(
  db: Database,
  seal: string,
  manifest: Omit<Manifest, 'sha256' | 'guarded'>,
): void {
  const { format, version, position, lineage, commitTime, keys, bytes, digest, hash } = manifest;
  db.prepare(
    `INSERT INTO backup
       (only, sha256, format, version, run_id, "offset", lineage, commit_time, keys, bytes, digest, hash)
     VALUES (1, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
  ).run(
    seal,
    format,
    version,
    position.runId,
    position.offset,
    formatLineage(lineage),
    commitTime,
    keys,
    bytes,
    digest,
    hash === null ? null : formatHash(hash),
  );
}

/**
 * Reads what a file says of the psyncd that can read it. The schema of the file may be one that this psyncd does not know.
 * @returns null: it cannot be read
 */
export function readFormat(db: Database): { readonly format: number; readonly version: string } | null {
  try {
    if (!isPlainTable(db)) return null;
    const [format, version] = db.prepare('SELECT format, version FROM backup').raw().get() as unknown[];
    if (!Number.isSafeInteger(format) || typeof version !== 'string') return null;
    return { format: format as number, version: version.slice(0, MAX_VERSION) };
  } catch {
    return null;
  }
}

/**
 * Whether reading the table `backup` computes nothing: it is no view, no virtual table, and has no generated columns. A hostile view
 * may never end. SQLite is asked what it has made of the schema, because the names in `sqlite_schema` may be others.
 */
function isPlainTable(db: Database): boolean {
  const found = db.pragma('main.table_list(backup)') as readonly { type: string }[];
  if (found.length !== 1 || found[0]?.type !== 'table') return false;
  const columns = db.pragma('main.table_xinfo(backup)') as readonly { hidden: number }[];
  return columns.every(({ hidden }) => hidden === 0);
}

/** @throws Error with SQLite's code for damage if the table does not hold a manifest */
export function readManifest(db: Database): Manifest {
  const row = db.prepare('SELECT * FROM backup').get() as Row | undefined;
  if (row === undefined) throw damage('its manifest is empty');
  const position = parsePosition(`${row.run_id}:${row.offset}`);
  const lineage = parseLineage(row.lineage);
  const hash = row.hash === null ? null : parseHash(row.hash);
  const sha256 = sumInSeal(row.sha256);
  const isWrong =
    ![OPEN_FORMAT, BACKUP_FORMAT].includes(row.format) ||
    position === null ||
    position.offset > MAX_SNAPSHOT_OFFSET ||
    lineage === null ||
    lineage.some(({ runId, at }) => runId === position.runId || at > MAX_TIME) ||
    row.commit_time > MAX_TIME ||
    sha256 === null ||
    (hash === null && row.hash !== null) ||
    ![row.commit_time, row.keys, row.bytes].every((each) => Number.isSafeInteger(each) && each >= 0) ||
    !/^[0-9a-f]{32}$/.test(row.digest) ||
    row.version.length > MAX_VERSION;
  if (isWrong) throw damage('its manifest is not what psyncd writes');
  const { format, version, commit_time: commitTime, keys, bytes, digest } = row;
  const guarded = format === BACKUP_FORMAT;
  return { format, version, position, lineage, commitTime, keys, bytes, digest, hash, guarded, sha256 };
}

/** A manifest as JSON, under the names of the table. */
export function manifestJson(manifest: Manifest): Readonly<Record<string, unknown>> {
  const { position, hash, ...rest } = manifest;
  return { ...rest, ...position, hash: hash === null ? null : formatHash(hash) };
}
