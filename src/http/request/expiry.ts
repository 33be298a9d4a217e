/** Converts the expiry of a request (seconds from now, or a time) into the time that an entry stores. */
import { Problem } from '../../node/problem.ts';
import { isTime } from '../../stream/command.ts';

export interface ExpiryRequest {
  /** Seconds from now; fractions are allowed. */
  readonly ttl?: number | undefined;
  /** Milliseconds since 1970. */
  readonly expiresAt?: number | null | undefined;
}

/**
 * @param now milliseconds since 1970
 * @returns milliseconds since 1970; null: the entry never expires
 * @throws Problem BAD_REQUEST if both are given, if the time is not in the future, or if it is before 1970 because this
 * node's clock is
 */
export function expiryOf({ ttl, expiresAt }: ExpiryRequest, now: number): number | null {
  if (ttl !== undefined && expiresAt !== undefined) {
    throw new Problem('BAD_REQUEST', 'give either ttl or expiresAt, not both');
  }
  if (ttl !== undefined) {
    if (!(ttl > 0)) {
      throw new Problem('BAD_REQUEST', `ttl is ${ttl}, and has to be a positive number of seconds`);
    }
    const at = Math.ceil(now + ttl * 1000);
    if (!isTime(at)) {
      throw new Problem(
        'BAD_REQUEST',
        `ttl is ${ttl}: by the clock of this node it would end before 1970, or too far in the future`,
      );
    }
    return at;
  }
  if (expiresAt === undefined || expiresAt === null) return null;
  if (!isTime(expiresAt) || expiresAt <= now) {
    throw new Problem(
      'BAD_REQUEST',
      `expiresAt is ${expiresAt}, and has to be in the future, in milliseconds`,
    );
  }
  return expiresAt;
}
