/** What others have said, on a terminal: it must not move the cursor, hide anything, nor make two lines of one. */

/** Control and format characters, halves of pairs, and what separates lines and paragraphs. */
const UNSAFE = /[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/gu;
/** What JSON leaves as it is, and some terminals obey. */
const UNSAFE_IN_JSON = /[\u007f-\u009f\u2028\u2029\u202a-\u202e\u2066-\u2069]/g;

/** @returns one line: what could do harm is written as an escape, as in JSON or as `\u{…}` */
export function printable(text: string): string {
  return text.replace(UNSAFE, (character) => {
    const escaped = JSON.stringify(character).slice(1, -1);
    return escaped === character ? `\\u{${character.codePointAt(0)?.toString(16)}}` : escaped;
  });
}

/** JSON of the same value; what a terminal could take for a command is escaped. @param space as of `JSON.stringify` */
export function printableJson(value: unknown, space?: number): string {
  return JSON.stringify(value, null, space).replace(
    UNSAFE_IN_JSON,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
}

/** Lines for people, one after the other; each is one line, whatever stands in it. */
export function printableLines(lines: readonly string[]): string {
  return lines.map(printable).join('\n');
}
