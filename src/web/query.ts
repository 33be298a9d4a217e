/** The query of a URL, as HTTP requests and WebSockets bring it. */
import { Problem } from '../node/problem.ts';

/**
 * Parsers put a replacement character where the bytes are no text, and leave a `%` that escapes nothing as it is: such a
 * query would be answered as if it had asked for something else.
 * @param url with or without a query
 * @throws Problem BAD_REQUEST when some of the query is not percent-encoded UTF-8
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
