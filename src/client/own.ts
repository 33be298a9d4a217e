/** Bytes that nobody else changes or transfers. */

/** @returns bytes of their own for bytes; anything else as it is */
export function own<T>(value: T): T {
  return value instanceof Uint8Array ? (new Uint8Array(value) as T) : value;
}
