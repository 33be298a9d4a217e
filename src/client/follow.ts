/**
 * Follows the changes of a node over any number of connections. After a cut it reconnects, to the next node if there
 * are several, from the position of the last event passed on. So no event is lost and none is repeated.
 */
import { retryDelayMs } from './backoff.ts';
import { Cursor, STREAM } from './cursor.ts';
import { BAD_REQUEST, TOO_FAR_BEHIND, UNAUTHORIZED } from './ending.ts';
import type { FeedEvent } from './event.ts';
import { eventsOf, openSocket } from './feed-socket.ts';
import { checkedOptions, type FollowLimits, type FollowTarget } from './follow-options.ts';
import type { Signal } from './platform.ts';
import { call } from './report.ts';
import type { Token, Transport } from './request/token.ts';
import { rest } from './within.ts';

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
export function follow(options: FollowOptions): AsyncGenerator<FeedEvent, void, undefined> {
  const stop = new AbortController();
  const events = followed(options, AbortSignal.any([stop.signal, options.signal ?? stop.signal]));
  // A generator alone would end only after the event that it waits for.
  for (const name of ['return', 'throw'] as const) {
    const end = events[name];
    events[name] = (value) => {
      stop.abort();
      return end.call(events, value);
    };
  }
  return events;
}

/**
 * Yields what `follow` yields.
 * @param signal ends the iteration, once the event that it waits for has come
 * @param begin called before each attempt, which waits for it. Aborting the signal that it returns ends the attempt, or the
 * pause after it; what has arrived is still yielded. The next attempt is at the same URL if changes were arriving from there,
 * and else at the next one. It has to abort with `signal` too.
 * @param snapshotLength most characters of the entries of a snapshot; a node that sends more counts as one that refuses the request
 * @internal
 */
export async function* followed(
  options: FollowOptions,
  signal: AbortSignal,
  begin = async () => signal,
  snapshotLength?: number,
): AsyncGenerator<FeedEvent, void, undefined> {
  const { prefix, snapshot } = options;
  const checked = checkedOptions(options);
  const tell = (state: ConnectionState): void => call(options.onConnection, state);
  const { urls } = checked;
  let { position } = options;
  /** Position at which the follower has asked for a snapshot because no node accepted it. */
  let startedOverAt: string | undefined;
  let hasAskedAgain = false;
  /** Close codes of the nodes that have refused the present request, one after the other. */
  let refusals: number[] = [];
  let turn = 0;
  let failures = 0;
  for (;;) {
    const present = await begin();
    if (signal.aborted) return;
    const url = urls[turn % urls.length] as string;
    const cursor = new Cursor(position);
    const query = new URLSearchParams(
      [prefix ?? []].flat().map((each): [string, string] => ['prefix', each]),
    );
    if (position) query.set('position', position);
    if (snapshot === false) query.set('snapshot', 'false');
    const startedAt = performance.now();
    tell({ kind: 'connecting', url });
    const { detail, closeCode, refusal } = yield* eventsOf(
      (put, end) =>
        openSocket(
          `${url.replace(/^http/i, 'ws')}/v1/changes?${query}`,
          options,
          checked,
          cursor,
          () => tell({ kind: 'open', url }),
          put,
          end,
        ),
      checked.queueLength,
      snapshotLength,
      signal,
      present,
    );
    if (signal.aborted) return;
    const lastedMs = performance.now() - startedAt;
    const isGood = cursor.position !== position || (cursor.state && lastedMs >= GOOD_AFTER_MS);
    failures = isGood ? 0 : failures + 1;
    position = cursor.position;
    if (cursor.state) hasAskedAgain = false;
    if (cursor.state === STREAM || !refusal) refusals = [];
    // One node's refusal ends nothing that another node would serve.
    if (refusal && refusals.push(closeCode) >= urls.length) {
      // Without the position, or with another token, the request may be served: each is tried once.
      if (position && position !== startedOverAt && snapshot !== false && refusals.includes(BAD_REQUEST)) {
        startedOverAt = position;
        position = undefined;
      } else if (refusals.includes(UNAUTHORIZED) && typeof options.token === 'function' && !hasAskedAgain) {
        hasAskedAgain = true;
      } else throw refusal;
      refusals = [];
    }
    if (present.aborted ? cursor.state !== STREAM : closeCode !== TOO_FAR_BEHIND || !isGood) turn += 1;
    const delayMs = retryDelayMs(failures, urls.length, Math.random(), checked, lastedMs);
    if (!present.aborted) tell({ kind: 'waiting', url, detail, delayMs });
    await rest(delayMs, present);
  }
}
