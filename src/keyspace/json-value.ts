/** Values in JSON: `utf8` text, `base64` for bytes, or `json` for any JSON. */
import { isUtf8 } from 'node:buffer';

export type Encoding = 'utf8' | 'base64' | 'json';

export interface JsonValue {
  readonly value: string;
  readonly encoding: 'utf8' | 'base64';
}

/** What is valid UTF-8 comes out as text, everything else as base64. */
export function toJsonValue(bytes: Buffer): JsonValue {
  return isUtf8(bytes)
    ? { value: bytes.toString('utf8'), encoding: 'utf8' }
    : { value: bytes.toString('base64'), encoding: 'base64' };
}

/**
 * @param encoding how `value` is written; absent: `utf8`
 * @returns the bytes, or what is wrong as text
 */
export function fromJsonValue(value: unknown, encoding: unknown): Buffer | string {
  switch (encoding) {
    case undefined:
    case 'utf8':
      if (typeof value !== 'string')
        return '"value" is not a string (for other JSON give "encoding": "json")';
      // A lone surrogate has no UTF-8: it would be stored as something else.
      return value.isWellFormed() ? Buffer.from(value, 'utf8') : '"value" holds half of a surrogate pair';
    case 'base64':
      return typeof value === 'string' ? fromBase64(value) : '"value" is not base64';
    case 'json':
      return value === undefined ? '"value" is missing' : Buffer.from(JSON.stringify(value), 'utf8');
    default:
      return '"encoding" is none of utf8, base64, json';
  }
}

/** Buffer.from skips what is no base64; here that is an error. */
function fromBase64(text: string): Buffer | string {
  const bytes = Buffer.from(text, 'base64');
  return bytes.toString('base64') === text ? bytes : '"value" is not base64';
}
