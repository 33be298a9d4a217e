/** Options of `follow` and `mirror`, checked once before the first connection. */
import { BASE_RETRY_MS, MAX_RETRY_MS, type RetryBounds } from './backoff.ts';
import type { SocketLimits } from './feed-socket.ts';

/** URLs of one node, or of several with the same data, tried in this order: `http://HOST:PORT` or `ws://…` */
export type FollowTarget =
  | { readonly url: string; readonly urls?: undefined }
  | { readonly urls: readonly string[]; readonly url?: undefined };

/** Limits, each above 0; times are in milliseconds. */
export interface FollowLimits {
  /** Time allowed for connecting; default 10 s. */
  readonly connectMs?: number | undefined;
  /** Silence after which a connection counts as dead; default 30 s. Nodes send something every 10 s. */
  readonly silenceMs?: number | undefined;
  /** Limit of the queue for a slow application, in characters of JSON; default 16 Mi. A snapshot is exempt. */
  readonly queueLength?: number | undefined;
  /** Shortest and longest time between two attempts; defaults 500 and 10,000. */
  readonly retryBaseMs?: number | undefined;
  readonly retryMaxMs?: number | undefined;
}

export interface CheckedOptions {
  readonly urls: readonly string[];
  readonly limits: SocketLimits;
  readonly retry: RetryBounds;
}

/** Longest time that a timer accepts. */
const MAX_LIMIT = 2 ** 31 - 1;

/** @throws TypeError that names the mistake: no URL, a malformed URL, or a limit that is not a positive number */
export function checkedOptions(options: FollowTarget & FollowLimits): CheckedOptions {
  const urls = options.urls ?? [options.url];
  if (urls.length === 0 || urls[0] === undefined) throw new TypeError('there is no URL to follow');
  for (const url of urls) {
    // A path before the node's own paths belongs to a proxy.
    if (!/^(http|ws)s?:\/\/[^/?#]+(\/[^?#]*)?$/i.test(url) || !URL.canParse(url)) {
      throw new TypeError(`${url} is no URL of the form http://HOST:PORT`);
    }
  }
  const limit = (name: keyof FollowLimits, initial: number): number => {
    const value: unknown = options[name] ?? initial;
    if (typeof value === 'number' && value > 0 && value <= MAX_LIMIT) return value;
    throw new TypeError(`${name}: expected a number above 0, got ${value}`);
  };
  return {
    urls,
    limits: {
      connectMs: limit('connectMs', 10_000),
      silenceMs: limit('silenceMs', 30_000),
      queueLength: limit('queueLength', 16 * 1024 * 1024),
    },
    retry: { baseMs: limit('retryBaseMs', BASE_RETRY_MS), maxMs: limit('retryMaxMs', MAX_RETRY_MS) },
  };
}
