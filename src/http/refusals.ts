/** Answers requests that cannot be carried out: through Fastify, and where it has no part. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { LimitProblem, refusalHeaders } from '../access/access-problem.ts';
import type { Node } from '../node/node.ts';
import type { Log } from '../node/ports/world.ts';
import { causeInLog, Problem, unexpectedProblem } from '../node/problem.ts';
import type { Admission } from '../web/origins.ts';
import { PROBLEM_TYPE, problemText } from '../web/problem-body.ts';
import { notedRoute } from '../web/record/request-counts.ts';
import { traceOf } from '../web/record/traceparent.ts';
import { answerHeaders } from './answer-headers.ts';
import { isSkippable, rateHeaders } from './fast-path/limited.ts';
import { sendProblem, toProblem } from './problem.ts';
import { EncodedBody, OversizedBody } from './request/bodies/body.ts';

/** What is not possible now may be in a second: replicas acknowledge, and links are dialled, about that often. */
export const RETRY_AFTER_SECONDS = '1';

export interface RefusalParts {
  readonly log: Log;
  readonly node: Pick<Node, 'position' | 'role' | 'closing'>;
  readonly settings: Pick<Admission, 'allowedOrigins'>;
  /** @returns the route of a request that has not reached one, `/v1/keys/{key}` */
  readonly shown: (request: IncomingMessage) => string;
}

/** Answers with what went wrong, through Fastify. */
export function answerError(
  parts: RefusalParts,
  error: Error,
  request: FastifyRequest,
  reply: FastifyReply,
): FastifyReply {
  const { problem, headers } = explained(parts, error, request.originalUrl, request.raw, reply.raw);
  // Fastify closes the connection behind every body that cannot be read; one that has come whole is not in the way.
  if (request.raw.complete && !parts.node.closing) reply.removeHeader('connection');
  return sendProblem(reply.headers(headers), problem);
}

/**
 * Answers a request that may not go on, while its body arrives or its route waits.
 * @param fail answers it if that fails; never throws
 */
export function endEarly(
  parts: RefusalParts,
  problem: Problem,
  request: FastifyRequest,
  reply: FastifyReply,
  fail: (error: Error, request: IncomingMessage, response: ServerResponse) => void,
): void {
  const { raw } = request;
  if (!raw.complete) {
    reply.raw.once('finish', () => raw.socket.destroySoon());
    reply.header('connection', 'close');
  }
  try {
    answerError(parts, problem, request, reply);
  } catch (error) {
    fail(error as Error, raw, reply.raw);
  }
}

/** The same as `answerError`, without Fastify. */
export function answerErrorDirectly(
  parts: RefusalParts,
  error: Error,
  request: IncomingMessage,
  response: ServerResponse,
): void {
  const { problem, headers } = explained(parts, error, request.url ?? '', request, response);
  const body = problemText(problem);
  // A client that sends too much would only connect again.
  const staysOpen = request.complete || (error instanceof LimitProblem && isSkippable(request));
  // Nothing more comes of the body.
  if (!staysOpen) response.once('finish', () => request.socket.destroySoon());
  response.writeHead(problem.status, {
    ...answerHeaders(parts.node, parts.settings.allowedOrigins, request.headers),
    ...rateHeaders(response),
    ...headers,
    'content-type': PROBLEM_TYPE,
    'content-length': Buffer.byteLength(body),
    ...(staysOpen ? {} : { connection: 'close' }),
  });
  response.end(body);
}

/** What to answer; what is no fault of the client's is logged. */
function explained(
  parts: RefusalParts,
  error: Error,
  url: string,
  request: IncomingMessage,
  response: ServerResponse,
): { problem: Problem; headers: Record<string, string> } {
  const problem = toProblem(error);
  if (problem === null) {
    logFailure(parts, error.stack ?? String(error), request, response);
    return { problem: unexpectedProblem(), headers: {} };
  }
  const cause = causeInLog(problem);
  if (cause !== null) logFailure(parts, cause, request, response);
  const headers: Record<string, string> = {};
  if (problem.code === 'READONLY') headers.location = `${problem.extra.master}${url}`;
  if (problem.status === 503 || problem.status === 429) headers['retry-after'] = RETRY_AFTER_SECONDS;
  Object.assign(headers, refusalHeaders(problem));
  if (problem instanceof EncodedBody) headers['accept-encoding'] = 'identity';
  // The rest of the body is not worth reading.
  if (problem instanceof OversizedBody) headers.connection = 'close';
  return { problem, headers };
}

function logFailure(
  parts: RefusalParts,
  error: string,
  request: IncomingMessage,
  response: ServerResponse,
): void {
  const path = notedRoute(response) ?? parts.shown(request);
  parts.log.error('request-failed', { method: request.method, path, error, ...traceOf(request) });
}

/** @returns what is wrong with what is no HTTP request, or not all of one */
export function brokenRequest({ code }: Error & { code?: string }): Problem {
  switch (code) {
    case 'HPE_HEADER_OVERFLOW':
      return new Problem('HEADERS_TOO_LARGE', 'the headers have more than 16 KiB');
    case 'ERR_HTTP_REQUEST_TIMEOUT':
      return new Problem('REQUEST_TIMEOUT', 'the request did not arrive in time');
    default:
      return new Problem('BAD_REQUEST', 'this is not an HTTP request');
  }
}
