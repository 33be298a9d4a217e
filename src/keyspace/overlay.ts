/**
 * What the stream says and the keyspace file does not yet hold: the newest state per key, in memory.
 *
 * A list of *generations*, each covering a range of offsets. Writes go into the last one. When it is sealed, the
 * applier is asked to write everything up to its end into SQLite, and when that is committed the generation is
 * dropped as a whole. Dropping entry by entry was rejected: it stalls the event loop in proportion to the batch,
 * and a batch has hundreds of thousands of entries.
 *
 * Invariant: reading the generations from newest to oldest, then SQLite, gives the state at the head of the stream.
 */
import { assertNever, type Command } from '../stream/command.ts';
import type { Entry } from './entry.ts';
import { EntrySlots } from './entry-slots.ts';

/** Finds what is below: the entry in the keyspace file, or null. */
export type Below = (key: string) => Entry | null;

interface Generation {
  /** By key: its slot, or DELETED. */
  readonly keys: Map<string, number>;
  readonly slots: EntrySlots;
  /** A FLUSHALL: nothing older shows through. */
  flushed: boolean;
  bytes: number;
  /** Set when it is sealed: the offset of its last byte. */
  end: number | null;
}

const DELETED = -1;
/** What a key in a map and a slot cost beside the bytes themselves (measured, rounded up). */
const OVERHEAD_BYTES = 150;

export class Overlay {
  #generations: Generation[] = [newGeneration()];

  /** The memory that it takes, in bytes, roughly. */
  get bytes(): number {
    return this.#generations.reduce((sum, generation) => sum + generation.bytes, 0);
  }

  /** How many keys it knows something about; one that is in two generations counts twice. */
  get size(): number {
    return this.#generations.reduce((sum, generation) => sum + generation.keys.size, 0);
  }

  /** The memory that the unsealed generation takes, in bytes, roughly. */
  get unsealedBytes(): number {
    return this.#newest().bytes;
  }

  /** @returns the entry, null if it was deleted, undefined if this overlay does not know */
  get(key: string): Entry | null | undefined {
    for (let index = this.#generations.length - 1; index >= 0; index -= 1) {
      const generation = this.#generations[index] as Generation;
      const slot = generation.keys.get(key);
      if (slot !== undefined) return slot === DELETED ? null : generation.slots.entry(slot);
      if (generation.flushed) return null;
    }
    return undefined;
  }

  /** @returns when the entry expires (null: never), without reading it; false if it was deleted, undefined like `get` */
  expiry(key: string): number | null | false | undefined {
    for (let index = this.#generations.length - 1; index >= 0; index -= 1) {
      const { keys, slots, flushed } = this.#generations[index] as Generation;
      const slot = keys.get(key);
      if (slot !== undefined) return slot !== DELETED && slots.expiresAt(slot);
      if (flushed) return false;
    }
    return undefined;
  }

  /**
   * Applies one command.
   * @param version the offset of the command's end
   * @param below looks a key up in the keyspace file, for commands that change an entry without replacing it
   */
  apply(command: Command, version: number, below: Below): void {
    switch (command.kind) {
      case 'set':
        this.#put(command.key, command.value, version, command.expiresAt);
        return;
      case 'del':
        for (const key of command.keys) this.#delete(key);
        return;
      case 'expire-at':
        this.#change(command.key, command.expiresAt, below);
        return;
      case 'persist':
        this.#change(command.key, null, below);
        return;
      case 'flush-all': {
        const generation = newGeneration();
        generation.flushed = true;
        // Counted all the same: so much has been written since the last generation was sealed.
        generation.bytes = this.#newest().bytes + OVERHEAD_BYTES;
        this.#generations[this.#generations.length - 1] = generation;
        return;
      }
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
    if (generation.bytes === 0) return false;
    generation.end = end;
    this.#generations.push(newGeneration());
    return true;
  }

  /** Forgets the generations that the keyspace file holds now. */
  applied(end: number): void {
    this.#generations = this.#generations.filter(
      (generation) => generation.end === null || generation.end > end,
    );
  }

  /** Whether nothing of the keyspace file shows through any more. */
  get hidesEverythingBelow(): boolean {
    return this.#generations.some((generation) => generation.flushed);
  }

  /** The keys that it knows something about, each once, in no order; also those of deleted entries. */
  *keys(): Generator<string> {
    for (let index = this.#generations.length - 1; index >= 0; index -= 1) {
      const generation = this.#generations[index] as Generation;
      for (const key of generation.keys.keys()) if (!this.#isNewerThan(index, key)) yield key;
      if (generation.flushed) return;
    }
  }

  #isNewerThan(index: number, key: string): boolean {
    for (let newer = index + 1; newer < this.#generations.length; newer += 1) {
      if ((this.#generations[newer] as Generation).keys.has(key)) return true;
    }
    return false;
  }

  #newest(): Generation {
    return this.#generations[this.#generations.length - 1] as Generation;
  }

  #put(key: string, value: Buffer, version: number, expiresAt: number | null): void {
    const generation = this.#newest();
    // Counted even when it replaces an entry of the same generation: the old value's bytes stay alive with the
    // turn that brought them, until the generation goes.
    generation.bytes += value.length + key.length + OVERHEAD_BYTES;
    generation.keys.set(key, generation.slots.add(value, version, expiresAt));
  }

  #delete(key: string): void {
    const generation = this.#newest();
    generation.bytes += key.length + OVERHEAD_BYTES;
    generation.keys.set(key, DELETED);
  }

  #change(key: string, expiresAt: number | null, below: Below): void {
    const known = this.get(key);
    const entry = known === undefined ? below(key) : known;
    if (entry !== null) this.#put(key, entry.value, entry.version, expiresAt);
  }
}

function newGeneration(): Generation {
  return { keys: new Map(), slots: new EntrySlots(), flushed: false, bytes: 0, end: null };
}
