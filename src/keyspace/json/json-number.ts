/** Numbers of JSON: which of them a double holds, and how the others are kept. */

/**
 * A number as it is written, for `JSON.stringify` to write it so again. In Node since 21; TypeScript's library does not know
 * these two yet.
 */
export const { rawJSON, isRawJSON } = JSON as unknown as {
  rawJSON(text: string): object;
  isRawJSON(value: unknown): value is { readonly rawJSON: string };
};

/** Longer spellings are kept as they are, which is always right, so that looking at one costs next to nothing. */
const MAX_SPELLING = 1_100;
/** The most significant digits that a double needs to be told from every other one. */
const MAX_DIGITS = 17;
/** Decimal numbers of so many digits, that are no denormals, survive the way through a double (IEEE 754, DBL_DIG). */
const SAFE_DIGITS = 15;

/**
 * Whether writing the double out again gives the same number: its shortest decimal form has the same digits at the same places
 * and the same sign. So `1.0`, `1e2` and `0.1` are held; `-0`, `1e400`, 2^53+1 and `99999999.99999999999` are not.
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

/** As a number if a double holds it, or else as it is written. */
export function numberOf(text: string): number | object {
  return isHeldByDouble(text) ? Number(text) : rawJSON(text);
}

interface Decimal {
  /** Without zeros at either end; of zero: none. */
  readonly digits: string;
  /** Of the last digit: its power of ten. */
  readonly exponent: number;
}

/** @returns null for what has more digits than any double's shortest form, or is no number */
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
