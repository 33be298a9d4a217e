/** Options of `follow` and `mirror`, checked once before the first connection. */
import { BASE_RETRY_MS, MAX_RETRY_MS } from './backoff.ts';

/** URLs of one node, or of several with the same data, tried in this order: `http://HOST:PORT` or `ws://…` */
export type FollowTarget =
  | { readonly url: string; readonly urls?: undefined }
  | { readonly urls: readonly string[]; readonly url?: undefined };

/** Limits, each above 0; times are in milliseconds. */
export interface FollowLimits {
  /** Time allowed for the token and for connecting; default 10 s. */
  readonly connectMs?: number | undefined;
  /**
   * Time without a new event after which a connection counts as dead; default 30 s. Nodes send one every 10 s. With several nodes,
   * one that only says `waiting` counts as dead too.
   */
  readonly silenceMs?: number | undefined;
  /**
   * Limit of the queue for a slow application, in characters of JSON; default 16 Mi. While a snapshot arrives, which cannot
   * be resumed, it is 64 times as long.
   */
  readonly queueLength?: number | undefined;
  /** Shortest and longest time between two attempts; defaults 500 and 10,000. */
  readonly retryBaseMs?: number | undefined;
  readonly retryMaxMs?: number | undefined;
}

/** All limits. */
export type Limits = Record<keyof FollowLimits, number>;

export interface CheckedOptions extends Readonly<Limits> {
  readonly urls: readonly string[];
  /** One that is empty: all keys. */
  readonly prefixes: readonly string[];
}

const DEFAULTS: Readonly<Limits> = {
  connectMs: 10_000,
  silenceMs: 30_000,
  queueLength: 2 ** 24,
  retryBaseMs: BASE_RETRY_MS,
  retryMaxMs: MAX_RETRY_MS,
};

/** Longest time that a timer accepts, in milliseconds. */
export const MAX_LIMIT = 2_147_483_647;

/** Only keys with this prefix, or with one of these; undefined: all keys. */
export type Prefix = string | readonly string[] | undefined;

/**
 * @throws TypeError that names the mistake: no URL, a malformed URL, a list without a prefix, a prefix that is not text
 * that can be sent, or a limit that is not a positive number
 */
export function checkedOptions(
  options: FollowTarget & FollowLimits & { readonly prefix?: Prefix },
): CheckedOptions {
  // Where there is none, `undefined` is no URL either.
  const given = options.urls?.length ? options.urls : [`${options.url}`];
  const urls = given.map(baseOf);
  const prefixes = [options.prefix ?? ''].flat();
  // Nothing is not everything; and the URL would have another text for half of a surrogate pair.
  if (prefixes.length === 0 || !prefixes.every((prefix) => prefix.isWellFormed())) {
    throw new TypeError('prefix: no text or list');
  }
  const limits: Record<string, number> & Limits = { ...DEFAULTS };
  const wanted = options as object as Readonly<Record<string, unknown>>;
  for (const name in limits) limits[name] = checkedLimit(name, wanted[name], limits[name] as number);
  return { ...limits, urls, prefixes };
}

/** @returns the URL without a slash at its end @throws TypeError for what is no URL of a node */
export function baseOf(url: string): string {
  // A path before the node's own paths belongs to a proxy. Neither `fetch` nor a WebSocket sends a user and a password.
  if (/^(http|ws)s?:\/\/[^/?#@]+(\/[^?#]*)?$/i.test(url) && URL.canParse(url)) return url.replace(/\/+$/, '');
  // Errors are shown and logged: without the user and the password.
  throw new TypeError(`${url} is no URL of the form http://HOST:PORT`.replace(/.*@/, ''));
}

/**
 * @param initial the limit if there is no value
 * @throws TypeError that names the limit, if the value is not a number above 0 that a timer accepts
 */
export function checkedLimit(name: string, value: unknown, initial: number): number {
  const limit = value ?? initial;
  if (typeof limit === 'number' && limit > 0 && limit <= MAX_LIMIT) return limit;
  throw new TypeError(`${name}: expected a number above 0, got ${limit}`);
}
