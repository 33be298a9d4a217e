/**
 * A keyspace as a plain map: how commands change it, how it is written as the bytes of a snapshot, and what two that
 * are the same have in common. Written for the simulation, without looking at the overlay or the applier.
 */
import type { Entry } from '../../src/keyspace/entry.ts';
import { type Offset, parseOffset, parseRunId } from '../../src/replication/position.ts';
import { assertNever, type Command } from '../../src/stream/command.ts';
import type { KeyspaceImage } from './disk.ts';

/** Size of one part of a snapshot: so small that a connection breaks between two of them. */
export const IMAGE_PART_BYTES = 64;

/** @param version the offset of the command's end */
export function applyCommand(entries: Map<string, Entry>, command: Command, version: number): void {
  switch (command.kind) {
    case 'set':
      entries.set(command.key, { value: command.value, version, expiresAt: command.expiresAt });
      return;
    case 'del':
      for (const key of command.keys) entries.delete(key);
      return;
    case 'expire-at':
    case 'persist': {
      const entry = entries.get(command.key);
      if (entry === undefined) return;
      entries.set(command.key, {
        ...entry,
        expiresAt: command.kind === 'persist' ? null : command.expiresAt,
      });
      return;
    }
    case 'flush-all':
      entries.clear();
      return;
    default:
      assertNever(command);
  }
}

export function encodeImage({ position, entries }: KeyspaceImage): Buffer {
  const rows = [...entries].map(([key, { value, version, expiresAt }]) => {
    return [key, value.toString('latin1'), version, expiresAt];
  });
  return Buffer.from(JSON.stringify([position.runId, position.offset, rows]), 'utf8');
}

/** @throws Error for bytes that are no snapshot */
export function decodeImage(bytes: Buffer): KeyspaceImage {
  const [runId, offset, rows] = JSON.parse(bytes.toString('utf8')) as [
    string,
    number,
    [string, string, number, number | null][],
  ];
  const position = { runId: parseRunId(runId), offset: parseOffset(String(offset)) as Offset };
  if (position.runId === null) throw new Error('no run ID');
  const entries = new Map(
    rows.map(([key, value, version, expiresAt]) => {
      return [key, { value: Buffer.from(value, 'latin1'), version, expiresAt }];
    }),
  );
  return { position: { ...position, runId: position.runId }, entries };
}

/** One entry as a number; the digest of a keyspace is the sum over its entries, whatever their order. */
export function entryDigest(key: string, entry: Entry): number {
  let [low, high] = [0x811c9dc5, 0x9e3779b9];
  const mix = (unit: number): void => {
    low = Math.imul(low ^ unit, 0x01000193);
    high = Math.imul(high ^ unit, 0x85ebca6b) ^ (high >>> 13);
  };
  for (let index = 0; index < key.length; index += 1) mix(key.charCodeAt(index));
  mix(0x100);
  for (const byte of entry.value) mix(byte);
  mix(entry.version);
  mix(entry.expiresAt === null ? 0x101 : entry.expiresAt % 0x7fffffff);
  return (high >>> 0) * 2 ** 18 + ((low >>> 0) % 2 ** 18);
}

const DIGEST_MODULUS = 2 ** 50;

export function addDigests(one: number, other: number): number {
  return (((one + other) % DIGEST_MODULUS) + DIGEST_MODULUS) % DIGEST_MODULUS;
}
