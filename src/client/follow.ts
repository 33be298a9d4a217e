/**
 * Follows the changes of a node over any number of connections. After a cut it reconnects, to the next node if there
 * are several, from the position of the last event passed on. So no event is lost and none is repeated.
 */
import { retryDelayMs } from './backoff.ts';
import { Cursor } from './cursor.ts';
import { type Ending, endingVerdict } from './ending.ts';
import type { FeedEvent } from './event.ts';
import { FeedSocket, type SocketLimits } from './feed-socket.ts';
import { checkedOptions, type FollowLimits, type FollowTarget } from './follow-options.ts';
import type { Signal } from './platform.ts';
import { call } from './report.ts';
import { type Token, type Transport, tokenOf } from './token.ts';

/** Duration after which a connection counts as good even without events, in milliseconds. */
const GOOD_AFTER_MS = 5_000;

export type FollowOptions = FollowTarget &
  FollowLimits & {
    /** Only keys with this prefix, or with one of these; default: all keys. */
    readonly prefix?: string | readonly string[] | undefined;
    /**
     * Where to begin. undefined: with a snapshot; `now`: with new changes only; or the position of an earlier event.
     */
    readonly position?: string | undefined;
    /** false: fail with `POSITION_LOST`, instead of receiving a snapshot, if the position cannot be continued from. */
    readonly snapshot?: boolean | undefined;
    /**
     * For nodes with tokens. A function is asked anew for every connection, and for the present one before its token
     * expires; a token in its place is shown to all.
     */
    readonly token?: Token | undefined;
    /** For nodes with certificates of their own. */
    readonly transport?: Transport | undefined;
    /** Aborting it ends the iteration. */
    readonly signal?: Signal | undefined;
    /** Called when the state of the connection changes. */
    readonly onConnection?: ((state: ConnectionState) => void) | undefined;
  };

export type ConnectionState =
  | { readonly kind: 'connecting'; readonly url: string }
  | { readonly kind: 'open'; readonly url: string }
  /** The connection to `url` has ended or could not be established; the next attempt is in `delayMs`. */
  | { readonly kind: 'waiting'; readonly url: string; readonly detail: string; readonly delayMs: number };

/**
 * Yields the events of the feed, for `for await`. After each cut comes a `continue`, or a `reset` with a snapshot;
 * discard a snapshot that a cut interrupted. It does not yield `error` events but throws the final ones.
 * @throws FollowError when the node will never serve the request; TypeError for a wrong URL or limit
 */
export async function* follow(options: FollowOptions): AsyncGenerator<FeedEvent, void, undefined> {
  const { signal, onConnection } = options;
  const tell = (state: ConnectionState): void => {
    if (onConnection) call(onConnection, state);
  };
  const { urls, limits, retry } = checkedOptions(options);
  const cursor = new Cursor(options.position);
  let turn = 0;
  let failures = 0;
  let refusals = 0;
  while (!signal?.aborted) {
    const url = urls[turn % urls.length] as string;
    const before = cursor.position;
    const opened = { at: Number.POSITIVE_INFINITY, isServed: false };
    tell({ kind: 'connecting', url });
    const ending = yield* oneConnection(
      url,
      options,
      limits,
      cursor,
      () => {
        opened.at = performance.now();
        tell({ kind: 'open', url });
      },
      () => {
        opened.isServed = true;
      },
    );
    const verdict = endingVerdict(ending);
    if (verdict.kind === 'stop') return;
    if (verdict.kind === 'fail') {
      // A function may have a new token; the same dead one would be refused for ever.
      refusals = opened.isServed ? 1 : refusals + 1;
      const mayTryAgain = verdict.error.code === 'UNAUTHORIZED' && typeof options.token === 'function';
      if (!mayTryAgain || refusals > 1) throw verdict.error;
      continue;
    }
    refusals = 0;
    const isGood = cursor.position !== before || performance.now() - opened.at >= GOOD_AFTER_MS;
    failures = isGood ? 0 : failures + 1;
    if (verdict.where === 'next') turn += 1;
    const delayMs = retryDelayMs(failures, urls.length, Math.random(), retry);
    tell({ kind: 'waiting', url, detail: verdict.detail, delayMs });
    await pause(delayMs, signal);
  }
}

async function* oneConnection(
  url: string,
  options: FollowOptions,
  limits: SocketLimits,
  cursor: Cursor,
  opened: () => void,
  served: () => void,
): AsyncGenerator<FeedEvent, Ending, undefined> {
  const { signal } = options;
  cursor.connected();
  let token: string | undefined;
  try {
    token = await tokenOf(options.token);
  } catch (error) {
    return { kind: 'unreachable', detail: `there is no token: ${error}` };
  }
  const socket = new FeedSocket(feedUrl(url, options, cursor.position), token, options, limits, opened);
  const abort = (): void => socket.abort();
  signal?.addEventListener('abort', abort);
  try {
    for (;;) {
      const next = await socket.next();
      if (next.kind === 'end') return next.ending;
      const verdict = cursor.take(next.event);
      if (verdict === 'violation') {
        return { kind: 'malformed', detail: `${next.event.type} where it cannot come` };
      }
      if (verdict !== 'deliver') continue;
      served();
      yield next.event;
    }
  } finally {
    signal?.removeEventListener('abort', abort);
    socket.abort();
  }
}

function feedUrl(base: string, { prefix, snapshot }: FollowOptions, position: string | undefined): string {
  const query = new URLSearchParams();
  for (const each of [prefix ?? []].flat()) query.append('prefix', each);
  if (position !== undefined) query.set('position', position);
  if (snapshot === false) query.set('snapshot', 'false');
  return `${base.replace(/^http/i, 'ws').replace(/\/+$/, '')}/v1/changes?${query}`;
}

/** Waits; ends early when the signal is aborted, or when the browser is online again. */
function pause(ms: number, signal: AbortSignal | undefined): Promise<void> {
  if (signal?.aborted) return Promise.resolve();
  return new Promise((resolve) => {
    const over = new AbortController();
    const done = (): void => {
      clearTimeout(timer);
      over.abort();
      resolve();
    };
    const timer = setTimeout(done, ms);
    signal?.addEventListener('abort', done, over);
    // Browsers say when the machine is connected again; Node does not.
    (globalThis as Partial<EventTarget>).addEventListener?.('online', done, over);
  });
}
