/**
 * Entries without an object for each: numbers in typed arrays, and values as places in the buffers that they came in.
 *
 * An entry object, its value's view and what the garbage collector needs for them are three times a small value's size,
 * and hundreds of thousands of them are what a full collection has to walk. Here an entry is a slot, 28 bytes, and the
 * object is made when somebody reads it.
 *
 * Slots are only ever added; they go all at once, with the whole.
 */
import type { Entry } from './entry.ts';

const FIRST_CAPACITY = 64;
/** Stands for null among the expiry times. */
const NEVER = Number.NEGATIVE_INFINITY;

export class EntrySlots {
  #count = 0;
  /** The buffers that values lie in, each once as long as they come one after the other. */
  readonly #memories: ArrayBufferLike[] = [];
  #memory = new Uint32Array(FIRST_CAPACITY);
  #start = new Uint32Array(FIRST_CAPACITY);
  #length = new Uint32Array(FIRST_CAPACITY);
  #version = new Float64Array(FIRST_CAPACITY);
  #expiresAt = new Float64Array(FIRST_CAPACITY);

  /** @returns the new entry's slot */
  add(value: Buffer, version: number, expiresAt: number | null): number {
    const slot = this.#next();
    this.#memory[slot] = this.#memoryOf(value);
    this.#start[slot] = value.byteOffset;
    this.#length[slot] = value.length;
    this.#version[slot] = version;
    this.#expiresAt[slot] = expiresAt ?? NEVER;
    return slot;
  }

  /** The same entry with another expiry. @returns its slot; the old one stays what it was */
  withExpiry(slot: number, expiresAt: number | null): number {
    const copy = this.#next();
    this.#memory[copy] = this.#memory[slot] as number;
    this.#start[copy] = this.#start[slot] as number;
    this.#length[copy] = this.#length[slot] as number;
    this.#version[copy] = this.#version[slot] as number;
    this.#expiresAt[copy] = expiresAt ?? NEVER;
    return copy;
  }

  entry(slot: number): Entry {
    return { value: this.value(slot), version: this.version(slot), expiresAt: this.expiresAt(slot) };
  }

  /** A view into what it came in. */
  value(slot: number): Buffer {
    const memory = this.#memories[this.#memory[slot] as number] as ArrayBuffer;
    return Buffer.from(memory, this.#start[slot] as number, this.#length[slot] as number);
  }

  version(slot: number): number {
    return this.#version[slot] as number;
  }

  expiresAt(slot: number): number | null {
    const at = this.#expiresAt[slot] as number;
    return at === NEVER ? null : at;
  }

  #memoryOf({ buffer }: Buffer): number {
    const last = this.#memories.length - 1;
    if (this.#memories[last] === buffer) return last;
    return this.#memories.push(buffer) - 1;
  }

  #next(): number {
    const slot = this.#count;
    this.#count += 1;
    if (slot === this.#memory.length) this.#grow();
    return slot;
  }

  #grow(): void {
    const capacity = this.#memory.length * 2;
    this.#memory = grown(this.#memory, new Uint32Array(capacity));
    this.#start = grown(this.#start, new Uint32Array(capacity));
    this.#length = grown(this.#length, new Uint32Array(capacity));
    this.#version = grown(this.#version, new Float64Array(capacity));
    this.#expiresAt = grown(this.#expiresAt, new Float64Array(capacity));
  }
}

function grown<T extends Uint32Array | Float64Array>(from: T, into: T): T {
  into.set(from);
  return into;
}
