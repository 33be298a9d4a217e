/** Values within JSON: `utf8` for text, `base64` for bytes, `json` for any JSON. */
import { isUtf8 } from 'node:buffer';
import { atOnce, type Steps } from './json.ts';
import { compact, RawJson } from './json-text.ts';

export type Encoding = 'utf8' | 'base64' | 'json';

export interface JsonValue {
  readonly value: string;
  readonly encoding: 'utf8' | 'base64';
}

/** Longest JSON of one value, in bytes: 16 MiB as base64, and room for escapes. */
export const MAX_VALUE_JSON_BYTES = 32 * 1024 * 1024;

const QUOTE = 0x22;
const BACKSLASH = 0x5c;

/** Largest value that is always written as text if it is valid UTF-8, in bytes: its escapes take little room. */
export const ALWAYS_TEXT_BYTES = 1024;
/** Number of bytes that are scanned for escapes per step: below a millisecond. */
const SCANNED_BYTES = 64 * 1024;

/** Extra bytes that JSON needs to escape each byte of text. */
const ESCAPE_BYTES = Uint8Array.from({ length: 256 }, (_, byte) => {
  return JSON.stringify(String.fromCharCode(byte)).length - 3;
});

/**
 * Writes valid UTF-8 as text, and other bytes as base64; text that escapes would more than double becomes base64 too.
 */
export function toJsonValue(bytes: Buffer): JsonValue {
  const encoding = atOnce(encodingSteps(bytes));
  return { value: bytes.toString(encoding), encoding };
}

/** Decides how `toJsonValue` writes the value, in steps of at most about a millisecond. */
export function* encodingSteps(bytes: Buffer): Steps<'utf8' | 'base64'> {
  if (!isUtf8(bytes)) return 'base64';
  if (bytes.length <= ALWAYS_TEXT_BYTES) return 'utf8';
  // Bytes that escapes may still add.
  let room = bytes.length;
  for (let from = 0; from < bytes.length; from += SCANNED_BYTES) {
    room -= escapeBytes(bytes, from, Math.min(from + SCANNED_BYTES, bytes.length));
    if (room < 0) return 'base64';
    yield;
  }
  return 'utf8';
}

function escapeBytes(text: Buffer, from: number, to: number): number {
  let sum = 0;
  for (let at = from; at < to; at += 1) sum += ESCAPE_BYTES[text[at] as number] as number;
  return sum;
}

/**
 * @param value the JSON as it is written (`RawJson`); absent: there is none
 * @param encoding how `value` is written; absent: `utf8`
 * @returns the bytes, in a buffer of their own; or a text that says what is wrong
 */
export function fromJsonValue(value: unknown, encoding: unknown): Buffer | string {
  if (value !== undefined && !(value instanceof RawJson)) throw new TypeError('the value has been parsed');
  const text = value === undefined || value.bytes[0] !== QUOTE ? null : value.bytes;
  switch (encoding) {
    case undefined:
    case 'utf8':
      return text === null
        ? '"value" is not a string (for other JSON give "encoding": "json")'
        : fromText(text);
    case 'base64':
      return text === null ? '"value" is not base64' : fromBase64(text);
    case 'json':
      return value === undefined ? '"value" is missing' : compact(value);
    default:
      return '"encoding" is not one of utf8, base64, json';
  }
}

/** @param json a valid JSON string */
function fromText(json: Buffer): Buffer | string {
  if (!json.includes(BACKSLASH)) return Buffer.from(json.subarray(1, -1));
  const text = JSON.parse(json.toString('utf8')) as string;
  // A lone surrogate has no UTF-8; storing it would change it.
  return text.isWellFormed() ? Buffer.from(text, 'utf8') : '"value" holds half of a surrogate pair';
}

/** Checks the text first, because `Buffer.from` silently skips invalid base64. */
function fromBase64(json: Buffer): Buffer | string {
  const text = json.includes(BACKSLASH)
    ? (JSON.parse(json.toString('utf8')) as string)
    : json.toString('latin1', 1, json.length - 1);
  const bytes = Buffer.from(text, 'base64');
  return bytes.toString('base64') === text ? bytes : '"value" is not base64';
}
