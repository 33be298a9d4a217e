/**
 * What other nodes say, for the log, the status and errors of this one. A peer may repeat the token that it was shown, by mistake or on
 * purpose: it must not stand where others read it.
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

/**
 * @param words of a peer
 * @param shown the tokens that the peer was shown
 * @returns the words without these tokens, and without everything that looks like a token
 */
export function withoutTokens(words: string, shown: readonly string[] = []): string {
  const without = shown.reduce((text, token) => text.replaceAll(token, HIDDEN), words);
  return TOKENS.reduce((text, pattern) => text.replace(pattern, HIDDEN), without);
}
