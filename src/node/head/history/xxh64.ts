/**
 * xxHash64 from the library `xxhash-wasm`, which instantiates its WebAssembly (3 KiB) when this module is imported. Its memory
 * grows to the largest input and never shrinks, so `chained` hashes more than 64 KiB in pieces.
 */
import xxhash from 'xxhash-wasm';
import type { Hash64 } from '../../../replication/history-hash.ts';

const { h64Raw } = await xxhash();

/** Hashes bytes with a seed. Measured: 0.1 µs for 64 bytes, 4 ms for 16 MiB. */
export const xxh64: Hash64 = h64Raw;
