/** Headers that do not depend on what was asked for. */
import type { IncomingHttpHeaders } from 'node:http';
import type { FastifyReply } from 'fastify';
import type { Entry } from '../keyspace/entry.ts';
import type { Node } from '../node/node.ts';
import { formatPosition } from '../replication/position.ts';
import type { Origins } from '../web/origins.ts';
import { corsHeaders } from './cors.ts';
import { etag } from './request/conditions.ts';

/** Browsers take nothing for another media type than the answer names. */
export const NO_SNIFFING = ['x-content-type-options', 'nosniff'] as const;
/**
 * Browsers give the answer to no page of another origin that did not ask with CORS: as an image, a sound, a style or a script. They
 * do so also where they do not tell the node that such a page asks.
 */
export const OWN_PAGES_ONLY = ['cross-origin-resource-policy', 'same-origin'] as const;
/**
 * Neither a browser nor a cache on the way keeps the answer. Without this header they may keep even a 404 as long as they guess (RFC
 * 9111, 4.2.2), and a client would read what was true before.
 */
export const NOT_KEPT = ['cache-control', 'no-store'] as const;
/** A cache may keep the answer, and asks with its ETag before each use of it. */
export const ASKED_AGAIN = ['cache-control', 'no-cache'] as const;
/** A browser that shows a value as a page runs no script of it, and gives it no origin: somebody else may have stored it. */
export const VALUE_POLICY = ['content-security-policy', "default-src 'none'; sandbox"] as const;

/**
 * What every answer carries, for those that Fastify has no part in.
 * @param headers of the request; null: they are not known
 */
export function answerHeaders(
  node: Pick<Node, 'position' | 'role'>,
  allowed: Origins,
  headers: IncomingHttpHeaders | null,
): Readonly<Record<string, string>> {
  return {
    'Psync-Position': formatPosition(node.position),
    'Psync-Role': node.role,
    [NO_SNIFFING[0]]: NO_SNIFFING[1],
    [OWN_PAGES_ONLY[0]]: OWN_PAGES_ONLY[1],
    [NOT_KEPT[0]]: NOT_KEPT[1],
    ...corsHeaders(headers, allowed),
  };
}

/** Says that the answer depends on a header of the request, beside those that it is known to depend on already (RFC 9110, 12.5.5). */
export function varyBy(reply: FastifyReply, name: string): FastifyReply {
  const others = reply.getHeader('vary');
  if (others === undefined) return reply.header('vary', name);
  return String(others).split(', ').includes(name) ? reply : reply.header('vary', `${others}, ${name}`);
}

/** Headers of an answer about one entry. */
export function entryHeaders(
  reply: FastifyReply,
  { version, expiresAt }: Pick<Entry, 'version' | 'expiresAt'>,
): void {
  reply.header('etag', etag(version));
  if (expiresAt !== null) reply.header('psync-expires-at', String(expiresAt));
}
