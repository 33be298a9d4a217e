/** History hashes as SQLite stores them: its integers are signed. */

/** Converts a hash to the integer in its column. */
export function signed(hash: bigint): bigint {
  return BigInt.asIntN(64, hash);
}

/** Converts the integer in a column to the hash. */
export function unsigned(hash: bigint): bigint {
  return BigInt.asUintN(64, hash);
}
