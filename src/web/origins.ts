/**
 * Decides which web pages may call this node. Browsers state a page's origin in `Origin`; other programs do not send
 * it.
 */
import type { IncomingHttpHeaders } from 'node:http';
import { hostName, type KnownHosts } from './hosts.ts';
import type { Forwarded, Proxies } from './proxies.ts';

/** Origins in lowercase, as browsers write them; `any`: all origins. */
export type Origins = readonly string[] | 'any';

/** Settings for who may call this node: its host names, the allowed origins of pages, and the proxies in front of it. */
export interface Admission {
  readonly hosts: KnownHosts;
  readonly allowedOrigins: Origins;
  readonly proxies: Proxies;
  /** URL under which clients reach this node, without a final slash; null: the one that they happen to use. */
  readonly publicUrl: string | null;
}

/** Whether the settings allow pages of this origin. */
export function isAllowed(origin: string, allowed: Origins): boolean {
  return allowed === 'any' || allowed.includes(origin.toLowerCase());
}

/**
 * @param request with an `Origin` if a page of another origin makes it. Pages of the node itself may always come: those that were loaded
 *   from the host that the request names. At the host of `--public-url` its scheme and port count, whatever the request says of those; a
 *   page of the same host with another scheme is not the node's, because anybody on the network could serve it.
 * @param isPublic whether the request came where the public URL leads; it does not lead to the admin listener
 */
export function mayCome(request: Forwarded, admission: Admission, isPublic = true): boolean {
  return request.headers.origin === undefined || reasonFor(request, admission, isPublic) !== null;
}

/**
 * Whether the request may change something. As `mayCome`; and if the browser says that a page of another origin asks, the host of that page is
 * not enough, because the node may not know the scheme under which it was called.
 */
export function mayChange(request: Forwarded, admission: Admission, isPublic = true): boolean {
  const { 'sec-fetch-site': site, origin } = request.headers;
  const saysOther = site !== undefined && site !== 'same-origin' && site !== 'none';
  if (origin === undefined) return !saysOther || admission.allowedOrigins === 'any';
  const reason = reasonFor(request, admission, isPublic);
  return reason === 'setting' || (reason === 'host' && !saysOther);
}

/** @returns why a page with an `Origin` may come: a setting names it, or it has the host of the node. null: it may not */
function reasonFor(
  request: Forwarded,
  { hosts, allowedOrigins, proxies, publicUrl }: Admission,
  isPublic: boolean,
): 'setting' | 'host' | null {
  const { origin = '', host: named } = request.headers;
  if (isAllowed(origin, allowedOrigins)) return 'setting';
  if (!URL.canParse(origin)) return null;
  const host = proxies.forwardedHost(request) ?? named;
  if (host === undefined || !hosts.isKnown(host)) return null;
  if (publicUrl !== null && isPublic) {
    const url = new URL(publicUrl);
    if (url.hostname === hostName(host) && url.origin === origin) return 'setting';
    if (url.host === host.toLowerCase()) return null;
  }
  const { host: from, protocol } = new URL(origin);
  const scheme = proxies.schemeOf(request);
  return from === host && (scheme === null || protocol === `${scheme}:`) ? 'host' : null;
}

/**
 * Whether a page of another origin asks, for which no settings answer. `Sec-Fetch-Site` says so, which browsers send to `https` and to
 * loopback addresses, and not to other names with `http`. A link that somebody follows counts too: the page that has it keeps a
 * handle of the window, and can tell a value, which is downloaded, from a problem, which is shown. So does a request ahead of a visit
 * that no page of the node itself makes: Chromium sends `none` with those that speculation rules of another site make. A background
 * fetch of a page has `none` too, and its `Origin`.
 * @param isPublic whether the request came where the public URL leads; it does not lead to the admin listener
 */
export function isForeignPage(request: Forwarded, admission: Admission, isPublic = true): boolean {
  const { 'sec-fetch-site': site, origin } = request.headers;
  if (site === 'same-origin' || admission.allowedOrigins === 'any') return false;
  const saysNoPage = site === undefined || site === 'none';
  if (saysNoPage && !isAhead(request.headers) && !(site === 'none' && origin !== undefined)) return false;
  return origin === undefined || !mayCome(request, admission, isPublic);
}

/** Whether a browser asks before anybody visits the page: a prefetch or a prerender. Each header is the one of some browsers. */
export function isAhead(headers: IncomingHttpHeaders): boolean {
  return (
    headers['sec-purpose'] !== undefined || headers.purpose !== undefined || headers['x-moz'] !== undefined
  );
}

/**
 * Whether a browser asks for what it will show in a window or a frame. Nobody's page seems to ask (`Sec-Fetch-Site: none`) also when a page has
 * its window go back to an address that somebody typed, and that address now redirects to the node. That page can tell a download
 * from what is shown, because a window stays where it was during a download.
 */
export function isNavigation({ 'sec-fetch-mode': mode }: IncomingHttpHeaders): boolean {
  return mode === 'navigate';
}
