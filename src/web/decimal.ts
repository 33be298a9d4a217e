/** Numbers in queries. */

/** Digits, with or without a fraction: no sign, no exponent, no other base, no white space. Fifteen digits are exact. */
const WHOLE = /^\d{1,15}$/;
const FRACTION = /^\d{1,15}(?:\.\d{1,15})?$/;

/**
 * The one way that text from a URL becomes a number.
 * @param kind whether a fraction is allowed
 * @returns null for anything but decimal digits
 */
export function parseDecimal(text: string, kind: 'integer' | 'number'): number | null {
  return (kind === 'integer' ? WHOLE : FRACTION).test(text) ? Number(text) : null;
}
