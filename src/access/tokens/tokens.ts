/** Makes, lists and revokes tokens, for the command line and for `/v1/tokens`. */

import type { Right } from '../right.ts';
import { newToken, tokenDigest } from '../token.ts';
import { changeTokens, TAKE_AT_ONCE, type Taking, takeTokens } from './token-file.ts';
import {
  canonicalSan,
  type Proof,
  sanProblem,
  secretOf,
  TokenFileError,
  TokenListError,
  type TokenMembers,
  type TokenRecord,
  type TokenRequest,
  tokenProblem,
} from './token-list.ts';

export { TokenFileError, TokenListError };

/** Largest number of tokens. */
export const MAX_TOKENS = 15_000;

export interface WantedToken extends TokenRequest {
  /** Unix time in milliseconds; null: never. */
  readonly expiresAt: number | null;
}

/** What may be shown of a token to who manages them. */
export type ShownToken = TokenMembers & { readonly certificate?: { readonly san: string } };

/** How a running node changes its own list. */
export interface OnNode {
  /** Called right before the list is changed; it may throw. */
  readonly decide: () => void;
  readonly take: Taking;
}
const ALONE: OnNode = { decide: () => undefined, take: TAKE_AT_ONCE };

export interface CreatedToken {
  readonly record: ShownToken;
  /** The token itself; it is kept nowhere. */
  readonly text: string;
}

/**
 * @param path of the file
 * @param now Unix time in milliseconds
 * @throws TokenListError if the request or the file cannot be used; what `decide` throws
 */
export async function createToken(
  path: string,
  wanted: WantedToken,
  now: number,
  onNode = ALONE,
): Promise<CreatedToken> {
  const { id, text } = newToken();
  return { record: await added(path, wanted, now, { sha256: tokenDigest(text) }, id, onNode), text };
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
  onNode = ALONE,
): Promise<ShownToken> {
  const problem = sanProblem(san);
  if (problem !== null) throw new TokenListError(problem);
  return added(path, wanted, now, { certificate: { san: canonicalSan(san) } }, newToken().id, onNode);
}

async function added(
  path: string,
  wanted: WantedToken,
  now: number,
  proof: Proof,
  id: string,
  onNode: OnNode,
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
  const change = (tokens: readonly TokenRecord[]) => {
    if (tokens.length >= MAX_TOKENS) throw new TokenListError(`there are ${MAX_TOKENS} tokens already`);
    if (tokens.some((token) => secretOf(token) === secretOf(record)))
      throw new TokenListError('the certificate is in the list already');
    return { tokens: [...tokens, record] };
  };
  await changeTokens(path, { ...onNode, change });
  return shownOf(record);
}

/** @returns the tokens in the order in which they were made @throws TokenListError */
export async function listTokens(path: string, take: Taking = TAKE_AT_ONCE): Promise<readonly ShownToken[]> {
  return ((await takeTokens(path, take)) ?? []).map(shownOf);
}

/**
 * @returns the token that is no longer valid; null: there is none with this ID
 * @throws TokenListError; what `onNode.decide` throws
 */
export async function revokeToken(path: string, id: string, onNode = ALONE): Promise<ShownToken | null> {
  const present = (await takeTokens(path, onNode.take)) ?? [];
  if (!present.some((token) => token.id === id)) return null;
  const change = (tokens: readonly TokenRecord[]) => ({
    tokens: tokens.filter((token) => token.id !== id),
    revoked: tokens.find((token) => token.id === id) ?? null,
  });
  const { revoked } = await changeTokens(path, { ...onNode, change });
  return revoked === null ? null : shownOf(revoked);
}

function shownOf(record: TokenRecord): ShownToken {
  if (!('sha256' in record)) return record;
  const { sha256, ...shown } = record;
  return shown;
}
