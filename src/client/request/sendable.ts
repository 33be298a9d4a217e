/** Checks keys and values before they are sent: what has no UTF-8, or what URLs cannot have, would arrive as something else. */
import { own } from '../event.ts';

/**
 * A key that `fetch` cannot send in a URL: a `.` or `..` segment, which URL parsers resolve even when it is
 * percent-encoded (WHATWG URL, "single-dot URL path segment"), or text with half of a surrogate pair, which has no UTF-8.
 * Batches and imports accept `.` and `..`.
 */
export class UnsendableKey extends TypeError {
  override readonly name = 'UnsendableKey';

  constructor(key: string) {
    super(`the key ${JSON.stringify(key)} cannot be sent in a URL`);
  }
}

/** @returns the path of an entry @throws UnsendableKey */
export function pathOf(key: string): string {
  if (key === '.' || key === '..' || !key.isWellFormed()) throw new UnsendableKey(key);
  return `/v1/keys/${encodeURIComponent(key)}`;
}

/**
 * @returns the same; a copy of bytes, which the caller may change before they are sent
 * @throws TypeError for anything else, such as an object, of which `fetch` would send the name, and for text with half of a
 * surrogate pair
 */
export function sendable<T>(value: T): T {
  // Bytes may be those of another window.
  if (typeof value === 'string' ? !value.isWellFormed() : !ArrayBuffer.isView(value)) {
    throw new TypeError(`${JSON.stringify(value)} cannot be sent`);
  }
  return own(value);
}
