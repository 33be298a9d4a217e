/**
 * The HTTP side: Fastify with psyncd's routes. Handlers translate; whatever they decide about replication would be
 * in the wrong room.
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { FastifyCorsOptions } from '@fastify/cors';
import Fastify, { type FastifyInstance, type FastifyReply, type FastifyRequest } from 'fastify';
import type { Node } from '../node/node.ts';
import { mayCome } from '../node/origins.ts';
import type { Log } from '../node/ports.ts';
import { Problem } from '../node/problem.ts';
import { PROBLEM_TYPE, problemBody, rawProblem } from '../node/problem-body.ts';
import { checkQuery } from '../node/query.ts';
import { formatPosition } from '../replication/position.ts';
import type { RunningSettings } from './admin-routes.ts';
import { apiRoutes } from './api-routes.ts';
import { OversizedBody } from './body.ts';
import { BodyStalls } from './body-stalls.ts';
import { direct } from './direct.ts';
import { documentRoutes } from './document-routes.ts';
import type { DocumentParts } from './document-server.ts';
import { Front, type Timeouts, type UpgradeListener } from './front.ts';
import { rewriteKeyUrl } from './key.ts';
import { Listening } from './listening.ts';
import { longWay } from './long-way.ts';
import { noSuchPath, sendProblem, toProblem } from './problem.ts';
import { plainJson } from './serialization.ts';
import { validators } from './validation.ts';

/** Longer than Node lets the whole request line be: the key's own limit answers, not the router's. */
const MAX_PARAM_LENGTH = 65_536;

/** What is not possible now may be in a second: replicas acknowledge, and links are dialled, about that often. */
const RETRY_AFTER_SECONDS = '1';

/** How long a browser may remember what a page is allowed to send. */
const CORS_MAX_AGE_SECONDS = 600;

const BODY_HEADERS = ['content-type', 'content-length', 'transfer-encoding'] as const;

export interface ServerParts extends DocumentParts {
  readonly log: Log;
  /** Takes what wants to become a WebSocket. */
  readonly upgrade: UpgradeListener;
}

/** @returns the server, not listening yet */
export async function createServer(parts: ServerParts): Promise<Listening> {
  const { node } = parts;
  const stalls = new BodyStalls(() => parts.settings.bodyTimeoutMs);
  const front = new Front({
    log: parts.log,
    refuse: (error, request, response) => answerErrorDirectly(parts, error, request, response),
    rawAnswer: (problem) => rawProblem(problem, nodeHeaders(node)),
    upgrade: parts.upgrade,
  });
  const app = Fastify({
    logger: false,
    serverFactory: (fastify, options) => {
      const long = longWay(fastify);
      // With CORS every answer has headers of its own.
      const isShort = parts.settings.allowedOrigins.length === 0;
      const fail = front.fail.bind(front);
      return front.serve(
        isShort ? direct({ node, stalls, fail }, long) : long,
        options as unknown as Timeouts,
      );
    },
    rewriteUrl: (request) => rewriteKeyUrl(request.url ?? '/', request.method),
    routerOptions: { maxParamLength: MAX_PARAM_LENGTH },
    // Of requests that do not even reach the router no hook is run.
    frameworkErrors: (error, request, reply) => {
      answerError(parts, error, request, reply.headers(nodeHeaders(node)));
    },
    return503OnClosing: false,
    schemaController: {
      compilersFactory: { buildValidator: validators, buildSerializer: plainJson },
    },
    clientErrorHandler: (error, socket) => front.broken(error, socket, brokenRequest(error)),
  });
  const known = new KnownPaths(app);

  app.addHook('onRequest', (_request, reply, done) => {
    if (!node.closing) return done();
    reply.header('connection', 'close');
    return done(new Problem('SHUTTING_DOWN', 'the node is shutting down'));
  });
  app.addHook('onRequest', (request, _reply, done) => {
    checkQuery(request.url);
    done();
  });
  if (parts.settings.allowedOrigins.length > 0) {
    await app.register((await import('@fastify/cors')).default, corsOptions(parts.settings));
  }
  // A page of another origin may send simple requests without asking; it must not write.
  app.addHook('onRequest', (request, _reply, done) => {
    const { origin, host } = request.headers;
    const { method } = request;
    // What it may read the browser decides, by the headers of the answer.
    const asks = method === 'GET' || method === 'HEAD' || method === 'OPTIONS';
    if (asks || mayCome(origin, host, parts.settings.allowedOrigins)) return done();
    return done(new Problem('FORBIDDEN', `a page of ${origin} must not change anything here`));
  });
  app.addHook('onSend', (_request, reply, _payload, done) => {
    if (!reply.hasHeader('psync-position')) reply.header('psync-position', formatPosition(node.position));
    reply.header('psync-role', node.role);
    done();
  });
  app.setErrorHandler((error: Error, request, reply) => answerError(parts, error, request, reply));
  app.setNotFoundHandler((request, reply) => known.answer(request, reply));

  // A DELETE has no body, and neither has a request that no route takes: what comes all the same is not looked at.
  app.addHook('onRequest', (request, _reply, done) => {
    if (request.method === 'DELETE' || request.is404) {
      for (const name of BODY_HEADERS) request.raw.headers[name] = undefined;
    }
    done();
  });
  app.addHook('onRequest', ({ raw }, reply, done) => {
    const hasBody =
      raw.headers['transfer-encoding'] !== undefined || Number(raw.headers['content-length']) > 0;
    if (hasBody && !raw.complete)
      limitStalls(stalls, raw, reply, (error) => front.fail(error, raw, reply.raw));
    done();
  });
  await apiRoutes(app, parts);
  documentRoutes(app, parts);
  return new Listening(app);
}

