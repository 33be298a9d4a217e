/** Values in JSON: `utf8` text, `base64` for bytes, or `json` for any JSON. */
import { isUtf8 } from 'node:buffer';
import { compact, RawJson } from './json.ts';

export type Encoding = 'utf8' | 'base64' | 'json';

export interface JsonValue {
  readonly value: string;
  readonly encoding: 'utf8' | 'base64';
}

/** The JSON of one value may have so many bytes: 16 MiB as base64, and room for escapes. */
export const MAX_VALUE_JSON_BYTES = 32 * 1024 * 1024;

const QUOTE = 0x22;
const BACKSLASH = 0x5c;

/** What is valid UTF-8 comes out as text, everything else as base64. */
export function toJsonValue(bytes: Buffer): JsonValue {
  return isUtf8(bytes)
    ? { value: bytes.toString('utf8'), encoding: 'utf8' }
    : { value: bytes.toString('base64'), encoding: 'base64' };
}

/**
 * @param value as it is written (`RawJson`); absent: there is none
 * @param encoding how `value` is written; absent: `utf8`
 * @returns the bytes, in a buffer of their own, or what is wrong as text
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
      return '"encoding" is none of utf8, base64, json';
  }
}

/** @param json a string of JSON that has been checked */
function fromText(json: Buffer): Buffer | string {
  if (!json.includes(BACKSLASH)) return Buffer.from(json.subarray(1, -1));
  const text = JSON.parse(json.toString('utf8')) as string;
  // A lone surrogate has no UTF-8: it would be stored as something else.
  return text.isWellFormed() ? Buffer.from(text, 'utf8') : '"value" holds half of a surrogate pair';
}

/** Buffer.from skips what is no base64; here that is an error. */
function fromBase64(json: Buffer): Buffer | string {
  const text = json.includes(BACKSLASH)
    ? (JSON.parse(json.toString('utf8')) as string)
    : json.toString('latin1', 1, json.length - 1);
  const bytes = Buffer.from(text, 'base64');
  return bytes.toString('base64') === text ? bytes : '"value" is not base64';
}
