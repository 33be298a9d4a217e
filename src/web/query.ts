/** Checks the query of a URL, for HTTP requests and WebSockets. */
import { Problem } from '../node/problem.ts';

/**
 * Refuses malformed escapes. URL parsers replace invalid UTF-8 and leave a stray `%`, so the node would answer another
 * query than the one that was sent.
 * @param url with or without a query
 * @throws Problem BAD_REQUEST if the query is not percent-encoded UTF-8
 */
export function checkQuery(url: string): void {
  const start = url.indexOf('?');
  if (start === -1 || !url.includes('%', start)) return;
  const broken = url
    .slice(start + 1)
    .split('&')
    .find((part) => !isDecodable(part));
  if (broken === undefined) return;
  const shown = JSON.stringify(broken.slice(0, 80));
  throw new Problem('BAD_REQUEST', `${shown} in the query is not percent-encoded UTF-8`);
}

function isDecodable(text: string): boolean {
  try {
    decodeURIComponent(text);
    return true;
  } catch {
    return false;
  }
}
