/** What is true of a node, by the names that only the referee knows, and how two keyspaces differ. */
import type { Entry } from '../../src/keyspace/entry.ts';
import { formatPosition, type Position } from '../../src/replication/position.ts';
import type { Disk } from './disk.ts';
import { addDigests, entryDigest } from './keyspace-image.ts';
import type { Ledger } from './ledger.ts';

/** Told each broken promise. */
export type Blame = (what: string) => void;

export type Entries = ReadonlyMap<string, Entry>;

/** Where the disk is, under the true name of its stream. */
export function trulyAt({ position, truth }: Disk): Position {
  return { runId: truth, offset: position.offset };
}

export function digestOf(entries: Entries): number {
  let digest = 0;
  for (const [key, entry] of entries) digest = addDigests(digest, entryDigest(key, entry));
  return digest;
}

export function isSame(one: Position, other: Position): boolean {
  return one.offset === other.offset && one.runId === other.runId;
}

/** @returns the first entry that is not what it should be, or null */
export function difference(truth: Entries, entries: Entries): string | null {
  const text = (key: string, from: Entries): string => {
    const entry = from.get(key);
    return entry === undefined
      ? 'nothing'
      : `${entry.value.toString('latin1')} v${entry.version} ${entry.expiresAt}`;
  };
  for (const key of new Set([...truth.keys(), ...entries.keys()])) {
    const [expected, found] = [text(key, truth), text(key, entries)];
    if (expected !== found) return `${key} = ${found}; the history says ${expected}`;
  }
  return null;
}

/**
 * @param position under the true name of its stream
 * @returns what is wrong with the entries of the node called `name`, or null
 */
export function wrongContent(
  ledger: Ledger,
  name: string,
  position: Position,
  entries: Entries,
): string | null {
  const expected = ledger.digestAt(position);
  if (expected === undefined) {
    return `${name} is at ${formatPosition(position)}, which is inside of a command or transaction`;
  }
  if (digestOf(entries) === expected) return null;
  return `${name} at ${formatPosition(position)} has ${difference(ledger.entriesAt(position), entries)}`;
}
