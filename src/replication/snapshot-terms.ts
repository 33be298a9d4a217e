/**
 * What the two ends of a link tell each other about snapshots: the schema of the file, and the part of one that the replica has.
 *
 * A snapshot is a keyspace file, so a full resync needs equal schema versions. The stream does not depend on the schema: a partial
 * resync works with any versions.
 *
 * When a connection breaks in the middle of a snapshot, the replica has its first bytes. It announces this part before PSYNC:
 * `REPLCONF snapshot <run ID>:<offset>:<length>:<bytes>:<crc32>`. Position and length are a claim, and the checksum of the bytes is
 * the proof: whoever has a file that begins with these bytes can send the rest of it. In numbers, for a snapshot of 2,500,000 bytes whose checksums the master knows at 1,048,576 and 2,097,152:
 *
 *   has 1,048,576, same checksum       the master sends 1,451,424 bytes
 *   has 1,048,576, another checksum    it sends the whole snapshot
 *   has 1,000,000                      it sends the whole snapshot: it does not know that checksum
 */
import { formatPosition, type Position, parseOffset, parsePosition } from './position.ts';

/** Capability of a replica that asks for the rest of a snapshot after its connection broke. */
export const SNAPSHOT_RESUME = 'snapshot-resume';

/** Bytes of a part of a snapshot: both sides know the checksums of the file up to the end of each part. */
export const PART_BYTES = 1024 * 1024;

/** Largest snapshot that a replica takes, in bytes: 16 TiB, more than SQLite's default page count allows. */
export const MAX_SNAPSHOT_BYTES = 2 ** 44;

/** A snapshot of which a replica has the first bytes. */
export interface PartialSnapshot {
  readonly position: Position;
  /** Bytes of the whole snapshot. */
  readonly length: number;
  /** Number of the first bytes that the replica has, from 1 to `length`. */
  readonly bytes: number;
  /** CRC-32 of these bytes. */
  readonly crc32: number;
}

const FORM = /^([0-9a-f]{40}:\d{1,16}):(\d{1,14}):(\d{1,14}):([0-9a-f]{8})$/i;

/** @returns the word that announces the part, of at most 96 characters */
export function formatPartial({ position, length, bytes, crc32 }: PartialSnapshot): string {
  return `${formatPosition(position)}:${length}:${bytes}:${crc32.toString(16).padStart(8, '0')}`;
}

/** @returns the announced part; null for any other text, and for numbers that no part has */
export function parsePartial(text: string): PartialSnapshot | null {
  const [, place = '', whole = '', part = '', digits = ''] = FORM.exec(text) ?? [];
  const position = parsePosition(place);
  const [length, bytes] = [parseOffset(whole), parseOffset(part)];
  if (position === null || length === null || bytes === null) return null;
  if (length > MAX_SNAPSHOT_BYTES || bytes === 0 || bytes > length) return null;
  return { position, length, bytes, crc32: Number.parseInt(digits, 16) };
}

/** Whether both are parts of one snapshot, as far as its position and its length tell. */
export function isPartOf(
  partial: PartialSnapshot,
  { position, length }: Pick<PartialSnapshot, 'position' | 'length'>,
): boolean {
  const { runId, offset } = partial.position;
  return runId === position.runId && offset === position.offset && partial.length === length;
}

/**
 * Decides how much of a snapshot the master need not send.
 * @param partial the part that the replica announces; null: none
 * @param sumAt CRC-32 of the first bytes of the snapshot, for a number of bytes; null: the master does not know it
 * @returns the number of the first bytes that the replica has; 0: the master sends the whole snapshot
 */
export function resumesFrom(
  partial: PartialSnapshot | null,
  snapshot: Pick<PartialSnapshot, 'position' | 'length'>,
  sumAt: (bytes: number) => number | null,
): number {
  if (partial === null || !isPartOf(partial, snapshot)) return 0;
  return sumAt(partial.bytes) === partial.crc32 ? partial.bytes : 0;
}

/** Capability that a replica announces: `capa keyspace-3`. */
export function schemaCapability(schema: number): string {
  return `keyspace-${schema}`;
}

/**
 * @param capabilities announced by the replica; if it states no schema, it checks the snapshot itself
 * @param own schema of this node's keyspace file
 * @returns the line that refuses a snapshot, or null
 */
export function schemaRefusal(capabilities: readonly string[], own: number): string | null {
  const known = capabilities.flatMap((capability) => /^keyspace-(\d{1,9})$/.exec(capability)?.[1] ?? []);
  if (known.length === 0 || known.includes(String(own))) return null;
  return (
    `-SCHEMA a full resync is needed, but the master's keyspace has schema ${own}, the replica's ${known.join(', ')}: ` +
    'upgrade the older one'
  );
}
