/** Which web pages may come here. Browsers say in `Origin` where a page is from; programs do not send it. */
import type { KnownHosts } from './hosts.ts';

/** Origins as browsers write them, in lowercase; `any`: all of them. */
export type Origins = readonly string[] | 'any';

/** Who may ask this node: by which names, and pages from where. */
export interface Admission {
  readonly hosts: KnownHosts;
  readonly allowedOrigins: Origins;
}

/** Whether the settings let pages of this origin come. */
export function isAllowed(origin: string, allowed: Origins): boolean {
  return allowed === 'any' || allowed.includes(origin.toLowerCase());
}

/**
 * @param origin of the request; absent: it is not from a page of another origin
 * @param host the request's own `Host`: pages that were loaded from there may always come, if this node answers to that name
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
