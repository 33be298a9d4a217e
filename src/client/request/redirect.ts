/**
 * Follows redirects, and decides what goes where. An origin that the application has named gets everything. Any other one gets
 * neither the token, as with `fetch` (Fetch, HTTP-redirect fetch), nor the headers of the hook; the master to which a replica
 * redirects a write gets the token all the same. Nothing goes over http after https. Behind an origin that the application has
 * not named, no origin counts as named. A call that changes the node itself is not redirected. What stands before the path and the
 * query of a request may change, as behind a proxy, but not these: they say what the request does.
 */
import { problemOf } from '../api-error.ts';

/** A server that neither the application nor a node has named. */
export const STRANGER = 0;
/** It gets the token. */
export const MASTER = 1;
/** It gets the token and the headers of the hook. */
export const NAMED = 2;
export type Trust = typeof STRANGER | typeof MASTER | typeof NAMED;

/** Largest number of redirects of a request. */
const MAX_HOPS = 8;

/**
 * Sends a request, and again to where its answer redirects it.
 * @param base URL of the node
 * @param target path and query
 * @param named origins that the application has named
 * @param requestFor makes the request for a server
 * @param read takes the last answer, which is a redirect if the client may not follow it, and how far its server is trusted
 */
export async function sent<T>(
  send: typeof fetch,
  base: string,
  target: string,
  named: readonly string[],
  requestFor: (trust: Trust) => RequestInit,
  read: (response: Response, target: string, trust: Trust) => Promise<T>,
): Promise<T> {
  let at = new URL(base + target);
  /** Nobody is trusted more because somebody less trusted says so. */
  let trust: Trust = NAMED;
  for (let hop = 0; ; hop += 1) {
    const { href, origin } = at;
    if (trust && !named.includes(origin)) trust = MASTER;
    const init = requestFor(trust);
    const { method } = init;
    const response = await send(href, { ...init, redirect: 'manual' });
    const { status } = response;
    // In a page, which sees of a redirect no more than where it has led to.
    if (status === 0) {
      const again = requestFor(MASTER);
      const last = await send(href, again);
      const mayShow = last.status === 401 && method && mayGo(href, last.url, target);
      return read(mayShow ? await send(last.url, again) : last, target, STRANGER);
    }
    const location = response.headers.get('location');
    // After 301 to 303 `fetch` may go on with a GET: the write was carried out.
    const isMoved = status > (method ? 306 : 300) && status < 309;
    const mayFollow = isMoved && hop < MAX_HOPS && !init.redirect;
    const next = mayFollow && location && URL.canParse(location, href) && new URL(location, href);
    if (!next || !mayGo(href, next.href, target)) return read(response, target, trust);
    const { code } = await problemOf(response);
    const isMaster = method && code === 'READONLY';
    if (!isMaster && ![origin, ...named].includes(next.origin)) trust = STRANGER;
    at = next;
  }
}

/**
 * @param target path and query
 * @returns whether a request may go on there: not over http after https, with no user and password, and with the same target
 */
function mayGo(from: string, to: string, target: string): boolean {
  const base = to.slice(0, -target.length);
  return base + target === to && /^http(s|(?=\S* http:)):\/\/[^?#@ ]+ /.test(`${base} ${from}`);
}
