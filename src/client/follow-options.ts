/** What `follow` and `mirror` are told, checked once, before there is a connection. */
import { BASE_RETRY_MS, MAX_RETRY_MS, type RetryBounds } from './backoff.ts';
import type { SocketLimits } from './feed-socket.ts';

/** One node, or several that have the same data: they are tried in this order. `http://HOST:PORT` or `ws://…` */
export type FollowTarget =
  | { readonly url: string; readonly urls?: undefined }
  | { readonly urls: readonly string[]; readonly url?: undefined };

/** Each more than 0; times are in milliseconds. */
export interface FollowLimits {
  /** How long connecting may take; 10 s. */
  readonly connectMs?: number | undefined;
  /** A connection on which nothing comes for so long is taken as dead; 30 s, and nodes say something every 10 s. */
  readonly silenceMs?: number | undefined;
  /** How much may wait to be taken by a slow application, in characters of JSON; 16 Mi, a snapshot is exempt. */
  readonly queueLength?: number | undefined;
  /** The bounds of the time between two attempts; 500 and 10,000. */
  readonly retryBaseMs?: number | undefined;
  readonly retryMaxMs?: number | undefined;
}

export interface CheckedOptions {
  readonly urls: readonly string[];
  readonly limits: SocketLimits;
  readonly retry: RetryBounds;
}

/** Timers take no more. */
const MAX_LIMIT = 2 ** 31 - 1;

/** @throws TypeError that names what is wrong: no URL, or one that is none, or a limit that is no positive number */
export function checkedOptions(options: FollowTarget & FollowLimits): CheckedOptions {
  const urls = options.urls ?? [options.url];
  if (urls.length === 0 || urls[0] === undefined) throw new TypeError('there is no URL to follow');
  for (const url of urls) {
    // A path is a proxy's, before that of the node.
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
