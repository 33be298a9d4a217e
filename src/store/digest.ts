/**
 * The digest of a keyspace: a hash over key, value and expiry of its entries that does not depend on their order,
 * so that nodes can compare what they hold. Each entry is hashed by itself; the digest is the sum of the hashes
 * modulo 2^128. (A XOR would be as order-free, but lets equal changes in two entries cancel out.)
 *
 * An entry counts until its DEL is in the stream, whether or not it has expired: so equal positions have equal
 * digests whatever the clocks say.
 */
import { hash } from 'node:crypto';
import type { Database } from 'better-sqlite3';
import type { Digest } from '../node/ports.ts';
import { verifyEntry } from './entry-checksum.ts';
import { readPosition } from './keyspace-schema.ts';

const MASK = (1n << 128n) - 1n;
/** Entries between two additions of big integers; small sums are added as numbers in between. */
const LANES = 4;

type Row = [key: string, value: Buffer, version: number, expiresAt: number | null, checksum: number | null];

/** @param db a connection whose read transaction this becomes: position and entries are of one moment */
export function digestOf(db: Database): Digest {
  return db.transaction((): Digest => {
    const position = readPosition(db);
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
      const keyBytes = Buffer.byteLength(key);
      const text = Buffer.from(`${keyBytes} ${value.length} ${expiresAt ?? ''}\n${key}`, 'utf8');
      const digest = hash('sha256', Buffer.concat([text, value]), 'buffer');
      for (let lane = 0; lane < LANES; lane += 1) {
        (lanes[lane] as number) += digest.readUInt32BE(lane * 4);
      }
      keys += 1;
      // 2^20 numbers below 2^32 sum up to less than 2^53.
      if (keys % 0x100000 === 0) total = total + carried(lanes);
    }
    total = (total + carried(lanes)) & MASK;
    return { position, keys, digest: total.toString(16).padStart(32, '0') };
  })();
}

/** The lanes as one number, most significant first; they are zero afterwards. */
function carried(lanes: Float64Array): bigint {
  let sum = 0n;
  for (const lane of lanes) sum = (sum << 32n) + BigInt(lane);
  lanes.fill(0);
  return sum;
}
