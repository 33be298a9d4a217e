/**
 * What other nodes say, for the log, the status and errors of this one. A peer may repeat the token that it was shown, by mistake or on
 * purpose: it must not stand where others read it. It may also say too much, or what moves the cursor of a terminal.
 */

/** Takes the place of a token. */
const HIDDEN = '[token]';
/**
 * Everything but the printable characters of ASCII, of which tokens consist. A peer may put such characters between those of a token:
 * some are shown as spaces, others not at all.
 */
const BETWEEN = String.raw`[^\x20-\x7e]`;
const BETWEEN_ONE = new RegExp(BETWEEN);
const ALL_BETWEEN = new RegExp(BETWEEN, 'g');
/** A token of psyncd, and the beginning of a signed one: whole or cut off. `~` stands for what may be between the characters. */
const TOKENS = [
  pattern('p~s~y~n~c~d~_(?:~[0-9A-Za-z]){8}~_(?:~[0-9A-Za-z])+(?:~_(?:~[0-9A-Za-z])*)?', 'gi'),
  pattern(String.raw`\be~y~[JA](?:~[\w-]){8,}(?:~\.(?:~[\w-])*){0,2}`, 'g'),
] as const;

function pattern(source: string, flags: string): RegExp {
  return new RegExp(source.replaceAll('~', `${BETWEEN}*`), flags);
}

/**
 * Whether one of the tokens stands in the words: in whatever case, because in a host all letters are small, and whatever stands between its
 * characters.
 */
export function holdsOne(words: string, tokens: readonly string[]): boolean {
  const small = words.toLowerCase().replace(ALL_BETWEEN, '');
  return tokens.some((token) => small.includes(token.toLowerCase()));
}

/**
 * Hides parts of words, with whatever stands between their characters.
 * @param lengthAt tells how long the part is that begins at a place of a text of printable ASCII, all that the words have of it; 0: none does
 * @param hidden takes the place of each part
 */
export function withoutParts(
  words: string,
  lengthAt: (dense: string, at: number) => number,
  hidden: string,
): string {
  const places: number[] = [];
  for (let at = 0; at < words.length; at += 1) if (!BETWEEN_ONE.test(words.charAt(at))) places.push(at);
  const dense = words.replace(ALL_BETWEEN, '');
  let shown = '';
  let next = 0;
  for (let at = 0; at < dense.length; ) {
    const length = lengthAt(dense, at);
    if (length > 0) {
      shown += words.slice(next, places[at]) + hidden;
      next = (places[at + length - 1] ?? words.length) + 1;
    }
    at += Math.max(1, length);
  }
  return shown + words.slice(next);
}

/** Characters of a peer's words that are looked at: more than the longest token has, and few enough for one turn of the event loop. */
export const MAX_LOOKED_AT = 16 * 1024;
/** Longest part of a peer's words that is shown, in characters; no rule that a peer may state is longer. */
export const MAX_SHOWN_LENGTH = 500;
/** Control and format characters, halves of characters, and separators of lines and paragraphs: a terminal or a viewer may obey them. */
const HARMFUL = /[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/gu;

/**
 * Makes words of a peer ready to be shown: in the log, in the status, in an error, or passed on to another node.
 * @param words of a peer: any text
 * @param tokens those that the peer was shown
 * @param most largest length, in characters
 * @returns the words on one line, without these tokens and without everything that looks like a token, whatever stands between their
 *   characters, cut to that length; a space takes the place of each harmful character
 */
export function showable(
  words: string,
  tokens: readonly string[] = [],
  most: number = MAX_SHOWN_LENGTH,
): string {
  const begin = words.slice(0, MAX_LOOKED_AT);
  const without = holdsOne(begin, tokens) ? withoutTokens(begin, tokens) : begin;
  const hidden = TOKENS.reduce((text, token) => text.replace(token, HIDDEN), without);
  // The cut may leave the half of a character.
  return hidden.slice(0, most).replace(HARMFUL, ' ');
}

function withoutTokens(words: string, tokens: readonly string[]): string {
  const small = tokens.map((token) => token.toLowerCase());
  const lengthAt = (dense: string, at: number): number =>
    Math.max(
      ...small.map((token) =>
        dense.slice(at, at + token.length).toLowerCase() === token ? token.length : 0,
      ),
    );
  return withoutParts(words, lengthAt, HIDDEN);
}
