/** An entry in a mirror. */
import type { SentEntry } from '../event.ts';
import { own } from '../event.ts';

/** Text if it is valid UTF-8, otherwise its bytes. */
export type Value = string | Uint8Array<ArrayBuffer>;

export interface Entry {
  readonly key: string;
  readonly value: Value;
  /** Offset of the end of the write that last set the entry; `If-Match: "VERSION"` overwrites exactly this version. */
  readonly version: number;
  /** Time of expiry in milliseconds since 1970; null: the entry does not expire. */
  readonly expiresAt: number | null;
}

/** @returns a frozen entry, because pages get it */
export function entryOf({ key, value, encoding, version, expiresAt }: SentEntry): Entry {
  return Object.freeze({
    key,
    value: encoding === 'base64' ? textOrBytes(bytesOf(value)) : value,
    version,
    expiresAt,
  });
}

/** @returns the time of expiry in milliseconds since 1970; infinite: the entry does not expire */
export function expiryOf({ expiresAt }: Entry): number {
  return expiresAt ?? Number.POSITIVE_INFINITY;
}

export function sameValue(left: Value, right: Value): boolean {
  if (typeof left === 'string' || typeof right === 'string') return left === right;
  // A call for each byte would take ten times as long.
  let index = left.length === right.length ? 0 : Number.NaN;
  while (left[index] === right[index] && index < left.length) index += 1;
  return index === left.length;
}

/** @returns an entry with which a page or a storage may do what it likes, such as send its bytes to a worker */
export function given(entry: Entry): Entry {
  return { ...entry, value: own(entry.value) };
}

/** @throws Error if it is not base64 */
function bytesOf(base64: string): Uint8Array<ArrayBuffer> {
  const characters = atob(base64);
  const bytes = new Uint8Array(characters.length);
  for (let index = 0; index < bytes.length; index += 1) bytes[index] = characters.charCodeAt(index);
  return bytes;
}

const UTF8 = /* @__PURE__ */ new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** Text comes as base64 too if JSON would have to escape a lot of it. @returns text if it is valid UTF-8 */
export function textOrBytes(bytes: Uint8Array<ArrayBuffer>): Value {
  try {
    return UTF8.decode(bytes);
  } catch {
    return bytes;
  }
}
