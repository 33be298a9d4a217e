/** Bodies of which nothing arrives any more: somebody has to let go, and it is not the client. */
import type { FastifyInstance } from 'fastify';
import { Problem } from '../node/problem.ts';
import { sendProblem } from './problem.ts';

/** @param timeoutMs how long nothing of a body may arrive; then the request is answered with 408, and the connection closed */
export function limitBodyStalls(app: FastifyInstance, timeoutMs: () => number): void {
  app.addHook('onRequest', ({ raw }, reply, done) => {
    const hasBody =
      raw.headers['transfer-encoding'] !== undefined || Number(raw.headers['content-length']) > 0;
    if (hasBody && !raw.complete) {
      const { socket } = raw;
      socket.setTimeout(timeoutMs());
      raw.on('timeout', () => {
        if (raw.complete || reply.sent) return;
        // Something has arrived, and it is this node that does not read on: it waits for the disk.
        if (raw.readableLength > 0) {
          socket.setTimeout(timeoutMs());
          return;
        }
        const problem = new Problem('REQUEST_TIMEOUT', `nothing of the body arrived for ${timeoutMs()} ms`);
        reply.raw.once('finish', () => socket.destroySoon());
        sendProblem(reply.header('connection', 'close'), problem);
      });
      raw.once('end', () => socket.setTimeout(0));
    }
    done();
  });
}
