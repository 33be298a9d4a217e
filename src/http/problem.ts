/** Errors to answers: RFC 9457 problem+json, for ours, for Fastify's and for Node's. */
import type { FastifyError, FastifyReply, FastifyRequest } from 'fastify';
import { StorageError } from '../node/ports.ts';
import { Problem, type ProblemCode, storageProblem } from '../node/problem.ts';
import { PROBLEM_TYPE, problemBody } from '../node/problem-body.ts';

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

const BY_FASTIFY_CODE: ReadonlyMap<string, ProblemCode> = new Map([
  ['FST_ERR_CTP_INVALID_MEDIA_TYPE', 'UNSUPPORTED_MEDIA_TYPE'],
  ['FST_ERR_CTP_BODY_TOO_LARGE', 'BODY_TOO_LARGE'],
]);

/** What went wrong, as a problem; null for what is no fault of the client's and has to be logged. */
export function toProblem(error: FastifyError | Error): Problem | null {
  if (error instanceof Problem) return error;
  if (error instanceof StorageError) return storageProblem(error);
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

function validationDetail(error: FastifyError): string {
  const [first] = error.validation ?? [];
  const unknown = first?.params.additionalProperty;
  if (typeof unknown === 'string') {
    return `unknown ${error.validationContext === 'querystring' ? 'query parameter' : 'member'} ${JSON.stringify(unknown)}`;
  }
  const name = first?.instancePath.split('/').slice(1).join('.') ?? '';
  const { allowedValues } = (first?.params ?? {}) as { allowedValues?: readonly unknown[] };
  const values = allowedValues === undefined ? '' : `: ${allowedValues.join(', ')}`;
  return `${name === '' ? 'the body' : JSON.stringify(name)} ${first?.message ?? error.message}${values}`;
}
