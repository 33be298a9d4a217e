/** Turns errors into answers (RFC 9457 problem+json): psyncd's own errors, Fastify's and Node's. */
import type { FastifyError, FastifyReply, FastifyRequest } from 'fastify';
import { StorageError } from '../node/ports/failures.ts';
import { diskProblem, Problem, type ProblemCode } from '../node/problem.ts';
import { jsonLine, PROBLEM_TYPE, problemBody } from '../web/problem-body.ts';
import { NOT_KEPT } from './answer-headers.ts';
import { PATTERNS_IN_WORDS } from './schemas/common/patterns.ts';

/** Answers with the problem, as problem+json. */
export function sendProblem(reply: FastifyReply, problem: Problem): FastifyReply {
  return (
    reply
      .code(problem.status)
      .header('content-type', PROBLEM_TYPE)
      // The route may have said what goes for the answer that it meant to give.
      .header(...NOT_KEPT)
      .serializer(jsonLine)
      .send(problemBody(problem))
  );
}

export function noSuchPath({ originalUrl }: FastifyRequest): Problem {
  return new Problem('UNKNOWN_PATH', `there is no ${originalUrl.split('?', 1)[0]} here`);
}

/** Codes of the system when the process may open no more files or connections. */
const NO_DESCRIPTORS: ReadonlySet<unknown> = new Set(['EMFILE', 'ENFILE']);

const BY_FASTIFY_CODE: ReadonlyMap<string, ProblemCode> = new Map([
  ['FST_ERR_CTP_INVALID_MEDIA_TYPE', 'UNSUPPORTED_MEDIA_TYPE'],
  ['FST_ERR_CTP_BODY_TOO_LARGE', 'BODY_TOO_LARGE'],
]);

/** Converts an error to a problem; null: the client did not cause it, and the caller has to log it. */
export function toProblem(error: FastifyError | Error): Problem | null {
  if (error instanceof Problem) return error;
  // The write turn answers failed writes itself, so this was a read or a call about the node.
  if (error instanceof StorageError) return diskProblem(error);
  if ('code' in error && NO_DESCRIPTORS.has(error.code)) {
    return new Problem('STORAGE_FAILED', 'no file descriptors are left');
  }
  const code = 'code' in error ? BY_FASTIFY_CODE.get(error.code) : undefined;
  if (code === 'UNSUPPORTED_MEDIA_TYPE')
    return new Problem(code, 'the body of this call is application/json');
  if (code !== undefined) return new Problem(code, error.message);
  if ('validation' in error && error.validation !== undefined) {
    return new Problem('BAD_REQUEST', validationDetail(error));
  }
  const status = 'statusCode' in error ? error.statusCode : undefined;
  if (status !== undefined && status >= 400 && status < 500) return new Problem('BAD_REQUEST', error.message);
  return null;
}

/** Says in plain English which rule of the schema the request breaks. */
function validationDetail(error: FastifyError): string {
  const [first] = error.validation ?? [];
  if (first === undefined) return error.message;
  const { keyword, params } = first;
  const isQuery = error.validationContext === 'querystring';
  if (typeof params.additionalProperty === 'string') {
    return `unknown ${isQuery ? 'query parameter' : 'member'} ${JSON.stringify(params.additionalProperty)}`;
  }
  if (isQuery && typeof params.missingProperty === 'string') {
    return `the query parameter ${JSON.stringify(params.missingProperty)} is missing`;
  }
  const path = first.instancePath.split('/').slice(1).join('.');
  const name = path === '' ? 'the body' : JSON.stringify(path);
  return `${name} ${SENTENCES[keyword]?.(params) ?? 'is not valid'}`;
}

type Params = Readonly<Record<string, unknown>>;

/**
 * For each keyword of JSON Schema, the rest of a sentence that begins with the name of the value that breaks it. A test
 * checks that every keyword of the validators is here.
 */
const SENTENCES: { readonly [keyword: string]: ((params: Params) => string) | undefined } = {
  additionalProperties: () => 'has an unknown member',
  decimal: ({ kind }) =>
    `has to be ${kind === 'integer' ? 'a whole number' : 'a number'} in decimal digits, at most 15`,
  enum: ({ allowedValues }) => `has to be one of ${(allowedValues as readonly unknown[]).join(', ')}`,
  exclusiveMinimum: ({ limit }) => `has to be more than ${limit}`,
  maxItems: ({ limit }) => `may have at most ${amount(limit, 'element')}`,
  minItems: ({ limit }) => `has to have at least ${amount(limit, 'element')}`,
  maxLength: ({ limit }) => `may have at most ${amount(limit, 'character')}`,
  maxProperties: ({ limit }) => `may have at most ${amount(limit, 'member')}`,
  maximum: ({ limit }) => `may be at most ${limit}`,
  minLength: ({ limit }) => `has to have at least ${amount(limit, 'character')}`,
  minProperties: ({ limit }) => `has to have at least ${amount(limit, 'member')}`,
  minimum: ({ limit }) => `has to be at least ${limit}`,
  pattern: ({ pattern }) => PATTERNS_IN_WORDS.get(pattern) ?? 'has the wrong form',
  required: ({ missingProperty }) => `lacks the member ${JSON.stringify(missingProperty)}`,
  type: ({ type }) => `has to be ${[type].flat().join(',').split(',').map(nameOfType).join(' or ')}`,
};

function amount(count: unknown, one: string): string {
  return `${count} ${count === 1 ? one : `${one}s`}`;
}

function nameOfType(type: string): string {
  return TYPES.get(type) ?? type;
}

const TYPES: ReadonlyMap<string, string> = new Map([
  ['array', 'an array'],
  ['boolean', 'true or false'],
  ['integer', 'a whole number'],
  ['null', 'null'],
  ['number', 'a number'],
  ['object', 'an object'],
  ['string', 'a string'],
]);
