/** The long way: Fastify as a handler of requests. */
import type { IncomingMessage, RequestListener } from 'node:http';
import type { Handler, Overlap } from './in-order.ts';

const SAFE: ReadonlySet<string | undefined> = new Set(['GET', 'HEAD', 'OPTIONS']);

/** @param started called for each request that starts */
export function longWay(fastify: RequestListener, started: () => void): Handler {
  return {
    overlap,
    handle: (request, response) => {
      started();
      const kind = overlap(request);
      fastify(request, response);
      return kind;
    },
  };
}

function overlap(request: IncomingMessage): Overlap {
  return SAFE.has(request.method) ? 'reads' : 'none';
}
