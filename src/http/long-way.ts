/** Fastify as what carries requests out. */
import type { IncomingMessage, RequestListener } from 'node:http';
import type { Handler, Overlap } from './in-order.ts';
import { endOfKey, KEYS_PATH } from './key.ts';

/** A PUT of no more bytes is never bulk for the write turn, so that it keeps its place among others. */
export const SMALL_BYTES = 16 * 1024;

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
  if (SAFE.has(request.method)) return 'reads';
  return isSmallPut(request) ? 'long-puts' : 'none';
}

function isSmallPut({ method, url = '', headers }: IncomingMessage): boolean {
  if (method !== 'PUT' || !(Number(headers['content-length']) <= SMALL_BYTES)) return false;
  const path = url.split('?')[0] ?? '';
  const rest = path.slice(KEYS_PATH.length);
  return path.startsWith(KEYS_PATH) && endOfKey(rest, method) === rest.length;
}
