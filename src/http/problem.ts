/** Errors to answers: RFC 9457 problem+json, for ours, for Fastify's and for Node's. */
import type { FastifyError, FastifyReply, FastifyRequest } from 'fastify';
import { StorageError } from '../node/ports.ts';
import { diskProblem, Problem, type ProblemCode } from '../node/problem.ts';
import { PROBLEM_TYPE, problemBody } from '../node/problem-body.ts';
import { PATTERNS_IN_WORDS } from './patterns.ts';

/** Answers with the problem, as problem+json. */
export function sendProblem(reply: FastifyReply, problem: Problem): FastifyReply {
  return reply
    .code(problem.status)
    .header('content-type', PROBLEM_TYPE)
    .serializer(JSON.stringify)
    .send(problemBody(problem));
}

export function noSuchPath({ originalUrl }: FastifyRequest): Problem {
  return new Problem('NOT_FOUND', `there is no ${originalUrl.split('?')[0]} here`);
}

/** What the system answers when a process may open no more files, connections or threads. */
const NO_DESCRIPTORS: ReadonlySet<unknown> = new Set(['EMFILE', 'ENFILE']);

const BY_FASTIFY_CODE: ReadonlyMap<string, ProblemCode> = new Map([
  ['FST_ERR_CTP_INVALID_MEDIA_TYPE', 'UNSUPPORTED_MEDIA_TYPE'],
  ['FST_ERR_CTP_BODY_TOO_LARGE', 'BODY_TOO_LARGE'],
]);

/** What went wrong, as a problem; null for what is no fault of the client's and has to be logged. */
export function toProblem(error: FastifyError | Error): Problem | null {
  if (error instanceof Problem) return error;
  // Writes are answered by the write turn: this was a read, or a call about the node.
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

/** What the validators found, in plain English. */
function validationDetail(error: FastifyError): string {
  const [first] = error.validation ?? [];
  if (first === undefined) return error.message;
  const { keyword, params } = first;
  if (typeof params.additionalProperty === 'string') {
    const what = error.validationContext === 'querystring' ? 'query parameter' : 'member';
    return `unknown ${what} ${JSON.stringify(params.additionalProperty)}`;
  }
  const path = first.instancePath.split('/').slice(1).join('.');
  const name = path === '' ? 'the body' : JSON.stringify(path);
  return `${name} ${SENTENCES[keyword]?.(params) ?? 'is not what was expected'}`;
}

type Params = Readonly<Record<string, unknown>>;

/** How a sentence about something goes on that breaks a rule of JSON Schema. */
const SENTENCES: { readonly [keyword: string]: ((params: Params) => string) | undefined } = {
  additionalProperties: () => 'has a member that is unknown',
  decimal: ({ kind }) =>
    `has to be ${kind === 'integer' ? 'a whole number' : 'a number'} in decimal digits, at most 15`,
  enum: ({ allowedValues }) => `has to be one of ${(allowedValues as readonly unknown[]).join(', ')}`,
  exclusiveMinimum: ({ limit }) => `has to be more than ${limit}`,
  maxItems: ({ limit }) => `may have at most ${limit} elements`,
  maxLength: ({ limit }) => `may have at most ${limit} characters`,
  maxProperties: ({ limit }) => `may have at most ${limit} members`,
  maximum: ({ limit }) => `may be at most ${limit}`,
  minLength: ({ limit }) => `has to have at least ${limit} characters`,
  minProperties: ({ limit }) => `has to have at least ${limit} members`,
  minimum: ({ limit }) => `has to be at least ${limit}`,
  pattern: ({ pattern }) => PATTERNS_IN_WORDS.get(pattern) ?? 'has another form than it may have',
  required: ({ missingProperty }) => `lacks the member ${JSON.stringify(missingProperty)}`,
  type: ({ type }) => `has to be ${[type].flat().join(',').split(',').map(nameOfType).join(' or ')}`,
};

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
