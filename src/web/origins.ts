/**
 * Decides which web pages may call this node. Browsers state a page's origin in `Origin`; other programs do not send
 * it.
 */
import type { KnownHosts } from './hosts.ts';

/** Origins in lowercase, as browsers write them; `any`: all origins. */
export type Origins = readonly string[] | 'any';

/** Settings for who may call this node: its host names, and the allowed origins of pages. */
export interface Admission {
  readonly hosts: KnownHosts;
  readonly allowedOrigins: Origins;
}

/** Whether the settings allow pages of this origin. */
export function isAllowed(origin: string, allowed: Origins): boolean {
  return allowed === 'any' || allowed.includes(origin.toLowerCase());
}

/**
 * @param origin of the request; absent: it does not come from a page of another origin
 * @param host the request's `Host`; pages loaded from it are always allowed, if this node answers to that name
 */
export function mayCome(
  origin: string | undefined,
  host: string | undefined,
  { hosts, allowedOrigins }: Admission,
): boolean {
  if (origin === undefined || isAllowed(origin, allowedOrigins)) return true;
  if (host === undefined || !hosts.isKnown(host)) return false;
  return URL.canParse(origin) && new URL(origin).host === host;
}
