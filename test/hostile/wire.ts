/** One raw connection to a node: bytes go out in pieces, at a pace, and what comes back is kept. */
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { setImmediate as nextTurn, setTimeout as pause } from 'node:timers/promises';
import { type RawAnswer, readAnswers } from './answers.ts';

/** Of what comes back no more is kept: an answer of this length is a fault of the generator. */
const MAX_KEPT_BYTES = 256 * 1024 ** 2;

export class Wire {
  readonly #socket: Socket;
  readonly #received: Buffer[] = [];
  #receivedBytes = 0;
  #changed: () => void = () => undefined;
  /** The node has closed its half, or the whole connection. */
  hasEnded = false;

  private constructor(socket: Socket) {
    this.#socket = socket;
    socket.on('data', (chunk: Buffer) => {
      this.#receivedBytes += chunk.length;
      if (this.#receivedBytes <= MAX_KEPT_BYTES) this.#received.push(chunk);
      this.#changed();
    });
    const end = (): void => {
      this.hasEnded = true;
      this.#changed();
    };
    socket.on('end', end);
    socket.on('close', end);
    socket.on('error', end);
  }

  static async to(port: number): Promise<Wire> {
    const socket = connect({ port, host: '127.0.0.1', noDelay: true, allowHalfOpen: true });
    const wire = new Wire(socket);
    await once(socket, 'connect');
    return wire;
  }

  get receivedBytes(): number {
    return this.#receivedBytes;
  }

  /** Sends the pieces, each in a packet of its own where the system agrees. @param pauseMs between two of them */
  async send(pieces: Iterable<Buffer>, pauseMs = 0): Promise<void> {
    for (const piece of pieces) {
      if (this.hasEnded || !this.#socket.writable) return;
      this.#socket.write(piece);
      if (this.#socket.writableNeedDrain) await Promise.race([once(this.#socket, 'drain'), this.#ending()]);
      if (pauseMs > 0) await pause(pauseMs);
      else await nextTurn();
    }
  }

  /** Closes this half: the node may still answer. */
  endSending(): void {
    this.#socket.end();
  }

  /** Takes nothing more from the connection. */
  stopReading(): void {
    this.#socket.pause();
  }

  destroy(): void {
    // libuv cannot reset a connection whose end is on its way, and then never closes it.
    if (this.#socket.writableEnded) this.#socket.destroy();
    else this.#socket.resetAndDestroy();
  }

  /**
   * Waits for answers.
   * @param methods of the requests that were sent
   * @returns one answer for each of them, or fewer if the node closed the connection
   * @throws Error when they do not come within `timeoutMs`
   */
  async answers(methods: readonly string[], timeoutMs: number): Promise<RawAnswer[]> {
    const deadline = performance.now() + timeoutMs;
    for (;;) {
      const answers = readAnswers(Buffer.concat(this.#received), methods, this.hasEnded);
      if (answers.length >= methods.length || this.hasEnded) return answers;
      const leftMs = deadline - performance.now();
      if (leftMs <= 0) {
        throw new Error(`${answers.length} of ${methods.length} answers came within ${timeoutMs} ms`);
      }
      await this.#change(leftMs);
    }
  }

  async #change(timeoutMs: number): Promise<void> {
    const changed = Promise.withResolvers<void>();
    this.#changed = changed.resolve;
    const timer = setTimeout(changed.resolve, timeoutMs);
    await changed.promise;
    clearTimeout(timer);
  }

  async #ending(): Promise<void> {
    while (!this.hasEnded) await this.#change(1_000);
  }
}
