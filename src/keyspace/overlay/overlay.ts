/**
 * What the stream says and the keyspace file does not yet hold: the newest state per key, in memory.
 *
 * A list of *generations*, each covering a range of offsets. Writes go into the last one. When it is sealed, the
 * applier is asked to write everything up to its end into SQLite. When that is committed the generation is *written*:
 * it counts no more, and is only kept because a lookup in it costs a fraction of one in SQLite, and what was written
 * is soon asked for. As soon as its memory is needed it goes, as a whole. Dropping entry by entry was rejected: it
 * stalls the event loop in proportion to the batch, and a batch has hundreds of thousands of entries.
 *
 * Invariant: reading the generations from newest to oldest, then SQLite, gives the state at the head of the stream. The
 * written ones are the oldest, and the oldest of them goes first: so what is left says what SQLite says.
 */
import { assertNever, type Command } from '../../stream/command.ts';
import type { Entry, Outline } from '../entry.ts';
import type { Changes } from './changes.ts';
import type { ChunkPool } from './chunk-pool.ts';
import { EntryTable } from './entry-table.ts';
import { FirstKeys, type KeyRange } from './first-keys.ts';
import { KeyProbe } from './key-probe.ts';

/** Finds what is below: the entry in the keyspace file, or null. */
export type Below = (key: string) => Entry | null;

interface Generation {
  readonly table: EntryTable;
  /** A FLUSHALL: nothing older shows through. */
  readonly flushed: boolean;
  /** Written before that, in bytes. */
  readonly flushedBytes: number;
  /** Set when it is sealed: the offset of its last byte. */
  end: number | null;
}

/** What a FLUSHALL counts. */
const FLUSH_BYTES = 64;
/** A key that is in none of them is looked for in all. */
const MAX_WRITTEN = 4;

export class Overlay {
  readonly #pool: ChunkPool;
  readonly #probe = new KeyProbe();
  /** Oldest first. */
  #generations: Generation[];
  /** How many of them are written: the first ones. */
  #written = 0;

