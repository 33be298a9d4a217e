/**
 * The text of a token: `psyncd_<id>_<secret>_<checksum>`. The first word lets secret scanners find leaked tokens; the
 * checksum tells a mistyped token from an unknown one without a look-up. The secret has 190 random bits, so a plain
 * SHA-256 of the token is safe to keep, and no slow hash is needed.
 */
import { createHash, randomInt } from 'node:crypto';
import { crc32 } from 'node:zlib';

const DIGITS = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz';
const ID_LENGTH = 8;
const SECRET_LENGTH = 32;
/** CRC-32 in base 62. */
const CHECKSUM_LENGTH = 6;
const BEARER = /^Bearer +([^\s,]+)$/i;
const TOKEN = /^psyncd_([0-9A-Za-z]{8})_[0-9A-Za-z]{32}_([0-9A-Za-z]{6})$/;

/** A new token; its text is shown once and kept nowhere. */
export interface NewToken {
  readonly id: string;
  readonly text: string;
}

export function newToken(): NewToken {
  const id = random(ID_LENGTH);
  const body = `psyncd_${id}_${random(SECRET_LENGTH)}`;
  return { id, text: `${body}_${checksum(body)}` };
}

/** Whether the text is a token that was neither mistyped nor cut; whether it is known here is another question. */
export function isToken(text: string): boolean {
  const [, , sum] = TOKEN.exec(text) ?? [];
  return sum !== undefined && sum === checksum(text.slice(0, -CHECKSUM_LENGTH - 1));
}

/** @returns the token in an `Authorization` header; null: it is not one Bearer token (RFC 6750, 2.1) */
export function tokenOf(authorization: string): string | null {
  return BEARER.exec(authorization)?.[1] ?? null;
}

/** @returns SHA-256 of the whole token, 64 hex digits: what `tokens.json` holds */
export function tokenDigest(text: string): string {
  return createHash('sha256').update(text).digest('hex');
}

function random(length: number): string {
  return Array.from({ length }, () => DIGITS[randomInt(DIGITS.length)]).join('');
}

function checksum(body: string): string {
  let rest = crc32(body);
  let text = '';
  for (let count = 0; count < CHECKSUM_LENGTH; count += 1) {
    text = (DIGITS[rest % DIGITS.length] as string) + text;
    rest = Math.floor(rest / DIGITS.length);
  }
  return text;
}
