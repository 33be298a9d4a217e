/** One `ws` WebSocket as the node's `StreamSocket`. */
import { WebSocket } from 'ws';
import type { SocketEvents, StreamSocket } from '../node/ports.ts';

export const SUBPROTOCOL = 'psync.v1';
export const STREAM_PATH = '/v1/replication/stream';
/** The largest message that is accepted; peers send at most 256 KiB. */
export const MAX_MESSAGE_BYTES = 1024 * 1024;
/**
 * In how many pieces a message may arrive: frames, and reads of the socket. `ws` keeps each as an object until the message is
 * complete, and closes the connection (1008) when there are more.
 */
export const PIECES = { maxFragments: 1_024, maxBufferedChunks: 16 * 1_024 } as const;
/** After a close frame the peer has so long to answer before the connection is dropped. */
const CLOSE_TIMEOUT_MS = 1_000;

/** A peer that was frozen must not find more keep-alives at once: `ws` cuts the connection at 60 pings. */
const MAX_UNANSWERED_PINGS = 30;

/** What RFC 6455 lets a close frame say, in bytes. */
const MAX_REASON_BYTES = 123;
const PROTOCOL_ERROR = 4400;

export class Socket implements StreamSocket {
  readonly peer: string;
  readonly #ws: WebSocket;
  #paused = false;
  /** Pings that no pong has come for. */
  #unanswered = 0;

  constructor(ws: WebSocket, peer: string) {
    this.#ws = ws;
    this.peer = peer;
  }

  /** Sends everything that the WebSocket reports to `events`, until it is closed. */
  listen(events: SocketEvents): void {
    let closed = false;
    this.#ws.on('message', (data, isBinary) => {
      if (isBinary) events.message(data as Buffer);
      else this.close(PROTOCOL_ERROR, 'a text message; only binary ones are expected');
    });
    this.#ws.on('ping', (data) => events.pinged(data.toString('latin1')));
    this.#ws.on('pong', () => {
      this.#unanswered = Math.max(0, this.#unanswered - 1);
      events.alive();
    });
    // `close` follows every error and tells the rest.
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
    // An error here is followed by `close`.
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
    // A paused socket would never see the peer's answer.
    this.resume();
    this.#ws.close(code, cut(reason));
    setTimeout(() => this.#ws.terminate(), CLOSE_TIMEOUT_MS).unref();
  }

  terminate(): void {
    this.#ws.terminate();
  }
}

/** At most 123 bytes of UTF-8, without half a character at the end. */
export function cut(text: string): string {
  if (Buffer.byteLength(text) <= MAX_REASON_BYTES) return text;
  // At most three bytes for each UTF-16 unit, and three for the dots; ASCII fits as far as it goes.
  const most = /^[\x20-\x7e]*$/.test(text) ? MAX_REASON_BYTES - 3 : 40;
  return `${text.slice(0, most)}…`;
}
