/** Which web pages may come here. Browsers say in `Origin` where a page is from; programs do not send it. */

/** Origins as browsers write them, in lowercase; `any`: all of them. */
export type Origins = readonly string[] | 'any';

/**
 * @param origin of the request; absent: it is not from a page of another origin
 * @param host the request's own `Host`: pages that were loaded from there may always come
 */
export function mayCome(origin: string | undefined, host: string | undefined, allowed: Origins): boolean {
  if (origin === undefined || allowed === 'any') return true;
  const isOwn = URL.canParse(origin) && new URL(origin).host === host;
  return isOwn || allowed.includes(origin.toLowerCase());
}
