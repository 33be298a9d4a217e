/**
 * Enforces RFC 9112's rules for every request before its path is looked at: one host, one form of the target, a known
 * transfer coding.
 */
import type { IncomingMessage } from 'node:http';
import { Problem } from '../../node/problem.ts';

/** Matches a scheme, an authority without user information, and the rest. */
const ABSOLUTE = /^https?:\/\/([^/?#@\s]+)([/?].*)?$/i;
const SLASH = 0x2f;

/**
 * Converts the target to origin-form in `request.url`, and takes the authority of an absolute-form target as the `Host`
 * (RFC 9112, 3.2.2). Routes, the fast path and upgrades only see the result.
 * @param request of a server with `joinDuplicateHeaders`: several `Host` fields arrive as one, joined by commas
 * @returns the reason to refuse the request, or null
 */
export function normalizeTarget(request: IncomingMessage): Problem | null {
  const { headers, url = '' } = request;
  if (headers['transfer-encoding'] !== undefined) {
    const problem = codingProblem(headers['transfer-encoding'], request.httpVersion);
    if (problem !== null) return problem;
  }
  if (headers.host?.includes(',')) return new Problem('BAD_REQUEST', 'there is more than one Host');
  if (url.charCodeAt(0) === SLASH || url === '*') return null;
  const [, authority, rest] = ABSOLUTE.exec(url) ?? [];
  if (authority === undefined) {
    const shown = JSON.stringify(url.slice(0, 80));
    return new Problem('BAD_REQUEST', `the target ${shown} is neither a path nor an http URL`);
  }
  headers.host = authority;
  request.url = pathOf(rest, request.method);
  return null;
}

function pathOf(rest: string | undefined, method: string | undefined): string {
  // RFC 9112, 3.2.4: OPTIONS with only an authority asks about the server.
  if (rest === undefined) return method === 'OPTIONS' ? '*' : '/';
  return rest.startsWith('/') ? rest : `/${rest}`;
}

/** RFC 9112, 6.1: the server understands only `chunked`, and HTTP/1.0 has no transfer codings. */
function codingProblem(coding: string, httpVersion: string): Problem | null {
  if (httpVersion === '1.0') return new Problem('BAD_REQUEST', 'HTTP/1.0 has no Transfer-Encoding');
  if (coding.trim().toLowerCase() === 'chunked') return null;
  const shown = JSON.stringify(coding.slice(0, 80));
  return new Problem('NOT_IMPLEMENTED', `the transfer coding ${shown} is not understood, only chunked is`);
}
