/**
 * A WebSocket to the feed of one node: yields its events in order, and then how it ended.
 *
 * A browser's WebSocket cannot be told to wait, so this class limits the queue of received events. Beyond the limit it
 * closes the connection; the application still gets the queued events, and the follower then reconnects from there. A
 * snapshot is exempt: it cannot be resumed, so with a limit it might never finish.
 */
import type { Ending } from './ending.ts';
import { type FeedEvent, FeedFormatError, parseEvent } from './event.ts';
import { type Token, type Transport, tokenOf, tokenProtocol } from './token.ts';

export const SUBPROTOCOL = 'psync.v1.json';

export interface SocketLimits {
  /** Time allowed for connecting, in milliseconds. */
  readonly connectMs: number;
  /** Silence after which a connection counts as dead, in milliseconds. Nodes send something every ten seconds. */
  readonly silenceMs: number;
  /** Limit of the queue in characters. */
  readonly queueLength: number;
}

/** Number of consumed events that the queue may hold, unless more are unconsumed. */
const FORGET_AT = 256;

export type Next =
  | { readonly kind: 'event'; readonly event: FeedEvent }
  | { readonly kind: 'end'; readonly ending: Ending };

export class FeedSocket {
  readonly #limits: SocketLimits;
  readonly #socket: WebSocket;
  readonly #opened: () => void;
  readonly #token: Token | undefined;
  #queue: { readonly event: FeedEvent; readonly length: number }[] = [];
  /** Index of the first unconsumed event; shifting a long array each time would be slow. */
  #head = 0;
  #queued = 0;
  #inSnapshot = false;
  #error: { readonly code: string; readonly detail: string } | null = null;
  #ending: Ending | null = null;
  #wake: (() => void) | null = null;
  #timer: ReturnType<typeof setTimeout> | undefined;
  /** Moment of the last message, or of the connection; 0: it was never established. */
  #heardAt = 0;

  /**
   * @param shown token for a node with tokens
   * @param options a function `token` is asked for another one before the first expires; `transport`: how to connect
   * @param opened called when the connection is established
   */
  constructor(
    url: string,
    shown: string | undefined,
    { token, transport }: { readonly token?: Token | undefined; readonly transport?: Transport | undefined },
    limits: SocketLimits,
    opened: () => void,
  ) {
    this.#limits = limits;
    this.#opened = opened;
    this.#token = token;
    const { WebSocket } = transport ?? globalThis;
    this.#socket = new WebSocket(url, !shown ? SUBPROTOCOL : [SUBPROTOCOL, tokenProtocol(shown)]);
    this.#socket.onopen = this.#onOpen;
    this.#socket.onmessage = this.#onMessage;
    // The `close` event reports failures, as far as browsers tell them to pages.
    this.#socket.onerror = () => undefined;
    this.#socket.onclose = this.#onClose;
    this.#timer = setTimeout(() => {
      this.#end({ kind: 'unreachable', detail: `not connected within ${limits.connectMs} ms` });
    }, limits.connectMs);
  }

  /** Returns the next event, or after the last one how the connection ended. */
  async next(): Promise<Next> {
    for (;;) {
      const first = this.#queue[this.#head];
      if (first !== undefined) {
        this.#head += 1;
        this.#queued -= first.length;
        if (this.#head >= FORGET_AT && this.#head * 2 > this.#queue.length) {
          this.#queue = this.#queue.slice(this.#head);
          this.#head = 0;
        }
        return { kind: 'event', event: first.event };
      }
      if (this.#ending !== null) return { kind: 'end', ending: this.#ending };
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }

  /** Closes the connection and discards the queued events. */
  abort(): void {
    this.#queue = [];
    this.#end({ kind: 'aborted' });
  }

  readonly #onOpen = (): void => {
    clearTimeout(this.#timer);
    this.#heardAt = performance.now();
    this.#watch(this.#limits.silenceMs);
    this.#opened();
  };

  readonly #onMessage = ({ data }: { data: unknown }): void => {
    this.#heardAt = performance.now();
    try {
      this.#take(data);
    } catch (error) {
      this.#end({ kind: 'malformed', detail: (error as Error).message });
    }
  };

  readonly #onClose = ({ code, reason }: { code: number; reason: string }): void => {
    this.#end(
      this.#heardAt > 0
        ? { kind: 'closed', code, reason, error: this.#error }
        : { kind: 'unreachable', detail: 'cannot connect' },
    );
  };

  #take(data: unknown): void {
    if (typeof data !== 'string') throw new FeedFormatError('a binary message');
    const event = parseEvent(data);
    if (event === null) return;
    if (event.type === 'expiring') {
      // The same token again changes nothing. Without a new one the node ends the connection, and the follower asks for the next.
      tokenOf(this.#token).then(
        (token) => this.#socket.send(JSON.stringify({ type: 'auth', token })),
        () => undefined,
      );
      return;
    }
    if (event.type === 'error') this.#error = event;
    if (event.type === 'reset') this.#inSnapshot = true;
    if (event.type === 'synced' || event.type === 'continue') this.#inSnapshot = false;
    this.#queue.push({ event, length: data.length });
    this.#queued += data.length;
    this.#wake?.();
    if (this.#queued > this.#limits.queueLength && !this.#inSnapshot) this.#end({ kind: 'overrun' });
  }

  /** Uses one timer for all messages: when it fires, it checks the time of the last message and sleeps for the rest. */
  #watch(ms: number): void {
    this.#timer = setTimeout(() => {
      const left = this.#heardAt + this.#limits.silenceMs - performance.now();
      if (left > 0) this.#watch(left);
      else this.#end({ kind: 'silent', ms: this.#limits.silenceMs });
    }, ms);
  }

  #end(ending: Ending): void {
    if (this.#ending !== null) return;
    this.#ending = ending;
    clearTimeout(this.#timer);
    this.#socket.onopen = null;
    this.#socket.onmessage = null;
    this.#socket.onclose = null;
    // Closing a closed socket does nothing.
    this.#socket.close();
    this.#wake?.();
  }
}
