/**
 * What other nodes say, for the log, the status and errors of this one. A peer may repeat the token that it was shown, by mistake or on
 * purpose: it must not stand where others read it. It may also say too much, or what moves the cursor of a terminal.
 */

/** Takes the place of a token. */
const HIDDEN = '[token]';
/** A token of psyncd, and the beginning of a signed one: whole or cut off. */
const TOKENS = [
  /psyncd_[0-9A-Za-z]{8}_[0-9A-Za-z]+(?:_[0-9A-Za-z]*)?/gi,
  /\bey[JA][\w-]{8,}(?:\.[\w-]*){0,2}/g,
] as const;

/** Whether one of the tokens stands in the words, in whatever case: in a host all letters are small. */
export function holdsOne(words: string, tokens: readonly string[]): boolean {
  const small = words.toLowerCase();
  return tokens.some((token) => small.includes(token.toLowerCase()));
}

/** Longest part of a peer's words that is shown, in characters; no rule that a peer may state is longer. */
export const MAX_SHOWN_LENGTH = 500;
/** Control and format characters, halves of characters, and separators of lines and paragraphs: a terminal or a viewer may obey them. */
const HARMFUL = /[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/gu;

/**
 * Makes words of a peer ready to be shown: in the log, in the status, in an error, or passed on to another node.
 * @param words of a peer: any text
 * @param tokens those that the peer was shown
 * @param most largest length, in characters
 * @returns the words on one line, without these tokens and without everything that looks like a token, cut to that length; a space
 *   takes the place of each harmful character
 */
export function showable(
  words: string,
  tokens: readonly string[] = [],
  most: number = MAX_SHOWN_LENGTH,
): string {
  const without = tokens.reduce((text, token) => text.replaceAll(token, HIDDEN), words);
  const hidden = TOKENS.reduce((text, pattern) => text.replace(pattern, HIDDEN), without);
  return hidden.slice(0, most).replace(HARMFUL, ' ');
}
