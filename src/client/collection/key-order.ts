/** The order of keys on every node and in its pages: by the bytes of their UTF-8. */

/**
 * Compares two keys. UTF-8 sorts by code point, UTF-16 does not: a surrogate pair stands for a code point above all
 * others, and its numbers are below some of them.
 * @returns below 0: `left` comes first; 0: they are equal; above 0: `right` comes first
 */
export function compareKeys(left: string, right: string): number {
  const length = Math.min(left.length, right.length);
  for (let index = 0; index < length; index += 1) {
    const [a, b] = [left.charCodeAt(index), right.charCodeAt(index)];
    if (a !== b) return rank(a) - rank(b);
  }
  return left.length - right.length;
}

function rank(unit: number): number {
  const isSurrogate = unit >= 0xd800 && unit < 0xe000;
  return isSurrogate ? unit + 0x1_0000 : unit;
}
