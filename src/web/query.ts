/** Checks the query of a URL, for HTTP requests and WebSockets. */
import { Problem } from '../node/problem.ts';

/**
 * Refuses malformed escapes. URL parsers replace invalid UTF-8 and leave a stray `%`, so the node would answer another
 * query than the one that was sent.
 * @param url with or without a query
 * @throws Problem BAD_REQUEST if the query is not percent-encoded UTF-8
 */
export function checkQuery(url: string): void {
  const start = url.indexOf('?');
  if (start === -1 || !url.includes('%', start)) return;
  const broken = url
    .slice(start + 1)
    .split('&')
    .find((part) => !isDecodable(part));
  if (broken === undefined) return;
  const shown = JSON.stringify(broken.slice(0, 80));
  throw new Problem('BAD_REQUEST', `${shown} in the query is not percent-encoded UTF-8`);
}

function isDecodable(text: string): boolean {
  try {
    decodeURIComponent(text);
    return true;
  } catch {
    return false;
  }
}

/** Names that other services give to a token in a query. */
const TOKEN_PARAMETER = /[?&](?:access_token|auth_token|token|_token)=/i;

/**
 * Refuses a token in a URL: it would stand in logs, histories and `Referer` headers.
 * @throws Problem BAD_REQUEST that says where the token belongs
 */
export function refuseTokenInQuery(url: string): void {
  if (!url.includes('?') || !TOKEN_PARAMETER.test(url)) return;
  throw new Problem('BAD_REQUEST', 'a token belongs in the header Authorization: Bearer TOKEN, not in a URL');
}

/**
 * Digits, with or without a fraction: no sign, exponent, other base or white space. Fifteen digits are exact in a
 * double.
 */
const WHOLE = /^\d{1,15}$/;
const FRACTION = /^\d{1,15}(?:\.\d{1,15})?$/;

/**
 * Parses every number in a URL.
 * @param kind whether a fraction is allowed
 * @returns null for anything but decimal digits
 */
export function parseDecimal(text: string, kind: 'integer' | 'number'): number | null {
  return (kind === 'integer' ? WHOLE : FRACTION).test(text) ? Number(text) : null;
}

/** Date and time of RFC 3339, with seconds that may be left out; milliseconds are the finest that counts. */
const TIME =
  /^(\d{4})-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])T(?:[01]\d|2[0-3]):[0-5]\d(?::[0-5]\d(?:\.\d{1,9})?)?(?:Z|[+-](?:[01]\d|2[0-3]):[0-5]\d)$/i;

/**
 * Parses a time in a URL: `2026-11-29T05:00:00Z`, or milliseconds since 1970. A time without an offset from UTC is refused, because
 * client and node may be in different zones.
 * @returns whole milliseconds since 1970; null for any other text, and for a day that the month has not
 */
export function parseTime(text: string): number | null {
  const [, year, month, day] = TIME.exec(text) ?? [];
  if (day === undefined) return /^\d{1,13}$/.test(text) ? Number(text) : null;
  const midnight = new Date(`${year}-${month}-01T00:00:00Z`);
  midnight.setUTCDate(Number(day));
  if (midnight.getUTCDate() !== Number(day)) return null;
  return Date.parse(text.toUpperCase());
}
