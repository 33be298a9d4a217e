/** Parses numbers in queries. */

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
