/**
 * A key to look up: its UTF-8 bytes and their hash, computed once for all tables.
 *
 * The hash is HalfSipHash-1-3 (https://github.com/veorq/SipHash) with a secret of this process: clients choose the
 * keys, and a client that could choose keys with equal hashes would turn a table into a list.
 */
const FIRST_CAPACITY = 1024;
/** Largest number of bytes for one UTF-16 code unit. */
const MAX_UNIT_BYTES = 3;
const [K0, K1] = crypto.getRandomValues(new Int32Array(2)) as unknown as readonly [number, number];
const encoder = new TextEncoder();

export class KeyProbe {
  /** The key's bytes, followed by leftovers of earlier keys. */
  bytes = new Uint8Array(FIRST_CAPACITY);
  /** Number of bytes of the key. */
  length = 0;
  /** Hash of 32 bits, not negative. */
  hash = 0;

  /**
   * Sets the key.
   * @returns this probe
   */
  of(key: string): this {
    if (key.length * MAX_UNIT_BYTES > this.bytes.length) {
      this.bytes = new Uint8Array(key.length * MAX_UNIT_BYTES);
    }
    this.length = encode(key, this.bytes);
    this.hash = halfSipHash(this.bytes, this.length);
    return this;
  }
}

/** @returns number of bytes of UTF-8 that were written */
function encode(key: string, into: Uint8Array): number {
  for (let at = 0; at < key.length; at += 1) {
    const unit = key.charCodeAt(at);
    if (unit >= 0x80) return encoder.encodeInto(key, into).written;
    into[at] = unit;
  }
  return key.length;
}

function halfSipHash(bytes: Uint8Array, length: number): number {
  let v0 = K0;
  let v1 = K1;
  let v2 = K0 ^ 0x6c796765;
  let v3 = K1 ^ 0x74656462;
  // One round for each word of the message and one for the last word, which contains the length; then three final
  // rounds.
  const words = length >> 2;
  for (let round = 0; round < words + 4; round += 1) {
    let word = 0;
    if (round <= words) {
      const at = round << 2;
      for (let index = Math.min(length - at, 4) - 1; index >= 0; index -= 1) {
        word = (word << 8) | (bytes[at + index] as number);
      }
      if (round === words) word |= length << 24;
    } else if (round === words + 1) v2 ^= 0xff;
    v3 ^= word;
    v0 = (v0 + v1) | 0;
    v1 = (v1 << 5) | (v1 >>> 27);
    v1 ^= v0;
    v0 = (v0 << 16) | (v0 >>> 16);
    v2 = (v2 + v3) | 0;
    v3 = (v3 << 8) | (v3 >>> 24);
    v3 ^= v2;
    v0 = (v0 + v3) | 0;
    v3 = (v3 << 7) | (v3 >>> 25);
    v3 ^= v0;
    v2 = (v2 + v1) | 0;
    v1 = (v1 << 13) | (v1 >>> 19);
    v1 ^= v2;
    v2 = (v2 << 16) | (v2 >>> 16);
    v0 ^= word;
  }
  return (v1 ^ v3) >>> 0;
}
