/** Looks at what requests say of their bodies, and limits how long bodies may take. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { FastifyInstance, FastifyReply } from 'fastify';
import { whenClosed } from '../../web/when-closed.ts';
import { sendProblem } from '../problem.ts';
import { RETRY_AFTER_SECONDS } from '../refusals.ts';
import { checkEncoding } from '../request/bodies/body.ts';
import type { BodyStalls } from '../request/bodies/body-stalls.ts';
import type { Standing } from '../request/standing.ts';
import type { Traffic } from '../request/traffic/traffic.ts';

const BODY_HEADERS = ['content-type', 'content-length', 'transfer-encoding'] as const;

export interface BodyParts {
  readonly stalls: BodyStalls;
  readonly traffic: Traffic;
  /** Answers a request that failed; never throws. */
  readonly fail: (error: Error, request: IncomingMessage, response: ServerResponse) => void;
}

/** Looks at what a request says of its body, and has the body sent. */
export function addBodyHooks(app: FastifyInstance, { fail, stalls, traffic }: BodyParts): void {
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
    if (hasBody && !raw.complete) limitStalls(stalls, raw, reply, (error) => fail(error, raw, reply.raw));
    if (hasBody) whenClosed(reply.raw, () => traffic.bodies.end(raw));
    done();
  });
  // A body may take a while, and its sender's token may be revoked meanwhile.
  app.addHook('preHandler', (request, _reply, done) => {
    // What everybody may ask has no standing.
    (request.standing as Standing | undefined)?.mustGoOn();
    done();
  });
  // A client that waits for leave to send its body gets it here (RFC 9110, 10.1.1): until now the request may be refused without.
  app.addHook('preParsing', ({ raw }, reply, payload, done) => {
    if (raw.headers.expect !== undefined && raw.httpVersion !== '1.0') reply.raw.writeContinue();
    done(null, payload);
  });
}

function limitStalls(
  stalls: BodyStalls,
  request: IncomingMessage,
  reply: FastifyReply,
  fail: (error: Error) => void,
): void {
  stalls.watch(request, null, (problem) => {
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
  whenClosed(request, forget);
}

/** Whether the request's body means something to its route. */
function isWrite(method: string | undefined): boolean {
  return method === 'PUT' || method === 'POST' || method === 'PATCH';
}
