/**
 * The history hash: a 64-bit value that stands for every byte of the stream up to a position. Two nodes at one offset
 * with the same history hash hold the same bytes. A run ID alone is only a claim: a copied or restored data folder
 * makes the same claim and may hold other bytes.
 *
 * It is a chain over the *writes* of the stream. A write is the range between two places where a position may stop: a
 * single command, or MULTI to EXEC. `hash(n + 1) = xxh64(bytes of write n + 1, seed = hash(n))`, and 0 before the first
 * byte. A write of more than 64 KiB is chained in pieces of 64 KiB, counted from its start. So the value depends on the
 * bytes alone, never on how they were divided into messages or journal rows.
 *
 * `null` stands for an unknown hash: the data came from a psyncd that kept none, or a power cut has destroyed the
 * journal's end.
 */
import { formatPosition, type Offset, type Position } from './position.ts';

/** @returns the 64-bit hash of the bytes; hash and seed are from 0 to 2^64 - 1 */
export type Hash64 = (bytes: Uint8Array, seed: bigint) => bigint;

/** A history hash and its offset in the stream. */
export interface HashedOffset {
  readonly offset: Offset;
  /** The hash; null: unknown. */
  readonly hash: bigint | null;
}

/** The history hash at offset 0. */
export const EMPTY_HISTORY_HASH = 0n;
/** Capability that a replica announces if it knows history hashes. */
export const HISTORY_HASH = 'history-hash';
/** Size of the pieces of a large write, in bytes: the hash function copies one piece at a time. */
const PIECE_BYTES = 64 * 1024;
const HEX = /^[0-9a-f]{16}$/;

/**
 * @param hash the history hash before the writes
 * @param bytes the writes
 * @param boundaries end of each write, counted from the start of `bytes`, in order
 * @returns the history hash after them
 */
export function chained(
  hash: bigint,
  bytes: Uint8Array,
  boundaries: readonly number[],
  hash64: Hash64,
): bigint {
  let value = hash;
  let at = 0;
  for (const end of boundaries) {
    for (; end - at > PIECE_BYTES; at += PIECE_BYTES) {
      value = hash64(bytes.subarray(at, at + PIECE_BYTES), value);
    }
    value = hash64(at === 0 && end === bytes.length ? bytes : bytes.subarray(at, end), value);
    at = end;
  }
  return value;
}

/** @returns the value with which a master begins a new chain if it does not know the earlier hash */
export function begunAt(position: Position, hash64: Hash64): bigint {
  return hash64(new TextEncoder().encode(formatPosition(position)), EMPTY_HISTORY_HASH);
}

/** @returns 16 hex digits */
export function formatHash(hash: bigint): string {
  return hash.toString(16).padStart(16, '0');
}

/** @returns the hash for 16 lowercase hex digits; null for any other text */
export function parseHash(text: string): bigint | null {
  return HEX.test(text) ? BigInt(`0x${text}`) : null;
}

/** Capability in which a replica announces its history hash at the offset from which it asks. */
export function hashCapability(hash: bigint): string {
  return `${HISTORY_HASH}-${formatHash(hash)}`;
}

/** @returns the announced history hash, the last one if there are several; null: none */
export function announcedHash(capabilities: readonly string[]): bigint | null {
  const prefix = `${HISTORY_HASH}-`;
  for (const capability of capabilities.toReversed()) {
    const hash = capability.startsWith(prefix) ? parseHash(capability.slice(prefix.length)) : null;
    if (hash !== null) return hash;
  }
  return null;
}
