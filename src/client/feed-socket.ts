/**
 * A connection to the feed of one node.
 *
 * A browser's WebSocket cannot be told to wait, so the queue of received events is limited. Beyond the limit the
 * connection is closed; the application still gets the queued events, and the follower then reconnects from there. While a
 * snapshot arrives the limit is a much larger one: a snapshot cannot be resumed, so with a small limit it might never finish.
 */
import type { Cursor } from './cursor.ts';
import { type Ending, endingOf, TOO_FAR_BEHIND, TOO_LARGE } from './ending.ts';
import { type FeedEvent, parseEvent } from './event.ts';
import type { CheckedOptions } from './follow-options.ts';
import { type Token, type Transport, tokenOf, tokenProtocol } from './request/token.ts';

export const SUBPROTOCOL = 'psync.v1.json';

/** How to connect: a function `token` is asked for the token, and for another one before that expires. */
interface Access {
  readonly token?: Token | undefined;
  readonly transport?: Transport | undefined;
}

type ErrorEvent = FeedEvent & { readonly type: 'error' };
/** Takes an event and its length in characters. */
type Put = (event: FeedEvent, length: number) => void;
type End = (...how: Parameters<typeof endingOf>) => void;

/** The queue may be so many times as long while a snapshot arrives. */
const SNAPSHOT_QUEUES = 64;
/** Shortest time between two questions for another token, in milliseconds. */
const RENEW_MS = 5_000;

/**
 * Yields the events of a connection. Leaving the iteration closes it.
 * @param open opens the connection, and returns a function that closes it
 * @param queueLength of the events that wait for the application
 * @param snapshotLength of the entries of a snapshot
 * @param signal discards the queued events
 * @param cut closes the connection; it aborts with `signal` too
 * @returns how the connection ended
 */
export async function* eventsOf(
  open: (put: Put, end: End) => () => void,
  queueLength: number,
  snapshotLength: number | undefined,
  signal: AbortSignal,
  cut: AbortSignal,
): AsyncGenerator<FeedEvent, Ending, undefined> {
  /** Events and their lengths. */
  const queue: Parameters<Put>[] = [];
  let queued = 0;
  /** Length of the entries of the snapshot that is arriving. */
  let arrived = 0;
  let ending: Ending | undefined;
  let wake: (() => void) | undefined;
  const put: Put = (event, length) => {
    queue.push([event, length]);
    queued += length;
    arrived = event.type === 'entry' ? arrived + length : 0;
    if (queued > queueLength * (arrived ? SNAPSHOT_QUEUES : 1)) {
      end('the application is too slow', TOO_FAR_BEHIND);
    }
    // No comparison with undefined is true.
    if (arrived > (snapshotLength as number)) end('the snapshot is too large', TOO_LARGE);
    wake?.();
  };
  const end: End = (...how) => {
    ending ??= endingOf(...how);
    close();
    wake?.();
  };
  const close = open(put, end);
  const stop = (): void => end('');
  cut.addEventListener('abort', stop);
  if (cut.aborted) stop();
  try {
    for (;;) {
      for (const [event, length] of queue.splice(0)) {
        if (signal.aborted) break;
        queued -= length;
        yield event;
      }
      if (queue[0]) continue;
      if (ending) return ending;
      await new Promise<void>((resolve) => {
        wake = resolve;
      });
    }
  } finally {
    cut.removeEventListener('abort', stop);
    stop();
  }
}

/**
 * Asks for the token, connects, and checks what comes. An `error` of the socket counts before it is open: mostly `close` follows, and may
 * say more, but a browser that forbids the URL to the page sends nothing else.
 * @param put called with each event to pass on
 * @param end called when the connection has ended, or has to be closed
 * @returns a function that closes the connection; no event comes after it
 */
export function openSocket(
  url: string,
  { token, transport }: Access,
  { connectMs, silenceMs, prefixes, urls }: CheckedOptions,
  cursor: Cursor,
  opened: () => void,
  put: Put,
  end: End,
): () => void {
  let socket: WebSocket | null | undefined; // null: closed
  let error: ErrorEvent | undefined;
  /** Moment of the last new event, or of the connection; 0: it was never established. */
  let heardAt = 0;
  let timer: ReturnType<typeof setTimeout>;
  /** Uses one timer for all events: when it fires, it checks the time of the last event and sleeps for the rest. */
  const watch = (ms: number): void => {
    timer = setTimeout(() => {
      const left = heardAt && heardAt + silenceMs - performance.now();
      if (left > 0) watch(left);
      else end(`${heardAt ? 'nothing came' : socket ? 'not connected' : 'no token'} in time`);
    }, ms);
  };
  let askAgainAt = 0;
  /** Asks for another token and shows it, when the present one expires. */
  const renew = (): void => {
    if (performance.now() < askAgainAt) return;
    askAgainAt = performance.now() + RENEW_MS;
    // The same token again changes nothing. Without another one the node ends the connection, and the follower asks anew.
    tokenOf(token)
      .then((another) => another && socket?.send(JSON.stringify({ type: 'auth', token: another })))
      .catch(() => undefined);
  };
  const take = (data: unknown): void => {
    const event = parseEvent(data, prefixes);
    if (event === undefined) end(`no event: ${data}`);
    if (!event || socket === null) return;
    if (event.type === 'expiring') return renew();
    if (event.type === 'error') error = event;
    const verdict = cursor.take(event);
    if (verdict === 'violation') end(`${event.type} out of turn`);
    if (verdict === 'deliver') {
      // Where another node can be asked, one that only says `waiting` counts as silent.
      if (cursor.state || !urls[1]) heardAt = performance.now();
      put(event, (data as string).length);
    }
  };
  const connect = (shown: string | undefined): void => {
    if (socket === null) return;
    socket = new (transport ?? globalThis).WebSocket(
      url,
      shown ? [SUBPROTOCOL, tokenProtocol(shown)] : SUBPROTOCOL,
    );
    socket.onopen = () => {
      clearTimeout(timer);
      heardAt = performance.now();
      watch(silenceMs);
      opened();
    };
    socket.onmessage = ({ data }) => {
      try {
        take(data);
      } catch (problem) {
        // An error of a message ends the connection, and not the program.
        end(`${problem}`);
      }
    };
    socket.onerror = () => heardAt || end('cannot connect');
    socket.onclose = ({ code, reason }) => end(reason, code, error);
  };
  watch(connectMs);
  tokenOf(token)
    .then(connect)
    .catch((problem) => end(`cannot connect: ${problem}`));
  return () => {
    clearTimeout(timer);
    socket?.close();
    socket = null;
  };
}
