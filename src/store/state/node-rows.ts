/** What psyncd.db says of the node: the tables `node`, `lineage` and `kept`. */
import type { Database as Connection } from 'better-sqlite3';
import type { KeptFile } from '../../node/ports/state-store.ts';
import { FULL_RESYNC_REASONS } from '../../replication/decide.ts';
import { type Ancestor, type History, type LineageReason, newHistory } from '../../replication/history.ts';
import type { HashedOffset } from '../../replication/history-hash.ts';
import { type Offset, offset, parseRunId, type RunId } from '../../replication/position.ts';
import { damage } from '../keyspace/entry-checksum.ts';
import { type FileIdentity, identityOf, isSameFile } from './file-identity.ts';
import { signed, unsigned } from './stored-hash.ts';

export interface NodeRow {
  readonly run_id: string;
  readonly keyspace: number;
  readonly upstream: string | null;
  readonly clean: number;
  readonly boot_id: string | null;
  readonly fsync: string;
  readonly handing_over: number;
  readonly guarded_against: string | null;
  readonly inode: string | null;
  readonly born_ns: string | null;
  readonly renamed_offset: number | null;
}

interface KeptRow {
  readonly keyspace: number;
  readonly name: string;
  readonly run_id: string;
  readonly offset: number;
  readonly reason: string | null;
  readonly at: number;
}

/** Whether the file is another one than the recorded one; false if nothing was recorded. */
export function isAnother(found: FileIdentity, { inode, born_ns: bornNs }: NodeRow): boolean {
  return inode !== null && !isSameFile({ inode, bornNs }, found);
}

/** @throws Error with SQLite's code for damage */
export function readNode(db: Connection): NodeRow {
  const row = db
    .prepare(
      `SELECT run_id, keyspace, upstream, clean, boot_id, fsync, handing_over, guarded_against, inode, born_ns,
              renamed_offset
       FROM node`,
    )
    .get();
  if (row === undefined) throw damage('the table node is empty');
  return row as NodeRow;
}

/** @throws Error with SQLite's code for damage */
export function readHistory(db: Connection, row: NodeRow): History {
  const lineage = db
    .prepare('SELECT run_id, valid_to, reason, at FROM lineage ORDER BY number DESC')
    .all() as { run_id: string; valid_to: number; reason: string; at: number }[];
  return {
    ...newHistory(runIdOf(row.run_id)),
    lineage: lineage.map(
      (entry): Ancestor => ({
        runId: runIdOf(entry.run_id),
        validTo: offsetOf(entry.valid_to),
        reason: entry.reason as LineageReason,
        at: entry.at,
      }),
    ),
  };
}

/** The files of replaced data that were kept, oldest first. @throws Error with SQLite's code for damage */
export function readKept(db: Connection): readonly KeptFile[] {
  const rows = db
    .prepare('SELECT keyspace, name, run_id, "offset", reason, at FROM kept ORDER BY keyspace')
    .all() as KeptRow[];
  return rows.map((row) => ({
    keyspaceNumber: row.keyspace,
    name: row.name,
    position: { runId: runIdOf(row.run_id), offset: offsetOf(row.offset) },
    reason: FULL_RESYNC_REASONS.find((reason) => reason === row.reason) ?? null,
    at: row.at,
  }));
}

/** @throws Error with SQLite's code for damage */
export function renamedAtOf({ renamed_offset: at }: NodeRow): Offset | null {
  return at === null ? null : offsetOf(at);
}

function offsetOf(value: number): Offset {
  if (!Number.isSafeInteger(value) || value < 0) throw damage(`${value} is no offset`);
  return offset(value);
}

/** @returns the offset and the hash that the master told last; null: none */
export function readToldHash(db: Connection): HashedOffset | null {
  const columns = db.prepare('SELECT told_offset, told_hash FROM node').raw().safeIntegers();
  const [at, hash] = columns.get() as [bigint | null, bigint | null];
  return at === null ? null : { offset: offset(Number(at)), hash: hash === null ? null : unsigned(hash) };
}

/** Records which file this is. */
export function putIdentity(db: Connection): void {
  const { inode, bornNs } = identityOf(db.name);
  db.prepare('UPDATE node SET inode = ?, born_ns = ?').run(inode, bornNs);
}

export function putKept(db: Connection, { keyspaceNumber, name, position, reason, at }: KeptFile): void {
  db.prepare('INSERT INTO kept (keyspace, name, run_id, "offset", reason, at) VALUES (?, ?, ?, ?, ?, ?)').run(
    keyspaceNumber,
    name,
    position.runId,
    position.offset,
    reason,
    at,
  );
}

export function putToldHash(db: Connection, told: HashedOffset | null): void {
  const hash = told === null || told.hash === null ? null : signed(told.hash);
  db.prepare('UPDATE node SET told_offset = ?, told_hash = ?').run(told?.offset ?? null, hash);
}

export function putHistory(db: Connection, history: History): void {
  db.prepare('UPDATE node SET run_id = ?').run(history.runId);
  db.prepare('DELETE FROM lineage').run();
  const insert = db.prepare(
    'INSERT INTO lineage (number, run_id, valid_to, reason, at) VALUES (?, ?, ?, ?, ?)',
  );
  for (const [index, { runId, validTo, reason, at }] of history.lineage.entries()) {
    insert.run(history.lineage.length - index, runId, validTo, reason, at);
  }
}

function runIdOf(text: string): RunId {
  const runId = parseRunId(text);
  if (runId === null) throw damage(`${JSON.stringify(text)} is no run ID`, 'it names no run ID');
  return runId;
}
