/** JSON request bodies. */
import { isUtf8 } from 'node:buffer';
import { isTooDeep, MAX_JSON_DEPTH, parseExact } from '../keyspace/merge-patch.ts';
import { Problem } from '../node/problem.ts';

/** @throws Problem BAD_REQUEST for what is no UTF-8, no JSON, or nested more than 128 levels */
export function parseJsonBody(bytes: Buffer): unknown {
  if (!isUtf8(bytes)) throw new Problem('BAD_REQUEST', 'the body is not UTF-8');
  let json: unknown;
  try {
    json = parseExact(bytes.toString('utf8'));
  } catch (error) {
    throw new Problem(
      'BAD_REQUEST',
      `the body is not JSON: ${error instanceof Error ? error.message : error}`,
    );
  }
  if (isTooDeep(json))
    throw new Problem('BAD_REQUEST', `the body is nested more than ${MAX_JSON_DEPTH} levels`);
  return json;
}