function limitStalls(
  stalls: BodyStalls,
  request: IncomingMessage,
  reply: FastifyReply,
  fail: (error: Error) => void,
): void {
  stalls.watch(request, (problem) => {
    if (request.complete || reply.sent) return;
    reply.raw.once('finish', () => request.socket.destroySoon());
    try {
      sendProblem(reply.header('connection', 'close'), problem);
    } catch (error) {
      fail(error as Error);
    }
  });
  const forget = (): void => stalls.forget(request);
  request.once('end', forget);
  request.once('close', forget);
}

/** Browsers let the pages of the allowed origins read what comes. */
function corsOptions({ allowedOrigins }: RunningSettings): FastifyCorsOptions {
  return {
    origin: (origin, decided) =>
      decided(null, origin !== undefined && mayCome(origin, undefined, allowedOrigins)),
    methods: ['GET', 'HEAD', 'PUT', 'POST', 'PATCH', 'DELETE'],
    exposedHeaders: ['ETag', 'Location', 'Psync-Expires-At', 'Psync-Position', 'Psync-Role', 'Retry-After'],
    maxAge: CORS_MAX_AGE_SECONDS,
  };
}

/** Which paths there are, and with which methods. */
class KnownPaths {
  readonly #methods = new Map<string, Set<string>>();

  constructor(app: FastifyInstance) {
    app.addHook('onRoute', ({ url, method }) => {
      const methods = this.#methods.get(url) ?? new Set(['OPTIONS']);
      for (const each of [method].flat()) methods.add(each);
      this.#methods.set(url, methods);
    });
  }

  /** Answers a request that no route takes: OPTIONS, a method that the path does not have, or no such path. */
  answer(request: FastifyRequest, reply: FastifyReply): FastifyReply {
    const path = request.url.split('?')[0] ?? '';
    if (path === '/v1/keys/') return sendProblem(reply, new Problem('BAD_REQUEST', 'the key is empty'));
    // `/v1/keys/k/append` is an operation for POST and a key for GET: what is allowed is both.
    const forms = ['OPTIONS', 'GET'].map(
      (method) => rewriteKeyUrl(request.originalUrl, method).split('?')[0] ?? '',
    );
    const methods = new Set(
      [...this.#methods].flatMap(([pattern, each]) =>
        forms.some((form) => matches(pattern, form)) ? [...each] : [],
      ),
    );
    if (methods.size === 0) {
      return sendProblem(reply, noSuchPath(request));
    }
    reply.header('allow', [...methods].sort().join(', '));
    if (request.method === 'OPTIONS') return reply.code(204).send();
    const detail = `${request.method} is not allowed on ${request.originalUrl.split('?')[0]}`;
    return sendProblem(reply, new Problem('METHOD_NOT_ALLOWED', detail));
  }
}

/** `/v1/keys/:key/expiry` stands for every path with one segment where the name is, `/docs/*` for every one below. */
function matches(pattern: string, path: string): boolean {
  if (pattern.endsWith('/*')) return path.startsWith(pattern.slice(0, -1));
  const [expected, segments] = [pattern.split('/'), path.split('/')];
  return (
    expected.length === segments.length &&
    expected.every(
      (part, index) => part === segments[index] || (part.startsWith(':') && segments[index] !== ''),
    )
  );
}

function answerError(
  parts: ServerParts,
  error: Error,
  request: FastifyRequest,
  reply: FastifyReply,
): FastifyReply {
  const { problem, headers } = explained(parts, error, request.method, request.originalUrl);
  return sendProblem(reply.headers(headers), problem);
}

/** The same without Fastify. */
function answerErrorDirectly(
  parts: ServerParts,
  error: Error,
  request: IncomingMessage,
  response: ServerResponse,
): void {
  const { problem, headers } = explained(parts, error, request.method ?? '', request.url ?? '');
  const body = JSON.stringify(problemBody(problem));
  // Nothing more comes of the body.
  if (!request.complete) response.once('finish', () => request.socket.destroySoon());
  response.writeHead(problem.status, {
    ...nodeHeaders(parts.node),
    ...headers,
    'content-type': PROBLEM_TYPE,
    'content-length': Buffer.byteLength(body),
    ...(request.complete ? {} : { connection: 'close' }),
  });
  response.end(body);
}

/** What to answer; what is no fault of the client's is logged. */
function explained(
  parts: ServerParts,
  error: Error,
  method: string,
  url: string,
): { problem: Problem; headers: Record<string, string> } {
  const problem = toProblem(error);
  if (problem === null) {
    parts.log.error('request-failed', { method, url, error: error.stack ?? String(error) });
    return { problem: new Problem('INTERNAL', 'the log of the node says more'), headers: {} };
  }
  const headers: Record<string, string> = {};
  if (problem.code === 'READONLY') headers.location = `${problem.extra.master}${url}`;
  if (problem.status === 503) headers['retry-after'] = RETRY_AFTER_SECONDS;
  // The rest of the body is not worth reading.
  if (problem instanceof OversizedBody) headers.connection = 'close';
  return { problem, headers };
}

/** What every answer carries. */
export function nodeHeaders(node: Node): Readonly<Record<string, string>> {
  return { 'Psync-Position': formatPosition(node.position), 'Psync-Role': node.role };
}

/** What is wrong with what is no HTTP request, or not all of one. */
function brokenRequest({ code }: Error & { code?: string }): Problem {
  switch (code) {
    case 'HPE_HEADER_OVERFLOW':
      return new Problem('HEADERS_TOO_LARGE', 'the headers have more than 16 KiB');
    case 'ERR_HTTP_REQUEST_TIMEOUT':
      return new Problem('REQUEST_TIMEOUT', 'the request did not arrive in time');
    default:
      return new Problem('BAD_REQUEST', 'this is no HTTP request');
  }
}
