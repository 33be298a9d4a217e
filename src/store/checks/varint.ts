/**
 * Decodes SQLite's variable-length numbers: seven bits in each byte, and all eight in the ninth. Values above 2^53 are
 * rounded.
 * @returns the value, and the place after it; a place beyond the bytes means that the number is cut off
 */
export function varint(bytes: Buffer, at: number): { value: number; end: number } {
  let value = 0;
  for (let index = 0; index < 8; index += 1) {
    const byte = bytes[at + index];
    if (byte === undefined) return { value, end: bytes.length + 1 };
    value = value * 128 + (byte & 0x7f);
    if (byte < 0x80) return { value, end: at + index + 1 };
  }
  return { value: value * 256 + (bytes[at + 8] ?? 0), end: at + 9 };
}
