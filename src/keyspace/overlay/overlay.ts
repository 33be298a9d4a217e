/**
 * The overlay: the newest state of all keys that the stream has changed and the keyspace file does not yet hold, in
 * memory.
 *
 * It is a list of *generations*, each covering a range of offsets. Writes go into the last one. After a generation is
 * sealed, the applier writes everything up to its end to SQLite. From that commit on the generation is *written*: it no
 * longer counts as pending, and stays only because a lookup in it costs a fraction of one in SQLite and clients soon
 * read what was written. When its memory is needed, the whole generation is dropped. Dropping single entries was
 * rejected: it stalls the event loop in proportion to the batch, which has hundreds of thousands of entries.
 *
 * Invariant: reading the generations from newest to oldest, then SQLite, gives the state at the head of the stream.
 * Written generations are the oldest ones, and the oldest is dropped first, so the remaining ones agree with SQLite.
 */
import { assertNever, type Command } from '../../stream/command.ts';
import type { Entry, Outline } from '../entry.ts';
import type { Changes } from './changes.ts';
import type { ChunkPool } from './chunk-pool.ts';
import { EntryTable } from './entry-table.ts';
import { FirstKeys, type KeyRange } from './first-keys.ts';
import { KeyProbe } from './key-probe.ts';

/** Looks a key up in the keyspace file; null: no entry. */
export type Below = (key: string) => Entry | null;

interface Generation {
  readonly table: EntryTable;
  /** Whether a FLUSHALL in it hides everything older. */
  readonly flushed: boolean;
  /** Bytes written before that FLUSHALL. */
  readonly flushedBytes: number;
  /** Offset of the last byte, set when the generation is sealed. */
  end: number | null;
}

/** Size for which a FLUSHALL counts, in bytes. */
const FLUSH_BYTES = 64;
/** Largest number of written generations, because the lookup of a missing key visits all of them. */
const MAX_WRITTEN = 4;

export class Overlay {
  readonly #pool: ChunkPool;
  readonly #probe = new KeyProbe();
  /** Generations, oldest first. */
  #generations: Generation[];
  /** Number of written generations; they come first. */
  #written = 0;

  /** @param pool serves only this overlay */
  constructor(pool: ChunkPool) {
    this.#pool = pool;
    this.#generations = [this.#generation(0)];
    pool.onShortage(() => this.#dropOldest());
  }

  /** Approximate memory of the generations that are not written, in bytes. */
  get bytes(): number {
    return sumOf(this.#generations, bytesOf, this.#written);
  }

  /** Number of keys in the generations that are not written; a key in two of them counts twice. */
  get size(): number {
    return sumOf(this.#generations, countOf, this.#written);
  }

  /** Approximate memory of the unsealed generation, in bytes. */
  get unsealedBytes(): number {
    return bytesOf(this.#newest());
  }

  /** @returns the entry; null: it was deleted; undefined: the overlay does not know the key */
  get(key: string): Entry | null | undefined {
    return this.#find(key, getFrom, null);
  }

  /** Like `get`, with the size of the value instead of the value. */
  outline(key: string): Outline | null | undefined {
    return this.#find(key, outlineFrom, null);
  }

  /**
   * Finds the expiry without reading the entry.
   * @returns time of expiry (null: never); false: the entry was deleted; undefined: like `get`
   */
  expiry(key: string): number | null | false | undefined {
    return this.#find(key, expiryFrom, false);
  }

  /**
   * Applies one command.
   * @param version offset of the command's end
   * @param below looks a key up in the keyspace file, for commands that change a part of an entry
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
   * Seals the newest generation at this offset and opens another.
   * @returns false if it was empty
   */
  seal(end: number): boolean {
    const generation = this.#newest();
    if (bytesOf(generation) === 0) return false;
    generation.end = end;
    this.#generations.push(this.#generation(generation.table.count));
    return true;
  }

  /** The sealed generations to be written, oldest first. Valid until `applied` is called for them. */
  get sealed(): readonly Changes[] {
    return this.#unwritten.flatMap(({ table, flushed, end }): Changes[] => {
      if (end === null) return [];
      const { chunkBytes } = this.#pool;
      return [{ end, flushed, chunkBytes, memories: table.memories, addresses: table.addresses() }];
    });
  }

  /** Records that the keyspace file now holds the generations up to this end. */
  applied(upTo: number): void {
    const isApplied = ({ end }: Generation): boolean => end !== null && end <= upTo;
    this.#written = this.#generations.filter(isApplied).length;
    while (this.#written > MAX_WRITTEN) this.#dropOldest();
  }

  /** Gives back the memory of written generations, except for so many bytes. */
  forgetWritten(keepBytes: number): void {
    while (sumOf(this.#generations, bytesOf, 0, this.#written) > keepBytes) this.#dropOldest();
    this.#pool.clear();
  }

  /** Whether the overlay hides the whole keyspace file. */
  get hidesEverythingBelow(): boolean {
    return this.#unwritten.some((generation) => generation.flushed);
  }

  /**
   * Returns the first keys of some ranges, in order, among the entries that are not written. It looks at each entry once, however
   * many ranges there are.
   * @param ranges in key order; they do not overlap
   * @param count largest number of keys; fewer means that there are no more
   * @param now milliseconds since 1970; entries that have expired by then are left out
   */
  firstKeys(ranges: readonly KeyRange[], count: number, now: number): readonly string[] {
    const wanted = new FirstKeys(ranges, count);
    for (let index = this.#generations.length - 1; index >= this.#written; index -= 1) {
      const { table, flushed } = this.#generations[index] as Generation;
      table.collect(wanted, now, this.#probe, () => !this.#isIn(this.#probe, index + 1));
      if (flushed) break;
    }
    return wanted.keys;
  }

  /** Whether the overlay hides the keyspace file's entry of this key. */
  hides(key: string): boolean {
    // An empty overlay does not even hash the key.
    return (this.size > 0 && this.#isIn(this.#probe.of(key), this.#written)) || this.hidesEverythingBelow;
  }

  /** Whether a generation from this index on knows the key. */
  #isIn(probe: KeyProbe, from: number): boolean {
    for (let index = from; index < this.#generations.length; index += 1) {
      if (this.#generations[index]?.table.has(probe)) return true;
    }
    return false;
  }

  get #unwritten(): readonly Generation[] {
    return this.#generations.slice(this.#written);
  }

  /**
   * Drops the oldest generation.
   * @returns false if it is not written yet
   */
  #dropOldest(): boolean {
    if (this.#written === 0) return false;
    this.#written -= 1;
    this.#generations.shift()?.table.release();
    return true;
  }

  /**
   * @param from looks the key up in one generation; undefined: the generation does not know it
   * @param gone the result for keys that a FLUSHALL deleted
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

  /** Whether the overlay is empty, so that reads from disk skip it without cost. */
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
    // Counted even though the memory is freed: `bytes` says how much was written since the last seal.
    const flushedBytes = bytesOf(generation) + FLUSH_BYTES;
    generation.table.release();
    this.#generations[this.#generations.length - 1] = {
      table: new EntryTable(this.#pool),
      flushed: true,
      flushedBytes,
      end: null,
    };
  }

  /** @param expected approximate number of keys */
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
