/**
 * A connection to the feed of one node.
 *
 * A browser's WebSocket cannot be told to wait, so the queue of received events is limited. Beyond the limit the
 * connection is closed; the application still gets the queued events, and the follower then reconnects from there. A
 * snapshot is exempt: it cannot be resumed, so with a limit it might never finish.
 */
import type { Cursor } from './cursor.ts';
import { type Ending, endingOf } from './ending.ts';
import { type FeedEvent, parseEvent } from './event.ts';
import type { Limits } from './follow-options.ts';
import { type Token, type Transport, tokenOf, tokenProtocol } from './token.ts';

export const SUBPROTOCOL = 'psync.v1.json';

/** Shortest time between two questions for another token, in milliseconds. */
const RENEW_MS = 5_000;

/**
 * Connects, and yields the events. Leaving the iteration closes the connection.
 * @param options a function `token` is asked for the token, and for another one before that expires; `transport`: how to
 * connect
 * @param cursor decides which events may come, and takes their positions as they come
 * @param signal closes the connection, and discards the queued events
 * @param opened called when the connection is established
 * @returns how the connection ended
 */
export async function* connection(
  url: string,
  { token, transport }: { readonly token?: Token | undefined; readonly transport?: Transport | undefined },
  limits: Limits,
  cursor: Cursor,
  signal: AbortSignal,
  opened: () => void,
): AsyncGenerator<FeedEvent, Ending, undefined> {
  let socket: WebSocket | undefined;
  const queue: { readonly event: FeedEvent; readonly length: number }[] = [];
  let queued = 0;
  let error: { readonly code: string; readonly detail: string } | undefined;
  let ending: Ending | undefined;
  let wake: (() => void) | undefined;
  /** Moment of the last new event, or of the connection; 0: it was never established. */
  let heardAt = 0;
  let renewedAt = Number.NEGATIVE_INFINITY;

  const end = (detail: string, how?: Ending): void => {
    ending ??= how ?? { detail };
    clearTimeout(timer);
    // Closing a closed socket does nothing.
    socket?.close();
    wake?.();
  };
  const stop = (): void => end('');
  let timer = setTimeout(
    () => end(`${socket ? 'not connected' : 'no token'} within ${limits.connectMs} ms`),
    limits.connectMs,
  );
  /** Uses one timer for all events: when it fires, it checks the time of the last event and sleeps for the rest. */
  const watch = (ms: number): void => {
    timer = setTimeout(() => {
      const left = heardAt + limits.silenceMs - performance.now();
      if (left > 0) watch(left);
      else end(`nothing came for ${limits.silenceMs} ms`);
    }, ms);
  };
  /** Shows another token. The same one again changes nothing: the node ends the connection, and the follower asks anew. */
  const renew = (): void => {
    if (performance.now() - renewedAt < RENEW_MS) return;
    renewedAt = performance.now();
    tokenOf(token)
      .then((another) => another && socket?.send(JSON.stringify({ type: 'auth', token: another })))
      .catch(() => undefined);
  };
  const take = (data: unknown): void => {
    const event = parseEvent(data);
    if (event === undefined) end(`not an event of the feed: ${data}`.slice(0, 100));
    if (!event || ending) return;
    if (event.type === 'expiring') return renew();
    if (event.type === 'error') error = event;
    const verdict = cursor.take(event);
    if (verdict === 'violation') end(`${event.type} where it cannot come`);
    if (verdict !== 'deliver') return;
    const { length } = data as string;
    heardAt = performance.now();
    queue.push({ event, length });
    queued += length;
    wake?.();
    if (queued > limits.queueLength && !cursor.inSnapshot) {
      end('', { detail: 'more came than the application took', staysHere: true });
    }
  };
  const connect = (shown: string | undefined): void => {
    if (ending) return;
    const { WebSocket } = transport ?? globalThis;
    socket = new WebSocket(url, shown ? [SUBPROTOCOL, tokenProtocol(shown)] : SUBPROTOCOL);
    socket.onopen = () => {
      clearTimeout(timer);
      heardAt = performance.now();
      watch(limits.silenceMs);
      opened();
    };
    socket.onmessage = ({ data }) => take(data);
    // Mostly `close` follows, and may say more. But a browser that forbids the URL to the page sends nothing else.
    socket.onerror = () => heardAt || end('cannot connect');
    socket.onclose = ({ code, reason }) => end('', endingOf(code, reason, error));
  };

  signal.addEventListener('abort', stop);
  if (signal.aborted) stop();
  try {
    tokenOf(token)
      .then(connect)
      .catch((problem) => end(`cannot connect: ${problem}`));
    while (!ending || queue.length > 0) {
      for (const { event, length } of queue.splice(0)) {
        if (signal.aborted) break;
        queued -= length;
        yield event;
      }
      if (ending || queue.length > 0) continue;
      await new Promise<void>((resolve) => {
        wake = resolve;
      });
    }
    return ending;
  } finally {
    signal.removeEventListener('abort', stop);
    stop();
  }
}
