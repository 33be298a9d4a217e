/** Makes foreign text safe for a terminal: it must not move the cursor, hide text or add lines. */

/** Control and format characters, lone surrogates, and separators of lines and paragraphs. */
const UNSAFE = /[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/gu;
/** Characters that JSON does not escape but some terminals obey. */
const UNSAFE_IN_JSON = /[\u007f-\u009f\u2028\u2029\u202a-\u202e\u2066-\u2069]/g;

/** @returns one line; harmful characters become escapes as in JSON, or `\u{…}` */
export function printable(text: string): string {
  return text.replace(UNSAFE, (character) => {
    const escaped = JSON.stringify(character).slice(1, -1);
    return escaped === character ? `\\u{${character.codePointAt(0)?.toString(16)}}` : escaped;
  });
}

/**
 * Writes JSON of the same value, with escapes for characters that a terminal could obey.
 * @param space like `JSON.stringify`
 */
export function printableJson(value: unknown, space?: number): string {
  return JSON.stringify(value, null, space).replace(
    UNSAFE_IN_JSON,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
}

/** Joins lines for people; each stays one line, whatever it contains. */
export function printableLines(lines: readonly string[]): string {
  return lines.map(printable).join('\n');
}
