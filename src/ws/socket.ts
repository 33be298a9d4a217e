/** Adapts a `ws` WebSocket to the node's `StreamSocket`. */
import { WebSocket } from 'ws';
import { holdsOne, showable } from '../node/ports/peer-words.ts';
import type { SocketEvents, StreamSocket } from '../node/ports/stream-socket.ts';

export const SUBPROTOCOL = 'psync.v1';
export const STREAM_PATH = '/v1/replication/stream';
/** Largest accepted message in bytes; peers send at most 256 KiB. */
export const MAX_MESSAGE_BYTES = 1024 * 1024;
/**
 * Largest number of pieces of one message: frames, and reads of the socket. `ws` keeps each as an object until the
 * message is complete, and closes the connection (1008) if there are more.
 */
export const PIECES = { maxFragments: 1_024, maxBufferedChunks: 16 * 1_024 } as const;
/** Time for the peer to answer a close frame before the connection is dropped, in milliseconds. */
const CLOSE_TIMEOUT_MS = 1_000;

/**
 * Number of unanswered pings after which no more are sent: `ws` cuts the connection at 60 pings at once, so a peer that
 * was frozen must not find so many.
 */
const MAX_UNANSWERED_PINGS = 30;

/** Longest reason that RFC 6455 allows in a close frame, in bytes. */
const MAX_REASON_BYTES = 123;
const PROTOCOL_ERROR = 4400;

/** The tokens that this side shows on one socket to a master. */
export interface ShownTokens {
  /** Those that the master has seen last. */
  readonly all: readonly string[];
  /** @returns a token that the master was not shown yet, once; null: there is none */
  next(): string | null;
}

export class Socket implements StreamSocket {
  readonly peer: string;
  readonly newToken: () => string | null;
  readonly showable: (words: string) => string;
  readonly holdsShown: (words: string) => boolean;
  readonly credentials: string | null;
  readonly #ws: WebSocket;
  #paused = false;
  #isClosing = false;
  /** Number of pings without a pong. */
  #unanswered = 0;

  /**
   * @param shown the tokens that this side shows on a socket to a master; absent: none
   * @param credentials for operators; null: this is no socket to a master
   */
  constructor(
    ws: WebSocket,
    peer: string,
    shown: ShownTokens | null = null,
    credentials: string | null = null,
  ) {
    this.#ws = ws;
    this.peer = peer;
    this.credentials = credentials;
    this.newToken = () => shown?.next() ?? null;
    this.showable = (words) => showable(words, shown?.all);
    this.holdsShown = (words) => holdsOne(words, shown?.all ?? []);
  }

  /** Reports everything that happens on the WebSocket to `events`, until it closes. */
  listen(events: SocketEvents): void {
    let closed = false;
    this.#ws.on('message', (data, isBinary) => {
      // What comes behind the end that this side has sent means nothing.
      if (this.#isClosing) return;
      if (isBinary) events.message(data as Buffer);
      else this.close(PROTOCOL_ERROR, 'a text message; only binary ones are expected');
    });
    this.#ws.on('ping', (data) => events.pinged(data.toString('latin1')));
    this.#ws.on('pong', () => {
      this.#unanswered = Math.max(0, this.#unanswered - 1);
      events.alive();
    });
    // A `close` event follows every error and reports it.
    let detail = '';
    this.#ws.on('error', (error) => {
      detail = error.message || String((error as { code?: unknown }).code ?? error);
    });
    this.#ws.on('close', (code, reason) => {
      if (closed) return;
      closed = true;
      events.closed(code, detail === '' ? reason.toString('utf8') : detail);
    });
  }

  get bufferedBytes(): number {
    return this.#ws.bufferedAmount;
  }

  send(bytes: Buffer, sent?: () => void): void {
    // A `close` event reports an error here.
    this.#ws.send(bytes, { binary: true, compress: false }, () => sent?.());
  }

  ping(text = ''): void {
    if (this.#ws.readyState !== WebSocket.OPEN) return;
    if (text === '' && this.#unanswered >= MAX_UNANSWERED_PINGS) return;
    this.#unanswered += 1;
    this.#ws.ping(text);
  }

  pause(): void {
    if (this.#paused) return;
    this.#paused = true;
    this.#ws.pause();
  }

  resume(): void {
    if (!this.#paused) return;
    this.#paused = false;
    this.#ws.resume();
  }

  close(code: number, reason: string): void {
    if (this.#isClosing) return;
    this.#isClosing = true;
    // A paused socket would never see the peer's answer.
    this.resume();
    this.#ws.close(code, cut(reason));
    setTimeout(() => this.#ws.terminate(), CLOSE_TIMEOUT_MS).unref();
  }

  terminate(): void {
    this.#ws.terminate();
  }
}

/** Shortens text to at most 123 bytes of UTF-8 without splitting a character. */
export function cut(text: string): string {
  if (Buffer.byteLength(text) <= MAX_REASON_BYTES) return text;
  // A UTF-16 unit takes at most three bytes, and so do the dots; ASCII text fits up to the limit.
  const most = /^[\x20-\x7e]*$/.test(text) ? MAX_REASON_BYTES - 3 : 40;
  return `${text.slice(0, most)}…`;
}
