/** One end of a connection: what `ws/socket.ts` promises, over a pipe in each direction. */
import type { SocketEvents, StreamSocket } from '../../src/node/ports/stream-socket.ts';
import type { Frame, Pipe } from './pipe.ts';
import type { Process } from './process.ts';

/** After a close frame the peer has so long to answer. */
const CLOSE_TIMEOUT_MS = 1_000;
const ABNORMAL = 1006;
/** So many pings may be unanswered; then no more are sent without text. */
const MAX_UNANSWERED_PINGS = 30;

export class FakeSocket implements StreamSocket {
  readonly peer: string;
  readonly process: Process;
  /** Sees what is sent before it goes. */
  readonly #sending: (bytes: Buffer) => void;
  /** One byte in the outbox is told as so many: the node's own limit is a megabyte. */
  readonly #scale: number;
  #out: Pipe | null = null;
  #in: Pipe | null = null;
  #events: SocketEvents | null = null;
  #state: 'connecting' | 'open' | 'closing' | 'closed' = 'connecting';
  #unanswered = 0;

  constructor(peer: string, process: Process, scale: number, sending: (bytes: Buffer) => void) {
    this.peer = peer;
    this.process = process;
    this.#scale = scale;
    this.#sending = sending;
  }

  /** @param into where it sends, @param from where it reads */
  connect(into: Pipe, from: Pipe): void {
    this.#out = into;
    this.#in = from;
  }

  /** From now on it can be used. */
  open(): void {
    if (this.#state === 'connecting') this.#state = 'open';
  }

  listen(events: SocketEvents): void {
    this.#events = events;
  }

  get isClosed(): boolean {
    return this.#state === 'closed';
  }

  get bufferedBytes(): number {
    return (this.#out?.outboxBytes ?? 0) * this.#scale;
  }

  send(bytes: Buffer, sent: () => void = () => undefined): void {
    if (!this.process.alive) return;
    if (this.#state === 'connecting') throw new Error('the WebSocket is not open');
    const taken = (): void => {
      if (this.process.alive) sent();
    };
    if (this.#state !== 'open' || this.#out === null) {
      this.process.soon(taken);
      return;
    }
    this.#sending(bytes);
    // The sender may use the buffer anew as soon as the operating system has taken it.
    this.#out.push({ kind: 'data', bytes: Buffer.from(bytes) }, taken);
  }

  ping(text = ''): void {
    if (this.#state !== 'open' || (text === '' && this.#unanswered >= MAX_UNANSWERED_PINGS)) return;
    this.#unanswered += 1;
    this.#push({ kind: 'ping', text });
  }

  pause(): void {
    if (this.#in !== null && this.process.alive) this.#in.paused = true;
  }

  resume(): void {
    if (this.#in !== null && this.process.alive) this.#in.paused = false;
  }

  close(code: number, reason: string): void {
    if (this.#state === 'connecting') this.terminate();
    if (this.#state !== 'open') return;
    // A paused socket would never see the peer's answer.
    this.resume();
    this.#push({ kind: 'close', code, reason });
    this.#state = 'closing';
    this.process.at(CLOSE_TIMEOUT_MS, () => this.terminate());
  }

  terminate(): void {
    if (this.#state === 'closed' || !this.process.alive) return;
    this.#in?.drop();
    this.#out?.endAfterFlight();
    this.process.soon(() => this.closed(ABNORMAL, ''));
  }

  /** What the pipe brings. */
  arrived(frame: Frame): void {
    if (this.#state === 'closed' || !this.process.alive) return;
    switch (frame.kind) {
      case 'data':
        this.#events?.message(frame.bytes);
        return;
      case 'ping':
        this.#events?.pinged(frame.text);
        if (this.#state === 'open') this.#push({ kind: 'pong' });
        return;
      case 'pong':
        this.#unanswered = Math.max(0, this.#unanswered - 1);
        this.#events?.alive();
        return;
      case 'close':
        if (this.#state === 'open') this.#push({ kind: 'close', code: frame.code, reason: frame.reason });
        this.closed(frame.code, frame.reason);
        return;
      case 'end':
        this.#out?.drop();
        this.closed(ABNORMAL, '');
        return;
    }
  }

  /** The connection is gone, as this side sees it. */
  closed(code: number, reason: string): void {
    if (this.#state === 'closed' || !this.process.alive) return;
    this.#state = 'closed';
    this.#events?.closed(code, reason);
  }

  #push(frame: Frame): void {
    if (this.process.alive) this.#out?.push(frame, () => undefined);
  }
}
