/**
 * The HTTP side: Fastify with psyncd's routes. Handlers translate; whatever they decide about replication would be
 * in the wrong room.
 */
import type { Readable } from 'node:stream';
import swagger from '@fastify/swagger';
import Fastify, {
  type FastifyInstance,
  type FastifyReply,
  type FastifyRequest,
  type FastifySchema,
} from 'fastify';
import type { Node } from '../node/node.ts';
import type { Log } from '../node/ports.ts';
import { PROBLEMS, Problem } from '../node/problem.ts';
import { httpUrl } from '../node/upstream.ts';
import { formatPosition } from '../replication/position.ts';
import { OversizedBody } from './body.ts';
import { importRoute } from './import-route.ts';
import { keyRoutes } from './key-routes.ts';
import { PROBLEM_TYPE, problemBody, sendProblem, toProblem } from './problem.ts';
import { replicationRoutes } from './replication-routes.ts';
import { SHARED } from './schemas.ts';

/** Of a key of 1,024 bytes, each percent-encoded, with room to spare. */
const MAX_PARAM_LENGTH = 4_096;

export interface ServerParts {
  readonly node: Node;
  readonly log: Log;
  /** For the document's `info.version`. */
  readonly version: string;
}

/** @returns the server, not listening yet; `swagger()` gives its OpenAPI document once it is ready */
export async function createServer(parts: ServerParts): Promise<FastifyInstance> {
  const { node } = parts;
  const app = Fastify({
    logger: false,
    routerOptions: { maxParamLength: MAX_PARAM_LENGTH, ignoreTrailingSlash: false },
    // In a body or a query nothing is dropped in silence.
    ajv: { customOptions: { removeAdditional: false, coerceTypes: true, strictTypes: false } },
    frameworkErrors: (error, request, reply) => void answerError(parts, error, request, reply),
    return503OnClosing: false,
    clientErrorHandler: answerBrokenRequest,
  });
  await app.register(swagger, {
    openapi: documentInfo(parts.version),
    refResolver: { buildLocalReference },
    transform: ({ schema, url }) => ({ schema: namedWildcard(schema), url: url.replace('*', ':key') }),
  });

  app.addHook('onRequest', (_request, reply, done) => {
    if (!node.closing) return done();
    reply.header('connection', 'close');
    return done(new Problem('SHUTTING_DOWN', 'the node is shutting down'));
  });
  app.addHook('onSend', (_request, reply, _payload, done) => {
    if (!reply.hasHeader('psync-position')) reply.header('psync-position', formatPosition(node.position));
    reply.header('psync-role', node.role);
    done();
  });
  app.setErrorHandler((error: Error, request, reply) => answerError(parts, error, request, reply));

  const methods = new Map<string, Set<string>>();
  app.addHook('onRoute', ({ url, method }) => {
    const known = methods.get(url) ?? new Set<string>();
    for (const each of [method].flat()) known.add(each);
    methods.set(url, known);
  });
  app.setNotFoundHandler((request, reply) => {
    const path = request.url.split('?')[0] ?? '';
    const allowed = [...methods].find(([pattern]) => matches(pattern, path))?.[1];
    if (allowed === undefined)
      return sendProblem(reply, new Problem('NOT_FOUND', `there is no ${path} here`));
    reply.header('allow', [...allowed].sort().join(', '));
    return sendProblem(
      reply,
      new Problem('METHOD_NOT_ALLOWED', `${request.method} is not allowed on ${path}`),
    );
  });

  for (const schema of SHARED) app.addSchema(schema);
  await app.register((raw, _options, done) => {
    // The handlers read these bodies themselves: any type, with a limit of their own, as a stream.
    raw.removeAllContentTypeParsers();
    raw.addContentTypeParser('*', (_request: FastifyRequest, payload: Readable, parsed) =>
      parsed(null, payload),
    );
    keyRoutes(raw, node);
    importRoute(raw, node);
    done();
  });
  replicationRoutes(app, node);
  return app;
}

function answerError(
  parts: ServerParts,
  error: Error,
  request: FastifyRequest,
  reply: FastifyReply,
): FastifyReply {
  const problem = toProblem(error);
  if (problem === null) {
    parts.log.error('request-failed', {
      method: request.method,
      url: request.url,
      error: error.stack ?? String(error),
    });
    return sendProblem(reply, new Problem('INTERNAL', 'the log of the node says more'));
  }
  if (problem.code === 'READONLY') {
    reply.header('location', `${httpUrl(String(problem.extra.master))}${request.raw.url ?? ''}`);
  }
  // The rest of the body is not worth reading.
  if (problem instanceof OversizedBody) reply.header('connection', 'close');
  return sendProblem(reply, problem);
}

/** Requests that are no HTTP: Node has given up on the connection, so this is written by hand. */
function answerBrokenRequest(error: Error & { code?: string }, socket: import('node:net').Socket): void {
  if (error.code === 'ECONNRESET' || !socket.writable) {
    socket.destroy();
    return;
  }
  const problem =
    error.code === 'HPE_HEADER_OVERFLOW'
      ? new Problem('HEADERS_TOO_LARGE', 'the headers have more than 16 KiB')
      : error.code === 'ERR_HTTP_REQUEST_TIMEOUT'
        ? new Problem('REQUEST_TIMEOUT', 'the request did not arrive in time')
        : new Problem('BAD_REQUEST', 'this is no HTTP request');
  const body = JSON.stringify(problemBody(problem));
  socket.end(
    `HTTP/1.1 ${problem.status} ${PROBLEMS[problem.code].title}\r\nContent-Type: ${PROBLEM_TYPE}\r\n` +
      `Content-Length: ${Buffer.byteLength(body)}\r\nConnection: close\r\n\r\n${body}`,
  );
}

function matches(pattern: string, path: string): boolean {
  return pattern.endsWith('*') ? path.startsWith(pattern.slice(0, -1)) : pattern === path;
}

function documentInfo(version: string): object {
  return {
    openapi: '3.1.0',
    info: {
      title: 'psyncd',
      version,
      description: [
        'A key/value service with Redis-style master/replica replication.',
        '',
        'Every answer carries `Psync-Position` and `Psync-Role`. Errors are `application/problem+json` (RFC 9457)',
        'with a stable `code`. A write sent to a replica is redirected to its master with 307.',
      ].join('\n'),
      license: { name: 'MIT', identifier: 'MIT' },
    },
    servers: [{ url: 'http://127.0.0.1:7796', description: 'A node on this machine.' }],
    tags: [
      { name: 'keys', description: 'Entries: a key and its bytes.' },
      { name: 'replication', description: 'History, masters and replicas.' },
      { name: 'health', description: 'For supervisors.' },
    ],
  };
}

/** Fastify calls the rest of a path `*`; the document calls it what it is: the key. */
function namedWildcard(schema: FastifySchema): FastifySchema {
  const { properties } = (schema?.params ?? {}) as { properties?: Readonly<Record<string, unknown>> };
  if (properties === undefined || !('*' in properties)) return schema;
  return { ...schema, params: { type: 'object', properties: { key: properties['*'] } } };
}

function buildLocalReference(schema: object, _base: unknown, _fragment: unknown, index: number): string {
  return '$id' in schema && typeof schema.$id === 'string' ? schema.$id : `schema-${index}`;
}
