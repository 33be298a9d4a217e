/**
 * The HTTP side: Fastify with psyncd's routes. Handlers translate; whatever they decide about replication would be
 * in the wrong room.
 */
import type { IncomingMessage } from 'node:http';
import type { Server as TlsServer } from 'node:tls';
import Fastify, { type FastifyReply, type FastifyRequest } from 'fastify';
import type { Access } from '../access/access.ts';
import type { Principal } from '../access/principal.ts';
import type { Log } from '../node/ports/world.ts';
import { Problem } from '../node/problem.ts';
import { formatPosition } from '../replication/position.ts';
import type { ListenerTls } from '../tls/listener-tls.ts';
import type { AccessLog } from '../web/access-log.ts';
import { mayCome, type Origins } from '../web/origins.ts';
import { rawProblem } from '../web/problem-body.ts';
import { checkQuery, refuseTokenInQuery } from '../web/query.ts';
import { answerHeaders, NO_SNIFFING } from './answer-headers.ts';
import { apiRoutes } from './api-routes.ts';
import { corsHeaders, preflightHeaders } from './cors.ts';
import { documentRoutes } from './document/document-routes.ts';
import type { DocumentParts } from './document/document-server.ts';
import { direct } from './fast-path/direct.ts';
import { limited, withRateHeaders } from './fast-path/limited.ts';
import { longWay } from './fast-path/long-way.ts';
import { Front, type Timeouts, type UpgradeListener } from './front.ts';
import { KnownPaths } from './known-paths.ts';
import { Listening } from './listening.ts';
import { sendProblem } from './problem.ts';
import { answerError, answerErrorDirectly, brokenRequest, RETRY_AFTER_SECONDS } from './refusals.ts';
import { checkEncoding } from './request/bodies/body.ts';
import { BodyStalls } from './request/bodies/body-stalls.ts';
import { rewriteKeyUrl } from './request/key.ts';
import { Traffic } from './request/traffic/traffic.ts';
import { mustBeAllowed, requirementOf } from './required-rights.ts';
import { validators } from './schemas/validation.ts';
import { plainJson } from './serialization.ts';
import { elsewhere, type Side } from './sides.ts';

/** Longer than Node lets the whole request line be: the key's own limit answers, not the router's. */
const MAX_PARAM_LENGTH = 65_536;

const BODY_HEADERS = ['content-type', 'content-length', 'transfer-encoding'] as const;

declare module 'fastify' {
  interface FastifyRequest {
    /** Who sends the request. */
    principal: Principal;
  }
}

export interface ServerParts extends DocumentParts {
  readonly log: Log;
  readonly access: Access;
  /** null: there is none. */
  readonly accessLog: AccessLog | null;
  /** Takes what wants to become a WebSocket. */
  readonly upgrade: UpgradeListener;
  /** null: plain HTTP. */
  readonly tls: ListenerTls | null;
}

/**
 * @param side which operations it serves
 * @param traffic the limits of memory, which all servers of a node share
 * @returns the server, not listening yet
 */
