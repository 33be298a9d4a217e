/** JSON as text: values that stay as they are written, and strings to be written. */

const SPACE = 0x20;
const QUOTE = 0x22;
const BACKSLASH = 0x5c;

/** One value of a JSON text as it is written there, already validated. */
export class RawJson {
  /** A view into the text. */
  readonly bytes: Buffer;
  /** Whether there is white space between the tokens. */
  readonly hasSpaces: boolean;

  constructor(bytes: Buffer, hasSpaces: boolean) {
    this.bytes = bytes;
    this.hasSpaces = hasSpaces;
  }
}

/** Removes the white space between tokens, into a new buffer. Strings and numbers stay as they are written. */
export function compact({ bytes, hasSpaces }: RawJson): Buffer {
  if (!hasSpaces) return Buffer.from(bytes);
  const result = Buffer.allocUnsafe(bytes.length);
  let length = 0;
  let inString = false;
  for (let at = 0; at < bytes.length; at += 1) {
    const byte = bytes[at] as number;
    if (!inString && byte <= SPACE) continue;
    result[length] = byte;
    length += 1;
    if (byte === QUOTE) inString = !inString;
    else if (byte === BACKSLASH) {
      // The escaped character may be a quote.
      at += 1;
      result[length] = bytes[at] as number;
      length += 1;
    }
  }
  return Buffer.from(result.subarray(0, length));
}

/** Number of characters that are quoted at a time: V8 takes five times as long for a long string full of escapes. */
const QUOTED_CHARACTERS = 64 * 1024;

/** Writes the text as a JSON string, like `JSON.stringify`, in time proportional to its length. */
export function quoted(text: string): string {
  if (text.length <= QUOTED_CHARACTERS) return JSON.stringify(text);
  let result = '"';
  for (let from = 0; from < text.length; ) {
    let end = Math.min(from + QUOTED_CHARACTERS, text.length);
    // Keeps surrogate pairs together; separated halves would be escaped.
    if (end < text.length && (text.charCodeAt(end) & 0xfc00) === 0xdc00) end += 1;
    result += JSON.stringify(text.slice(from, end)).slice(1, -1);
    from = end;
  }
  return `${result}"`;
}
