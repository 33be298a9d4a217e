/**
 * Bounds the memory for answers to pipelined requests (requests that a client sends without waiting for the earlier
 * answers). Node keeps each answer in memory until the earlier ones are sent. So each connection gets only a few small
 * answers ahead of time; before a large answer, or when enough are ready, the next request waits until the earlier
 * answers are sent.
 */
import type { ServerResponse } from 'node:http';
import type { Socket } from 'node:net';

/** Bytes of answers that may be ready ahead of time on one connection. */
const AHEAD_BYTES = 64 * 1024;
/** Approximate size of the head of an answer, in bytes. */
const HEAD_BYTES = 256;

interface Waiting {
  readonly response: ServerResponse;
  readonly go: () => void;
}

/** Tracks the answers of one connection that are not sent yet. */
export class Pipeline {
  /** Bytes made ahead of time since a request last had to wait. */
  #bytes = 0;
  #waiting: Waiting[] = [];
  /**
   * Whether a large answer came since requests last went on. If so, the next one may be large too and is made alone.
   */
  #hasLarge = false;

  /** Whether an answer that is behind others must wait. */
  get isHeld(): boolean {
    return this.#waiting.length > 0 || this.#bytes > AHEAD_BYTES;
  }

  /** Records an answer of so many bytes that is ready behind others. */
  madeAhead(bytes: number): void {
    this.#bytes += bytes + HEAD_BYTES;
  }

  /** Records that the next answer is large. */
  large(): void {
    this.#hasLarge = true;
  }

  /** Calls `go` when the answers before this one are sent. */
  wait(response: ServerResponse, go: () => void): void {
    this.#waiting.push({ response, go });
    if (this.#waiting.length === 1) this.#wakeLater(response);
  }

  #wakeLater(response: ServerResponse): void {
    // Node assigns the connection to an answer once the previous one is sent.
    response.once('socket', () => {
      const waiting = this.#waiting;
      const now = this.#hasLarge ? waiting.slice(0, 1) : waiting;
      this.#waiting = this.#hasLarge ? waiting.slice(1) : [];
      this.#bytes = 0;
      this.#hasLarge = false;
      const next = this.#waiting[0];
      if (next !== undefined) this.#wakeLater(next.response);
      for (const { go } of now) go();
    });
  }
}

/** Holds the pipelines of all connections that have had one. */
export class Pipelines {
  readonly #pipelines = new WeakMap<Socket, Pipeline>();

  /** Whether unsent answers precede this one on its connection. */
  isBehind(response: ServerResponse): boolean {
    return response.socket === null;
  }

  of(socket: Socket): Pipeline {
    let pipeline = this.#pipelines.get(socket);
    if (pipeline === undefined) {
      pipeline = new Pipeline();
      this.#pipelines.set(socket, pipeline);
    }
    return pipeline;
  }
}
