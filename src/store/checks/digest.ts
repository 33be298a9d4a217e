/**
 * The digest of a keyspace: a hash over the key, value and expiry of all entries, independent of their order, so that
 * nodes can compare their data. Each entry is hashed alone; the digest is the sum of the hashes modulo 2^128. (XOR
 * would be independent of order too, but equal changes in two entries would cancel out.)
 *
 * An entry counts until the stream holds its DEL, even after its expiry. So nodes at equal positions have equal
 * digests, whatever their clocks say.
 */
import { hash } from 'node:crypto';
import type { Database } from 'better-sqlite3';
import type { Digest, Sum } from '../../node/ports/keyspace.ts';
import { assertNever, type Command } from '../../stream/command.ts';
import { verifyEntry } from '../keyspace/entry-checksum.ts';
import { readPosition } from '../keyspace/keyspace-schema.ts';

const MASK = (1n << 128n) - 1n;
/**
 * Number of 32-bit lanes of a hash. The lanes are summed as plain numbers and added to the big integer only now and
 * then.
 */
const LANES = 4;

type Row = [key: string, value: Buffer, version: number, expiresAt: number | null, checksum: number | null];

type Stored = readonly [value: Buffer, expiresAt: number | null];

/**
 * Computes the digest of a position later than that of the file: sums the file's entries, then corrects the sum by the
 * commands in between.
 * @see digestOf
 */
export class DigestAt {
  readonly #stored: (key: string) => Stored | null;
  readonly #total: bigint;
  readonly #keys: number;
  /** The last state of each entry that the commands name; null: deleted. */
  readonly #changed = new Map<string, Stored | null>();
  #flushed = false;

  /**
   * @param db a connection in a read transaction, which stays open until `end`
   * @throws Error with SQLite's code for damage
   */
  constructor(db: Database) {
    const find = db
      .prepare('SELECT value, version, expires_at, checksum FROM whole_entries WHERE key = ?')
      .raw();
    this.#stored = (key) => {
      const row = find.get(key) as [Buffer, number, number | null, number | null] | undefined;
      if (row === undefined) return null;
      const [value, version, expiresAt, checksum] = row;
      verifyEntry(key, value, version, expiresAt, checksum);
      return [value, expiresAt];
    };
    const { total, keys } = sumOf(db);
    this.#total = total;
    this.#keys = keys;
  }

  apply(command: Command): void {
    switch (command.kind) {
      case 'set':
        this.#changed.set(command.key, [command.value, command.expiresAt]);
        return;
      case 'del':
        for (const key of command.keys) this.#changed.set(key, null);
        return;
      case 'expire-at':
        this.#expire(command.key, command.expiresAt);
        return;
      case 'persist':
        this.#expire(command.key, null);
        return;
      case 'flush-all':
        this.#flushed = true;
        this.#changed.clear();
        return;
      default:
        assertNever(command);
    }
  }

  end(): Sum {
    let total = this.#flushed ? 0n : this.#total;
    let keys = this.#flushed ? 0 : this.#keys;
    for (const [key, after] of this.#changed) {
      const before = this.#before(key);
      if (before !== null) {
        total -= numberOf(key, ...before);
        keys -= 1;
      }
      if (after !== null) {
        total += numberOf(key, ...after);
        keys += 1;
      }
    }
    return { keys, digest: hex(total) };
  }

  #before(key: string): Stored | null {
    return this.#flushed ? null : this.#stored(key);
  }

  #expire(key: string, expiresAt: number | null): void {
    const known = this.#changed.get(key);
    const entry = known === undefined ? this.#before(key) : known;
    if (entry !== null) this.#changed.set(key, [entry[0], expiresAt]);
  }
}

function numberOf(key: string, value: Buffer, expiresAt: number | null): bigint {
  return BigInt(`0x${hashOf(key, value, expiresAt).toString('hex', 0, 16)}`);
}

function hashOf(key: string, value: Buffer, expiresAt: number | null): Buffer {
  const keyBytes = Buffer.byteLength(key);
  const text = Buffer.from(`${keyBytes} ${value.length} ${expiresAt ?? ''}\n${key}`, 'utf8');
  return hash('sha256', Buffer.concat([text, value]), 'buffer');
}

/** @param total a sum of hashes; may be negative or exceed 128 bits */
function hex(total: bigint): string {
  return (total & MASK).toString(16).padStart(32, '0');
}

/**
 * @param db a connection without a transaction; the call opens a read transaction, so position and entries belong to
 * one moment
 */
export function digestOf(db: Database): Digest {
  return db.transaction((): Digest => {
    const position = readPosition(db);
    const { total, keys } = sumOf(db);
    return { position, keys, digest: hex(total) };
  })();
}

/** Sums the hashes of all entries, without reducing the sum, and counts the entries. */
function sumOf(db: Database): { readonly total: bigint; readonly keys: number } {
  const lanes = new Float64Array(LANES);
  let total = 0n;
  let keys = 0;
  const rows = db
    .prepare('SELECT key, value, version, expires_at, checksum FROM whole_entries')
    .raw()
    .iterate();
  for (const row of rows as IterableIterator<Row>) {
    const [key, value, version, expiresAt, checksum] = row;
    verifyEntry(key, value, version, expiresAt, checksum);
    const digest = hashOf(key, value, expiresAt);
    for (let lane = 0; lane < LANES; lane += 1) {
      (lanes[lane] as number) += digest.readUInt32BE(lane * 4);
    }
    keys += 1;
    // A sum of 2^20 numbers below 2^32 stays below 2^53.
    if (keys % 0x100000 === 0) total = total + carried(lanes);
  }
  return { total: total + carried(lanes), keys };
}

/** Combines the lanes into one number, most significant lane first, and sets them to zero. */
function carried(lanes: Float64Array): bigint {
  let sum = 0n;
  for (const lane of lanes) sum = (sum << 32n) + BigInt(lane);
  lanes.fill(0);
  return sum;
}
