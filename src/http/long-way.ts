/** Fastify as what carries requests out. */
import type { IncomingMessage, RequestListener } from 'node:http';
import type { Handler, Overlap } from './in-order.ts';

const SAFE: ReadonlySet<string | undefined> = new Set(['GET', 'HEAD', 'OPTIONS']);

export function longWay(fastify: RequestListener): Handler {
  return {
    overlap,
    handle: (request, response) => {
      const kind = overlap(request);
      fastify(request, response);
      return kind;
    },
  };
}

function overlap(request: IncomingMessage): Overlap {
  return SAFE.has(request.method) ? 'reads' : 'none';
}
