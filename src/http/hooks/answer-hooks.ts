/** Gives answers the headers that all of them have, and their place among the answers of a connection. */
import type { FastifyInstance } from 'fastify';
import type { Node } from '../../node/node.ts';
import { formatPosition } from '../../replication/position.ts';
import type { Admission } from '../../web/origins.ts';
import { noteRoute } from '../../web/record/request-counts.ts';
import { NO_SNIFFING, NOT_KEPT, OWN_PAGES_ONLY } from '../answer-headers.ts';
import { answerPreflight, corsHeaders } from '../cors.ts';
import type { Traffic } from '../request/traffic/traffic.ts';

export interface AnswerParts {
  readonly node: Pick<Node, 'position' | 'role'>;
  readonly settings: Pick<Admission, 'allowedOrigins'>;
  readonly traffic: Traffic;
}

/** Gives the answer its first headers, answers preflights, and keeps the order of a connection's answers. */
export function startAnswers(app: FastifyInstance, { settings, traffic }: AnswerParts): void {
  const { allowedOrigins } = settings;
  app.addHook('onRequest', (request, reply, done) => {
    const { url } = request.routeOptions;
    if (url !== undefined && !request.is404) noteRoute(reply.raw, url);
    reply
      .header(...NO_SNIFFING)
      .header(...OWN_PAGES_ONLY)
      // A route whose answers may be kept says so.
      .header(...NOT_KEPT)
      .headers(corsHeaders(request.headers, allowedOrigins));
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
}

/** Counts the answer in the limit of memory, and states the node's position and role. */
export function finishAnswers(app: FastifyInstance, { node, traffic }: AnswerParts): void {
  app.addHook('onSend', (request, reply, payload, done) => {
    if (Buffer.isBuffer(payload) || typeof payload === 'string') {
      traffic.limitOf(reply.raw).count(request.raw, reply.raw, payload.length);
    }
    if (!reply.hasHeader('psync-position')) reply.header('psync-position', formatPosition(node.position));
    reply.header('psync-role', node.role);
    done();
  });
}
