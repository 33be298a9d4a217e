/** Makes, lists and revokes tokens, for the command line and for `/v1/tokens`. */

import type { Right } from '../right.ts';
import { newToken, tokenDigest } from '../token.ts';
import { changeTokens, readTokens } from './token-file.ts';
import {
  canonicalSan,
  type Proof,
  sanProblem,
  secretOf,
  TokenListError,
  type TokenMembers,
  type TokenRecord,
  type TokenRequest,
  tokenProblem,
} from './token-list.ts';

export { TokenListError };

/** Largest number of tokens. */
export const MAX_TOKENS = 15_000;

export interface WantedToken extends TokenRequest {
  /** Unix time in milliseconds; null: never. */
  readonly expiresAt: number | null;
}

/** What may be shown of a token to who manages them. */
export type ShownToken = TokenMembers & { readonly certificate?: { readonly san: string } };

export interface CreatedToken {
  readonly record: ShownToken;
  /** The token itself; it is kept nowhere. */
  readonly text: string;
}

/**
 * @param path of the file
 * @param now Unix time in milliseconds
 * @param decide called when nobody else changes the file, right before it is changed; it may throw
 * @throws TokenListError if the request or the file cannot be used; what `decide` throws
 */
export async function createToken(
  path: string,
  wanted: WantedToken,
  now: number,
  decide?: () => void,
): Promise<CreatedToken> {
  const { id, text } = newToken();
  return { record: await added(path, wanted, now, { sha256: tokenDigest(text) }, id, decide), text };
}

/**
 * Gives rights to the owner of a certificate; nothing secret is made.
 * @param san a URI or DNS name of its subject, else its common name
 * @throws TokenListError as `createToken`
 */
export async function addCertificate(
  path: string,
  wanted: WantedToken,
  san: string,
  now: number,
): Promise<ShownToken> {
  const problem = sanProblem(san);
  if (problem !== null) throw new TokenListError(problem);
  return added(path, wanted, now, { certificate: { san: canonicalSan(san) } }, newToken().id);
}

async function added(
  path: string,
  wanted: WantedToken,
  now: number,
  proof: Proof,
  id: string,
  decide?: () => void,
): Promise<ShownToken> {
  const problem = tokenProblem(wanted);
  if (problem !== null) throw new TokenListError(problem);
  if (wanted.expiresAt !== null && wanted.expiresAt <= now) {
    throw new TokenListError('expiresAt: expected a time to come');
  }
  const record: TokenRecord = {
    id,
    name: wanted.name,
    rights: [...new Set(wanted.rights as readonly Right[])],
    prefixes: wanted.prefixes,
    expiresAt: wanted.expiresAt,
    createdAt: now,
    note: null,
    ...proof,
  };
  await changeTokens(path, (tokens) => {
    if (tokens.length >= MAX_TOKENS) throw new TokenListError(`there are ${MAX_TOKENS} tokens already`);
    if (tokens.some((token) => secretOf(token) === secretOf(record)))
      throw new TokenListError('the certificate is in the list already');
    decide?.();
    return { tokens: [...tokens, record] };
  });
  return shownOf(record);
}

/** @returns the tokens in the order in which they were made @throws TokenListError */
export function listTokens(path: string): readonly ShownToken[] {
  return (readTokens(path) ?? []).map(shownOf);
}

/**
 * @param decide as for `createToken`
 * @returns the token that is no longer valid; null: there is none with this ID
 * @throws TokenListError; what `decide` throws
 */
export async function revokeToken(path: string, id: string, decide?: () => void): Promise<ShownToken | null> {
  if (!(readTokens(path) ?? []).some((token) => token.id === id)) return null;
  const { revoked } = await changeTokens(path, (tokens) => {
    decide?.();
    return {
      tokens: tokens.filter((token) => token.id !== id),
      revoked: tokens.find((token) => token.id === id) ?? null,
    };
  });
  return revoked === null ? null : shownOf(revoked);
}

function shownOf(record: TokenRecord): ShownToken {
  if (!('sha256' in record)) return record;
  const { sha256, ...shown } = record;
  return shown;
}
