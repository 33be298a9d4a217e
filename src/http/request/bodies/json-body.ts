/** Reads JSON request bodies. */
import type { Readable } from 'node:stream';
import type { FastifyRequest } from 'fastify';
import {
  JsonError,
  JsonTooLarge,
  jsonSteps,
  type StaysText,
  type Steps,
} from '../../../keyspace/json/json.ts';
import { Problem } from '../../../node/problem.ts';
import { inSlices } from '../slices.ts';
import { readBody } from './body.ts';
import type { BodyBudget } from './body-budget.ts';

/**
 * @param budget counts the body until it is released
 * @returns the whole body, at most as large as its route allows
 * @throws Problem BODY_TOO_LARGE
 */
export function readJson(request: FastifyRequest, payload: Readable, budget: BodyBudget): Promise<Buffer> {
  const { bodyLimit } = request.routeOptions;
  const limit = { maxBytes: bodyLimit, code: 'BODY_TOO_LARGE', what: 'the body of this call' } as const;
  return readBody(payload, request.headers['content-length'], limit, budget);
}

/**
 * @param staysText selects the values that stay text; default: none
 * @throws Problem BAD_REQUEST for malformed JSON, BODY_TOO_LARGE for more than 200,000 values
 */
export function parseJsonBody(bytes: Buffer, staysText?: StaysText): Promise<unknown> {
  return parsedBody(bytes, jsonSteps(bytes, staysText));
}

/**
 * @param steps parses the body
 * @throws Problem like `parseJsonBody`
 */
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
