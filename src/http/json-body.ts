/** JSON request bodies. */
import { JsonError, JsonTooLarge, jsonSteps, type StaysText, type Steps } from '../keyspace/json.ts';
import { Problem } from '../node/problem.ts';
import { inSlices } from './slices.ts';

/**
 * @param staysText which values are left as they are written; none if it is not given
 * @throws Problem BAD_REQUEST for what is no JSON, BODY_TOO_LARGE for more than 200,000 values
 */
export function parseJsonBody(bytes: Buffer, staysText?: StaysText): Promise<unknown> {
  return parsedBody(bytes, jsonSteps(bytes, staysText));
}

/** @param steps what reads the body @throws Problem as `parseJsonBody` */
export async function parsedBody<T>(bytes: Buffer, steps: Steps<T>): Promise<T> {
  try {
    return await inSlices(bytes.length, steps);
  } catch (error) {
    if (error instanceof JsonTooLarge)
      throw new Problem('BODY_TOO_LARGE', `the body is refused: ${error.message}`);
    if (!(error instanceof JsonError)) throw error;
    throw new Problem('BAD_REQUEST', `the body is not JSON: ${error.detail}`);
  }
}
