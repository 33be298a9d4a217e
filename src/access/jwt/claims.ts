/** What a JWT says about its owner: the claims of RFC 7519 and the claim `psyncd`. Pure. */
import { createHash } from 'node:crypto';
import type { PrincipalParts } from '../principal.ts';
import type { Right } from '../right.ts';
import { tokenProblem } from '../tokens/token-list.ts';

/** Difference between the clocks of the issuer and of this node that does no harm, in seconds. */
export const LEEWAY_SECONDS = 30;
/** Longest ID of an owner, in characters. */
const MAX_ID_LENGTH = 64;
/** Number of hex digits in an ID that tell it from others which are printed the same. */
const ID_DIGITS = 8;

/** The claims cannot be used; the message says why, for the log. */
export class ClaimError extends Error {}

/**
 * Reads the claims of a JWT whose signature, audience, issuer and times are in order.
 * @param claims the payload
 * @param digest a hash of what is signed, the same for all signatures of it
 * @param now Unix time in milliseconds
 * @param maxAgeMs longest life of a token, in milliseconds
 * @throws ClaimError
 */
export function ownerOf(
  claims: Readonly<Record<string, unknown>>,
  digest: string,
  now: number,
  maxAgeMs: number,
): PrincipalParts {
  const { exp, iat } = claims;
  if (typeof exp !== 'number' || !Number.isFinite(exp)) throw new ClaimError('"exp" is no time');
  const from = iat === undefined ? now / 1_000 : iat;
  if (typeof from !== 'number' || !Number.isFinite(from)) throw new ClaimError('"iat" is no time');
  if (from > now / 1_000 + LEEWAY_SECONDS) throw new ClaimError('"iat" is a time to come');
  if (exp - from > maxAgeMs / 1_000) throw new ClaimError('it lives longer than --jwt-max-age allows');
  return {
    ...grantOf(claims.psyncd),
    ...idOf(claims),
    client: clientOf(claims, digest),
    expiresAt: Math.floor((exp + LEEWAY_SECONDS) * 1_000),
  };
}

/** @throws ClaimError if the claim `psyncd` is anything but `{"rights": [...], "prefixes": [...]}` */
function grantOf(claim: unknown): Pick<PrincipalParts, 'rights' | 'prefixes'> {
  if (typeof claim !== 'object' || claim === null || Array.isArray(claim)) {
    throw new ClaimError('it has no object "psyncd"');
  }
  const { rights, prefixes, ...others } = claim as Readonly<Record<string, unknown>>;
  if (Object.keys(others).length > 0) throw new ClaimError('"psyncd" has members beside rights and prefixes');
  if (!isTexts(rights)) throw new ClaimError('"psyncd.rights" is no list of texts');
  // A claim without the member is for all keys; null is refused, because an issuer that has lost a list may write it.
  if (prefixes !== undefined && !isTexts(prefixes))
    throw new ClaimError('"psyncd.prefixes" is no list of texts');
  const request = { name: 'jwt', rights, prefixes: prefixes ?? null };
  const problem = tokenProblem(request);
  if (problem !== null) throw new ClaimError(`"psyncd": ${problem}`);
  return { rights: rights as readonly Right[], prefixes: request.prefixes };
}

/**
 * @returns `jwt:` with `sub` and `jti` in printable characters, because logs show it, and digits that differ where those do not show a
 *   difference
 */
function idOf({ iss, sub, jti }: Readonly<Record<string, unknown>>): Pick<PrincipalParts, 'id' | 'name'> {
  const parts = [sub, jti].filter((part) => typeof part === 'string');
  const digits = `~${hashOf([iss, sub, jti]).slice(0, ID_DIGITS)}`;
  const shown = `jwt:${parts.join('/')}`.slice(0, MAX_ID_LENGTH - digits.length).replace(/[^!-~]/g, '?');
  const id = shown + digits;
  return { id, name: id };
}

/** @returns the same for all tokens of one subject of one issuer; of a token without a subject, for itself only, however it is signed */
function clientOf({ iss, sub }: Readonly<Record<string, unknown>>, digest: string): string {
  return typeof sub === 'string' && sub !== '' ? `jwt ${hashOf([iss, sub])}` : `jwt ${digest}`;
}

/** @returns a hash of those claims that are texts: of JSON, so that no two lists have the same text */
function hashOf(claims: readonly unknown[]): string {
  const texts = claims.map((claim) => (typeof claim === 'string' ? claim : null));
  return createHash('sha256').update(JSON.stringify(texts)).digest('hex');
}

function isTexts(value: unknown): value is readonly string[] {
  return Array.isArray(value) && value.every((each) => typeof each === 'string');
}