export async function createServer(
  parts: ServerParts,
  side: Side = 'all',
  traffic = new Traffic(() => parts.settings.requestMemoryBytes),
): Promise<Listening> {
  const { access, accessLog, node, tls } = parts;
  const { requests } = parts.limits;
  const { allowedOrigins, proxies } = parts.settings;
  const stalls = new BodyStalls(() => parts.settings.bodyTimeoutMs, traffic.bodies);
  const front = new Front({
    log: parts.log,
    admission: parts.settings,
    refuse: (error, request, response) => answerErrorDirectly(parts, error, request, response),
    rawAnswer: (problem, request) =>
      rawProblem(problem, answerHeaders(node, allowedOrigins, request?.headers ?? null)),
    arrived:
      accessLog === null
        ? null
        : (request, response) =>
            accessLog.request(request, response, known.shown(request.method, request.url ?? '')),
    refused:
      accessLog === null
        ? null
        : (request, status) =>
            accessLog.refused(request, known.shown(request.method, request.url ?? ''), status),
    upgrade: side === 'admin' ? null : parts.upgrade,
    tls: tls?.options ?? null,
  });
  tls?.serve(front.server as unknown as TlsServer);
  const app = Fastify({
    logger: false,
    serverFactory: (fastify, options) => {
      const long = longWay(fastify, () => front.rounds.longStarted());
      // With CORS every answer has headers of its own.
      const isShort = allowedOrigins.length === 0 && side !== 'admin';
      const fail = front.fail.bind(front);
      const other = requests === null ? long : withRateHeaders(long);
      const handler = isShort ? direct({ node, access, proxies, stalls, traffic, fail }, other) : other;
      const isPreflight = (request: IncomingMessage): boolean =>
        preflightHeaders(request, allowedOrigins) !== null;
      return front.serve(
        requests === null ? handler : limited(handler, requests, isPreflight, fail),
        options as unknown as Timeouts,
      );
    },
    rewriteUrl: (request) => rewriteKeyUrl(request.url ?? '/', request.method),
    routerOptions: { maxParamLength: MAX_PARAM_LENGTH },
    // Of requests that do not even reach the router no hook is run.
    frameworkErrors: (error, request, reply) => {
      reply.headers(answerHeaders(node, allowedOrigins, request.raw.headers));
      if (!answerPreflight(request, reply, allowedOrigins)) answerError(parts, error, request, reply);
    },
    return503OnClosing: false,
    schemaController: {
      compilersFactory: { buildValidator: validators, buildSerializer: plainJson },
    },
    clientErrorHandler: (error, socket) => front.broken(error, socket, brokenRequest(error)),
  });
  const known = new KnownPaths(app, side);
  app.decorateRequest('principal');

  app.addHook('onRequest', (request, reply, done) => {
    reply.header(...NO_SNIFFING).headers(corsHeaders(request.headers, allowedOrigins));
    if (!answerPreflight(request, reply, allowedOrigins)) done();
  });
  // This hook delays only reads. Any other request starts only after all earlier ones of its connection are answered
  // (fast-path/in-order.ts).
  app.addHook('onRequest', ({ method, raw: { socket } }, { raw }, done) => {
    const { pipelines } = traffic;
    const reads = method === 'GET' || method === 'HEAD';
    const pipeline = reads && pipelines.isBehind(raw) ? pipelines.of(socket) : null;
    if (pipeline?.isHeld === true) pipeline.wait(raw, done);
    else done();
  });
  app.addHook('onRequest', (_request, reply, done) => {
    if (!node.closing) return done();
    reply.header('connection', 'close');
    return done(new Problem('SHUTTING_DOWN', 'the node is shutting down'));
  });
  app.addHook('onRequest', (request, _reply, done) => {
    checkQuery(request.url);
    done();
  });
  app.addHook('onRequest', (request, _reply, done) => {
    refuseTokenInQuery(request.url);
    const allow = (): void => {
      const problem = request.is404 ? null : elsewhere(side, request);
      if (problem !== null) throw problem;
      if (!request.is404 && !access.isOpen) mustBeAllowed(request.principal, request);
    };
    const verifying = authenticate(parts, request);
    if (verifying !== null) verifying.then(allow).then(() => done(), done);
    else {
      allow();
      done();
    }
  });
  // A page of another origin may send simple requests without asking; it must not write.
  app.addHook('onRequest', (request, _reply, done) => {
    const { method, raw } = request;
    // What it may read the browser decides, by the headers of the answer.
    const asks = method === 'GET' || method === 'HEAD' || method === 'OPTIONS';
    if (asks || mayCome(raw, parts.settings)) return done();
    return done(
      new Problem(
        'FORBIDDEN',
        `pages of ${raw.headers.origin} may not change anything on this node; --allow-origin lets them`,
      ),
    );
  });
  app.addHook('onSend', (request, reply, payload, done) => {
    if (Buffer.isBuffer(payload) || typeof payload === 'string') {
      traffic.answers.count(request.raw, reply.raw, payload.length);
    }
    if (!reply.hasHeader('psync-position')) reply.header('psync-position', formatPosition(node.position));
    reply.header('psync-role', node.role);
    done();
  });
  app.setErrorHandler((error: Error, request, reply) => answerError(parts, error, request, reply));
  app.setNotFoundHandler((request, reply) => known.answer(request, reply));

  // Whatever body it has: that is not looked at.
  app.addHook('onRequest', (request, reply, done) => {
    if (request.is404) known.answer(request, reply);
    else done();
  });
  // A DELETE has no body: what comes all the same is not looked at.
  app.addHook('onRequest', (request, _reply, done) => {
    if (request.method === 'DELETE') {
      for (const name of BODY_HEADERS) request.raw.headers[name] = undefined;
    }
    done();
  });
  app.addHook('onRequest', ({ raw }, reply, done) => {
    const hasBody =
      raw.headers['transfer-encoding'] !== undefined || Number(raw.headers['content-length']) > 0;
    if (hasBody && isWrite(raw.method)) checkEncoding(raw.headers['content-encoding']);
    if (hasBody && !raw.complete)
      limitStalls(stalls, raw, reply, (error) => front.fail(error, raw, reply.raw));
    if (hasBody) reply.raw.once('close', () => traffic.bodies.end(raw));
    done();
  });
  // A body may take a while, and its sender's token may be revoked meanwhile.
  app.addHook('preHandler', (request, _reply, done) => {
    request.principal?.mustBeCurrent();
    done();
  });
  // A client that waits for leave to send its body gets it here (RFC 9110, 10.1.1): until now the request may be refused without.
  app.addHook('preParsing', ({ raw }, reply, payload, done) => {
    if (raw.headers.expect !== undefined && raw.httpVersion !== '1.0') reply.raw.writeContinue();
    done(null, payload);
  });
  await apiRoutes(app, parts, traffic);
  documentRoutes(app, parts);
  return new Listening(app, () => tls?.closeAll());
}

/**
 * Finds out who sends the request.
 * @returns what to wait for, because a token is being verified; null: nothing
 * @throws Problem UNAUTHORIZED; BAD_REQUEST for what is no token; TOO_MANY_REQUESTS. A promise rejects with the same.
 */
function authenticate(
  { access, settings: { proxies } }: ServerParts,
  request: FastifyRequest,
): Promise<void> | null {
  if (access.isOpen) {
    request.principal = access.anybody;
    return null;
  }
  if (!request.is404 && requirementOf(request) === 'open') return null;
  const known = (principal: Principal): void => {
    request.principal = principal;
  };
  const { raw } = request;
  const sender = access.authenticate(raw.headers.authorization, raw.socket, proxies.addressOf(raw));
  if (sender instanceof Promise) return sender.then(known);
  known(sender);
  return null;
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
    if (problem.status === 429) reply.header('retry-after', RETRY_AFTER_SECONDS);
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

/** @returns whether the request was a preflight, and is answered */
function answerPreflight(request: FastifyRequest, reply: FastifyReply, allowed: Origins): boolean {
  const headers = preflightHeaders(request.raw, allowed);
  if (headers === null) return false;
  reply.code(204).headers(headers).send();
  return true;
}

/** Whether the request's body means something to its route. */
function isWrite(method: string | undefined): boolean {
  return method === 'PUT' || method === 'POST' || method === 'PATCH';
}
