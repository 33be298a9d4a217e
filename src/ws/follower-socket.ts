/**
 * The WebSocket of a follower.
 *
 * `ws` does the handshake, reads, and answers pings. Messages to the follower are written straight to the connection,
 * as whole frames that all followers share. Without compression `ws` also writes whole frames at once, so the two never
 * mix.
 */
import type { Duplex } from 'node:stream';
import { WebSocket } from 'ws';
import type { Framing } from '../node/feed/messages/message.ts';
import type { FollowerEvents, FollowerSocket } from '../node/ports/follower-socket.ts';
import { CloseCode } from '../replication/close-code.ts';
import { closePatienceMs } from '../web/close-patience.ts';
import { cut } from './socket.ts';
import { textFrame } from './text-frame.ts';

export class WebSocketFollower implements FollowerSocket {
  readonly peer: string;
  /** Empty until the server knows the client. */
  client = '';
  readonly framing: Framing = textFrame;
  readonly transport = 'websocket';
  readonly answersPings = true;
  readonly #ws: WebSocket;
  readonly #connection: Duplex;
  /** Whether the end is sent: what the follower says behind it means nothing, and it may say much. */
  #isEnding = false;
  /** Takes what the follower says; null: it may say nothing. */
  #takes: ((text: Buffer) => void) | null = null;

  constructor(ws: WebSocket, connection: Duplex, peer: string) {
    this.#ws = ws;
    this.#connection = connection;
    this.peer = peer;
    ws.on('message', (data, isBinary) => {
      if (this.#isEnding) return;
      if (this.#takes !== null && !isBinary && Buffer.isBuffer(data)) this.#takes(data);
      else this.close(CloseCode.protocolError, 'a follower has nothing to say here');
    });
    // A `close` event follows.
    ws.on('error', () => undefined);
  }

  /** From now on the follower may say something. @param takes gets each text message, of a limited size */
  hear(takes: (text: Buffer) => void): void {
    this.#takes = takes;
  }

  /** Reports to `events` from now on. */
  listen(events: FollowerEvents): void {
    this.#connection.on('drain', () => events.drained());
    this.#ws.on('pong', () => events.alive());
    this.#ws.on('close', () => events.closed());
    // The socket may have closed before this call.
    if (this.#ws.readyState === WebSocket.CLOSED) events.closed();
  }

  get bufferedBytes(): number {
    return this.#connection.writableLength;
  }

  send(frames: Buffer): void {
    if (this.#ws.readyState === WebSocket.OPEN) this.#connection.write(frames);
  }

  ping(): void {
    if (this.#ws.readyState === WebSocket.OPEN) this.#ws.ping();
  }

  close(code: CloseCode, reason: string): void {
    if (this.#isEnding) return;
    this.#isEnding = true;
    this.#ws.close(code, cut(reason));
    const timer = setTimeout(() => this.#ws.terminate(), closePatienceMs(code));
    this.#ws.once('close', () => clearTimeout(timer));
  }

  terminate(): void {
    this.#ws.terminate();
  }
}
