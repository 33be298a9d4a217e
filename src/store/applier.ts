/**
 * The applier: the first follower of the stream. It runs on a thread of its own, gets the same bytes as every
 * replica, keeps the newest state per key, and writes big batches in key order, because a random key costs a page
 * and neighbours share one (measured: 55,000 rows a second at 1,000 a batch, 280,000 at 500,000).
 *
 * Owns: the only writing connection of a keyspace file, and its checkpoints.
 * Invariant: the position in the file is a boundary of the stream, committed together with the entries.
 */
import type { Database, Statement } from 'better-sqlite3';
import { EntrySlots } from '../keyspace/entry-slots.ts';
import type { Position } from '../replication/position.ts';
import { assertNever, type Command } from '../stream/command.ts';
import { StreamDecoder } from '../stream/decoder.ts';
import { entryChecksum, verifyEntry } from './entry-checksum.ts';
import { faultPoint } from './fault-point.ts';
import { readPosition, writePosition } from './keyspace-schema.ts';

/** The WAL is moved into the file when it has this many pages of 4 KiB: 64 MiB. */
const CHECKPOINT_PAGES = 16_384;
/** For the moment that a single read takes; exports, which take long, are not waited for. */
const BUSY_TIMEOUT_MS = 50;
/** Of a key that has no slot: it is deleted, or only expires at another time. */
const DELETED = -1;
const EXPIRY = -2;

export const FROZEN_BY_READER = 'PSYNCD_READER';

class FrozenByReader extends Error {
  readonly code = FROZEN_BY_READER;
}

export class Applier {
  readonly #db: Database;
  readonly #decoder = new StreamDecoder();
  readonly #upsert: Statement;
  readonly #delete: Statement;
  readonly #select: Statement;
  /** What is to become of each key: a slot with its new entry, DELETED, or EXPIRY. */
  #changes = new Map<string, number>();
  #slots = new EntrySlots();
  /** Of the keys that stand for EXPIRY. */
  #expiries = new Map<string, number | null>();
  #emptied = false;
  #offset: number;
  #committed: Position;
  #frozen = false;

  /** @param db a writing connection of a keyspace file with the present schema */
  constructor(db: Database) {
    this.#db = db;
    db.pragma('journal_mode = WAL');
    db.pragma('synchronous = FULL');
    db.pragma('wal_autocheckpoint = 0');
    db.pragma(`busy_timeout = ${BUSY_TIMEOUT_MS}`);
    this.#upsert = db.prepare(
      `INSERT INTO entries (key, value, version, expires_at, checksum) VALUES (?, ?, ?, ?, ?)
       ON CONFLICT (key) DO UPDATE
       SET value = excluded.value, version = excluded.version, expires_at = excluded.expires_at,
           checksum = excluded.checksum`,
    );
    this.#delete = db.prepare('DELETE FROM entries WHERE key = ?');
    this.#select = db.prepare('SELECT value, version, expires_at, checksum FROM entries WHERE key = ?').raw();
    this.#committed = readPosition(db);
    this.#offset = this.#committed.offset;
  }

  /** Takes the next bytes of the stream. */
  feed(bytes: Buffer): void {
    const run = this.#decoder.push(bytes);
    if (run === null) return;
    for (const [index, command] of run.commands.entries()) {
      this.#take(command, this.#offset + (run.ends[index] as number));
    }
    this.#offset += run.bytes.length;
  }

  /** Commits everything that was fed, durably, in one transaction. @param position where that must have led to */
  flush(position: Position): void {
    if (position.offset !== this.#offset) {
      throw new Error(`the applier stands at byte ${this.#offset}, not at ${position.offset}`);
    }
    const { runId, offset } = this.#committed;
    if (position.runId === runId && position.offset === offset) return;
    faultPoint('applier-commit');
    this.#db.transaction(() => this.#write(position))();
    faultPoint('applier-committed');
    this.#forget();
    this.#emptied = false;
    this.#committed = position;
  }

  /** Moves the WAL into the file if it has become large, and the file may be written. */
  checkpoint(): void {
    if (this.#frozen) return;
    faultPoint('applier-checkpoint');
    // NOOP only counts what is in the WAL.
    const [wal] = this.#db.pragma('wal_checkpoint(NOOP)') as [{ log: number }];
    if (wal.log >= CHECKPOINT_PAGES) this.#db.pragma('wal_checkpoint(PASSIVE)');
  }

  /**
   * Moves the whole WAL into the database file, and leaves that file alone until `thaw`: it is then a snapshot of
   * exactly this position, which was flushed, while further commits go into the WAL.
   * @throws FrozenByReader when somebody reads an older state: it does not wait for that to end
   */
  freeze(position: Position): void {
    if (position.offset !== this.#committed.offset) throw new Error('the position to freeze was not flushed');
    faultPoint('applier-freeze');
    const [result] = this.#db.pragma('wal_checkpoint(TRUNCATE)') as [{ busy: number }];
    if (result.busy !== 0) throw new FrozenByReader();
    this.#frozen = true;
  }

  thaw(): void {
    this.#frozen = false;
  }

  close(): void {
    this.#db.close();
  }

  #take(command: Command, version: number): void {
    switch (command.kind) {
      case 'set':
        this.#changes.set(command.key, this.#slots.add(command.value, version, command.expiresAt));
        return;
      case 'del':
        for (const key of command.keys) this.#changes.set(key, DELETED);
        return;
      case 'expire-at':
        this.#expire(command.key, command.expiresAt);
        return;
      case 'persist':
        this.#expire(command.key, null);
        return;
      case 'flush-all':
        this.#forget();
        this.#emptied = true;
        return;
      default:
        assertNever(command);
    }
  }

  #expire(key: string, expiresAt: number | null): void {
    const change = this.#changes.get(key);
    if (change === DELETED || (change === undefined && this.#emptied)) return;
    if (change !== undefined && change !== EXPIRY) {
      this.#changes.set(key, this.#slots.withExpiry(change, expiresAt));
      return;
    }
    this.#changes.set(key, EXPIRY);
    this.#expiries.set(key, expiresAt);
  }

  #forget(): void {
    this.#changes = new Map();
    this.#slots = new EntrySlots();
    this.#expiries = new Map();
  }

  #write(position: Position): void {
    if (this.#emptied) this.#db.prepare('DELETE FROM entries').run();
    // JavaScript's order of strings is SQLite's but for characters beyond U+FFFF; it is near enough for locality.
    for (const key of [...this.#changes.keys()].sort()) {
      const change = this.#changes.get(key) as number;
      if (change === DELETED) this.#delete.run(key);
      else if (change === EXPIRY) this.#changeExpiry(key, this.#expiries.get(key) ?? null);
      else {
        const slots = this.#slots;
        this.#put(key, slots.value(change), slots.version(change), slots.expiresAt(change));
      }
    }
    writePosition(this.#db, position);
  }

  #put(key: string, value: Buffer, version: number, expiresAt: number | null): void {
    this.#upsert.run(key, value, version, expiresAt, entryChecksum(key, value, version, expiresAt));
  }

  #changeExpiry(key: string, expiresAt: number | null): void {
    const row = this.#select.get(key) as [Buffer, number, number | null, number | null] | undefined;
    if (row === undefined) return;
    const [value, version, before, checksum] = row;
    // A new checksum must not make something right that was damaged.
    verifyEntry(key, value, version, before, checksum);
    this.#put(key, value, version, expiresAt);
  }
}
