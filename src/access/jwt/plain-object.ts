/** Reads JSON that everybody reads alike: an issuer or a gateway may look at it before this node does. */
import { JsonError, parseJson, withoutByteOrderMark } from '../../keyspace/json/json.ts';
import { showable } from '../../node/ports/peer-words.ts';
import { ClaimError } from './claims.ts';

/** Longest part that is shown of what is wrong, in characters: it may quote a name. */
const MAX_DETAIL = 200;

/**
 * @param what name of the object, for the error
 * @returns its members; numbers are as `parseJson` has them
 * @throws ClaimError if it is no JSON object, is no UTF-8, begins with a byte order mark, or has a member twice somewhere
 */
export function plainObject(bytes: Buffer, what: string): Readonly<Record<string, unknown>> {
  if (withoutByteOrderMark(bytes) !== bytes) throw new ClaimError(`${what} begins with a byte order mark`);
  let parsed: unknown;
  try {
    parsed = parseJson(bytes);
  } catch (error) {
    if (!(error instanceof JsonError)) throw error;
    throw new ClaimError(`${what} is no JSON object: ${showable(error.detail, [], MAX_DETAIL)}`);
  }
  if (typeof parsed !== 'object' || parsed === null || Array.isArray(parsed)) {
    throw new ClaimError(`${what} is no JSON object`);
  }
  return parsed as Readonly<Record<string, unknown>>;
}
