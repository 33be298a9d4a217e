/** The query of `/v1/changes`, the same on every transport. */
import { MAX_KEY_BYTES } from '../keyspace/key.ts';
import { Prefixes } from '../keyspace/prefixes.ts';
import type { FeedQuery } from '../node/feed/feed-request.ts';
import { Problem } from '../node/problem.ts';
import { parsePosition } from '../replication/position.ts';
import { checkQuery, parseDecimal, parseTime } from './query.ts';

export const MAX_PREFIXES = 100;
export const MAX_LIMIT = 1_000_000;
/** Longest `wait`, in seconds. */
export const MAX_WAIT = 600;

const PARAMETERS: ReadonlySet<string> = new Set([
  'position',
  'from-time',
  'prefix',
  'snapshot',
  'limit',
  'wait',
]);
/** How some clients name a parameter that they repeat, axios among them. */
const PREFIX_LIST = 'prefix[]';

/**
 * @param url with the query, which begins at the first `?`
 * @param lastEventId sent by a browser's EventSource when it reconnects; overrides the query's position and time
 * @throws Problem BAD_REQUEST
 */
export function parseFeedRequest(url: string, lastEventId?: string): FeedQuery {
  checkQuery(url);
  const [path = ''] = url.split('?', 1);
  const parameters = new URLSearchParams(url.slice(path.length));
  for (const name of new Set(parameters.keys())) {
    if (name === PREFIX_LIST) continue;
    if (!PARAMETERS.has(name)) throw bad(`unknown query parameter ${JSON.stringify(name.slice(0, 80))}`);
    if (name !== 'prefix' && parameters.getAll(name).length > 1) throw bad(`"${name}" may be given once`);
  }
  const snapshot = booleanOf(parameters.get('snapshot') ?? 'true');
  const from = lastEventId ? startAt(lastEventId) : startOf(parameters);
  if (from === 'snapshot' && !snapshot) {
    throw bad('snapshot=false needs a position to go on from, or position=now, or from-time');
  }
  return {
    from,
    prefixes: prefixesOf([...parameters.getAll('prefix'), ...parameters.getAll(PREFIX_LIST)]),
    snapshot,
    limit: numberOf('limit', parameters.get('limit'), 'integer', 1, MAX_LIMIT),
    waitMs: thousandfold(numberOf('wait', parameters.get('wait'), 'number', 0, MAX_WAIT)),
  };
}

function startOf(parameters: URLSearchParams): FeedQuery['from'] {
  const [position, text] = [parameters.get('position'), parameters.get('from-time')];
  if (text === null) return position === null ? 'snapshot' : startAt(position);
  if (position !== null) throw bad('either "position" or "from-time" may be given');
  const time = parseTime(text);
  if (time !== null) return { time };
  // A plus sign that was not encoded has come as a space.
  const hint = parseTime(text.replace(' ', '+')) === null ? '' : '; in a URL, + is written as %2B';
  throw bad(
    `"from-time" must be a time such as 2026-11-29T05:00:00Z, or milliseconds since 1970, not ${JSON.stringify(text.slice(0, 80))}${hint}`,
  );
}

function startAt(text: string): FeedQuery['from'] {
  if (text === 'now') return 'now';
  const position = parsePosition(text);
  if (position !== null) return position;
  throw bad(`${JSON.stringify(text.slice(0, 80))} is neither a position, <run ID>:<offset>, nor "now"`);
}

function prefixesOf(wanted: readonly string[]): Prefixes {
  if (wanted.length > MAX_PREFIXES) throw bad(`at most ${MAX_PREFIXES} prefixes may be given`);
  const long = wanted.find((prefix) => Buffer.byteLength(prefix) > MAX_KEY_BYTES);
  if (long !== undefined) throw bad(`a prefix may have at most ${MAX_KEY_BYTES} bytes, as a key`);
  return new Prefixes(wanted);
}

function booleanOf(text: string): boolean {
  if (text !== 'true' && text !== 'false') throw bad('"snapshot" must be true or false');
  return text === 'true';
}

function numberOf(
  name: string,
  text: string | null,
  kind: 'integer' | 'number',
  least: number,
  most: number,
): number | null {
  if (text === null) return null;
  const value = parseDecimal(text, kind);
  if (value === null || value < least || value > most)
    throw bad(`"${name}" must be from ${least} to ${most}`);
  return value;
}

function thousandfold(value: number | null): number | null {
  return value === null ? null : Math.round(value * 1000);
}

function bad(detail: string): Problem {
  return new Problem('BAD_REQUEST', detail);
}
