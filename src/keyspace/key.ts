import { MAX_KEY_BYTES } from '../stream/command.ts';

export { MAX_KEY_BYTES };

export type KeyProblem = 'empty' | 'too-long' | 'not-unicode';

/** Says what is wrong with a key; null: nothing. A lone surrogate has no UTF-8 and would come back as another key. */
export function keyProblem(key: string): KeyProblem | null {
  if (key.length === 0) return 'empty';
  if (key.length > MAX_KEY_BYTES || Buffer.byteLength(key) > MAX_KEY_BYTES) return 'too-long';
  return key.isWellFormed() ? null : 'not-unicode';
}

/**
 * Compares keys like SQLite does: by their UTF-8 bytes. JavaScript's `<` compares UTF-16 units, and places
 * U+FFFD after U+1F600 because surrogates (0xD800…0xDFFF) are smaller units than 0xE000…0xFFFF.
 * @returns a negative number, 0, or a positive number
 */
export function compareKeys(a: string, b: string): number {
  const length = Math.min(a.length, b.length);
  for (let index = 0; index < length; index += 1) {
    const left = a.charCodeAt(index);
    const right = b.charCodeAt(index);
    if (left !== right) return codePointOrder(left) - codePointOrder(right);
  }
  return a.length - b.length;
}

/**
 * Finds the end of the range of the keys with a prefix.
 * @param prefix well-formed
 * @returns the smallest string that sorts after every key with the prefix; null: no string does
 */
export function keyBehind(prefix: string): string | null {
  const points = Array.from(prefix, (character) => character.codePointAt(0) as number);
  while (points.at(-1) === 0x10ffff) points.pop();
  const last = points.pop();
  if (last === undefined) return null;
  // The surrogates 0xD800 to 0xDFFF are no characters.
  return String.fromCodePoint(...points, last === 0xd7ff ? 0xe000 : last + 1);
}

/** Sorts surrogates after all other units, because they encode characters above U+FFFF. */
function codePointOrder(unit: number): number {
  return unit >= 0xd800 && unit <= 0xdfff ? unit + 0x10000 : unit;
}
