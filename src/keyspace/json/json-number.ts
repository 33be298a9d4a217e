/** Numbers of JSON: which of them a double can hold, and how the others are kept. */

/**
 * `rawJSON` wraps a number as it is written, so that `JSON.stringify` writes it unchanged. Node has both functions
 * since version 21; TypeScript's library does not declare them yet.
 */
export const { rawJSON, isRawJSON } = JSON as unknown as {
  rawJSON(text: string): object;
  isRawJSON(value: unknown): value is { readonly rawJSON: string };
};

/** Longest spelling that is examined; longer ones are kept as they are written, which is always correct. */
const MAX_SPELLING = 1_100;
/** Number of significant digits that identify any double. */
const MAX_DIGITS = 17;
/**
 * Number of digits that survive a conversion to a double and back, unless the number is denormal (IEEE 754, DBL_DIG).
 */
const SAFE_DIGITS = 15;

/**
 * Whether writing the double again gives the same number: the same digits at the same places, with the same sign. True
 * for `1.0`, `1e2` and `0.1`; false for `-0`, `1e400`, 2^53+1 and `99999999.99999999999`.
 * @param text a number of JSON
 */
export function isHeldByDouble(text: string): boolean {
  if (text.length <= SAFE_DIGITS && !/[eE]/.test(text)) return text !== '-0' && !/^-0\.0*$/.test(text);
  const decimal = text.length > MAX_SPELLING ? null : decimalOf(text);
  if (decimal === null) return false;
  const { digits, exponent } = decimal;
  if (digits === '') return !text.startsWith('-');
  const written = decimalOf(String(Number(text)));
  return written !== null && written.digits === digits && written.exponent === exponent;
}

/** Returns a number if a double can hold it, and otherwise the number as it is written. */
export function numberOf(text: string): number | object {
  return isHeldByDouble(text) ? Number(text) : rawJSON(text);
}

interface Decimal {
  /** Digits without zeros at either end; empty for zero. */
  readonly digits: string;
  /** Power of ten of the last digit. */
  readonly exponent: number;
}

/** @returns null for more digits than the shortest form of any double, and for text that is not a number */
function decimalOf(text: string): Decimal | null {
  const match = /^-?(\d+)(?:\.(\d+))?(?:[eE]([+-]?\d+))?$/.exec(text);
  if (match === null) return null;
  const [, whole = '', fraction = '', power = '0'] = match;
  const all = whole + fraction;
  let [first, end] = [0, all.length];
  while (first < end && all[first] === '0') first += 1;
  while (end > first && all[end - 1] === '0') end -= 1;
  if (end - first > MAX_DIGITS) return null;
  const digits = all.slice(first, end);
  return { digits, exponent: digits === '' ? 0 : Number(power) - fraction.length + all.length - end };
}
