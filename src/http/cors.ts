/**
 * Cross-origin resource sharing (the Fetch standard, 3.3): browsers let a page of another origin read an answer only if the answer
 * says so, and ask before the page may send more than a form could. It is not a plugin of Fastify's, because answers that Fastify
 * has no part in need the headers as well.
 */
import type { IncomingHttpHeaders, IncomingMessage } from 'node:http';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { isAllowed, type Origins } from '../web/origins.ts';

type Headers = Readonly<Record<string, string>>;

/** How long a browser may remember what a page is allowed to send, in seconds. */
const MAX_AGE_SECONDS = 600;

const METHODS = 'GET, HEAD, PUT, POST, PATCH, DELETE';
const EXPOSED =
  'Content-Range, ETag, Location, Psync-Expires-At, Psync-History-Hash, Psync-Needs-Tokens, Psync-Position, Psync-Role, RateLimit, RateLimit-Policy, Repr-Digest, Retry-After, WWW-Authenticate';

const NONE: Headers = {};
/** For caches: to a page of another origin the answer may be another one. */
const VARIES: Headers = { vary: 'Origin' };

/**
 * @param headers of the request; null: they are not known
 * @param allowed origins whose pages may come
 * @returns what the answer must carry; nothing as long as no origin is allowed
 */
export function corsHeaders(headers: IncomingHttpHeaders | null, allowed: Origins): Headers {
  if (allowed.length === 0) return NONE;
  const origin = headers?.origin;
  if (origin === undefined || !isAllowed(origin, allowed)) return VARIES;
  return {
    vary: 'Origin',
    'access-control-allow-origin': origin,
    'access-control-expose-headers': EXPOSED,
  };
}

/**
 * What a browser asks before a page of another origin may send its request. The page learns from the answer to the request itself
 * whether the path exists.
 * @returns the headers of the answer; null: it is another request, or not from a page that may come
 */
export function preflightHeaders({ method, headers }: IncomingMessage, allowed: Origins): Headers | null {
  const { origin } = headers;
  if (method !== 'OPTIONS' || headers['access-control-request-method'] === undefined) return null;
  if (origin === undefined || allowed.length === 0 || !isAllowed(origin, allowed)) return null;
  const asked = headers['access-control-request-headers'];
  return {
    vary: 'Origin, Access-Control-Request-Headers',
    'access-control-allow-origin': origin,
    'access-control-allow-methods': METHODS,
    ...(asked === undefined ? {} : { 'access-control-allow-headers': asked }),
    'access-control-max-age': String(MAX_AGE_SECONDS),
  };
}

/** @returns whether the request was a preflight, and is answered */
export function answerPreflight(request: FastifyRequest, reply: FastifyReply, allowed: Origins): boolean {
  const headers = preflightHeaders(request.raw, allowed);
  if (headers === null) return false;
  reply.code(204).headers(headers).send();
  return true;
}