  /** @param pool of no other overlay */
  constructor(pool: ChunkPool) {
    this.#pool = pool;
    this.#generations = [this.#generation(0)];
    pool.onShortage(() => this.#dropOldest());
  }

  /** The memory that it takes for what is not written, in bytes, roughly. */
  get bytes(): number {
    return sumOf(this.#generations, bytesOf, this.#written);
  }

  /** How many keys it knows something about that is not written; one that is in two generations counts twice. */
  get size(): number {
    return sumOf(this.#generations, countOf, this.#written);
  }

  /** The memory that the unsealed generation takes, in bytes, roughly. */
  get unsealedBytes(): number {
    return bytesOf(this.#newest());
  }

  /** @returns the entry, null if it was deleted, undefined if this overlay does not know */
  get(key: string): Entry | null | undefined {
    return this.#find(key, getFrom, null);
  }

  /** Like `get`, with the size of the value instead of the value. */
  outline(key: string): Outline | null | undefined {
    return this.#find(key, outlineFrom, null);
  }

  /** @returns when the entry expires (null: never), without reading it; false if it was deleted, undefined like `get` */
  expiry(key: string): number | null | false | undefined {
    return this.#find(key, expiryFrom, false);
  }

  /**
   * Applies one command.
   * @param version the offset of the command's end
   * @param below looks a key up in the keyspace file, for commands that change an entry without replacing it
   */
  apply(command: Command, version: number, below: Below): void {
    switch (command.kind) {
      case 'set':
        this.#newest().table.put(this.#probe.of(command.key), command.value, version, command.expiresAt);
        return;
      case 'del':
        for (const key of command.keys) this.#newest().table.put(this.#probe.of(key), null, version, null);
        return;
      case 'expire-at':
        this.#change(command.key, command.expiresAt, below);
        return;
      case 'persist':
        this.#change(command.key, null, below);
        return;
      case 'flush-all':
        this.#flush();
        return;
      default:
        assertNever(command);
    }
  }

  /**
   * Closes the newest generation at this offset and opens another.
   * @returns false if there was nothing in it
   */
  seal(end: number): boolean {
    const generation = this.#newest();
    if (bytesOf(generation) === 0) return false;
    generation.end = end;
    this.#generations.push(this.#generation(generation.table.count));
    return true;
  }

  /** What is to be written, oldest first: the sealed generations. Good until `applied` says that it was. */
  get sealed(): readonly Changes[] {
    return this.#unwritten.flatMap(({ table, flushed, end }): Changes[] => {
      if (end === null) return [];
      const { chunkBytes } = this.#pool;
      return [{ end, flushed, chunkBytes, memories: table.memories, addresses: table.addresses() }];
    });
  }

  /** The keyspace file holds the generations up to this end now. */
  applied(upTo: number): void {
    const isApplied = ({ end }: Generation): boolean => end !== null && end <= upTo;
    this.#written = this.#generations.filter(isApplied).length;
    while (this.#written > MAX_WRITTEN) this.#dropOldest();
  }

  /** Gives the memory back that it keeps for what is written, but for so many bytes. */
  forgetWritten(keepBytes: number): void {
    while (sumOf(this.#generations, bytesOf, 0, this.#written) > keepBytes) this.#dropOldest();
    this.#pool.clear();
  }

  /** Whether nothing of the keyspace file shows through any more. */
  get hidesEverythingBelow(): boolean {
    return this.#unwritten.some((generation) => generation.flushed);
  }

  /**
   * The first keys of a range, in key order, of entries that are not written.
   * @param count at most so many; if there are fewer, these are all
   * @param now milliseconds since 1970: what has expired by then is left out
   */
  firstKeys(range: KeyRange, count: number, now: number): readonly string[] {
    const wanted = new FirstKeys(range, count);
    for (let index = this.#generations.length - 1; index >= this.#written; index -= 1) {
      const { table, flushed } = this.#generations[index] as Generation;
      table.collect(wanted, now, this.#probe, () => !this.#isIn(this.#probe, index + 1));
      if (flushed) break;
    }
    return wanted.keys;
  }

  /** Whether what the keyspace file says of this key counts no more. */
  hides(key: string): boolean {
    // An overlay that is empty does not even look at the key.
    return (this.size > 0 && this.#isIn(this.#probe.of(key), this.#written)) || this.hidesEverythingBelow;
  }

  /** Whether one of the generations from this index on knows something about the key. */
  #isIn(probe: KeyProbe, from: number): boolean {
    for (let index = from; index < this.#generations.length; index += 1) {
      if (this.#generations[index]?.table.has(probe)) return true;
    }
    return false;
  }

  get #unwritten(): readonly Generation[] {
    return this.#generations.slice(this.#written);
  }

  /** @returns false if none of them is written */
  #dropOldest(): boolean {
    if (this.#written === 0) return false;
    this.#written -= 1;
    this.#generations.shift()?.table.release();
    return true;
  }

  /**
   * @param from looks the key up in one generation; undefined: it knows nothing of it
   * @param gone what a FLUSHALL has made of keys that were not written again
   */
  #find<T>(key: string, from: (table: EntryTable, probe: KeyProbe) => T | undefined, gone: T): T | undefined {
    if (this.#knowsNothing) return undefined;
    const probe = this.#probe.of(key);
    for (let index = this.#generations.length - 1; index >= 0; index -= 1) {
      const { table, flushed } = this.#generations[index] as Generation;
      const found = from(table, probe);
      if (found !== undefined) return found;
      if (flushed) return gone;
    }
    return undefined;
  }

  #newest(): Generation {
    return this.#generations[this.#generations.length - 1] as Generation;
  }

  /** So that whoever reads what is on disk pays nothing for an overlay that is empty. */
  get #knowsNothing(): boolean {
    return this.#generations.length === 1 && bytesOf(this.#newest()) === 0;
  }

  #change(key: string, expiresAt: number | null, below: Below): void {
    const { table } = this.#newest();
    if (table.setExpiry(this.#probe.of(key), expiresAt)) return;
    const known = this.get(key);
    const entry = known === undefined ? below(key) : known;
    if (entry !== null) table.put(this.#probe.of(key), entry.value, entry.version, expiresAt);
  }

  #flush(): void {
    const generation = this.#newest();
    // Counted all the same: so much has been written since the last generation was sealed.
    const flushedBytes = bytesOf(generation) + FLUSH_BYTES;
    generation.table.release();
    this.#generations[this.#generations.length - 1] = {
      table: new EntryTable(this.#pool),
      flushed: true,
      flushedBytes,
      end: null,
    };
  }

  /** @param expected how many keys there will be, about */
  #generation(expected: number): Generation {
    return { table: new EntryTable(this.#pool, expected), flushed: false, flushedBytes: 0, end: null };
  }
}

function sumOf(
  generations: readonly Generation[],
  size: (generation: Generation) => number,
  from: number,
  to = generations.length,
): number {
  let sum = 0;
  for (let index = from; index < to; index += 1) sum += size(generations[index] as Generation);
  return sum;
}

function countOf({ table }: Generation): number {
  return table.count;
}

function getFrom(table: EntryTable, probe: KeyProbe): Entry | null | undefined {
  return table.get(probe);
}

function outlineFrom(table: EntryTable, probe: KeyProbe): Outline | null | undefined {
  return table.outline(probe);
}

function expiryFrom(table: EntryTable, probe: KeyProbe): number | null | false | undefined {
  return table.expiry(probe);
}

function bytesOf({ table, flushedBytes }: Generation): number {
  return table.bytes + flushedBytes;
}
