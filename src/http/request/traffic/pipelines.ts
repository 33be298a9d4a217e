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
  readonly go: () => void;
}

/** Tracks the answers of one connection that are not sent yet. */
export class Pipeline {
  /** Bytes made ahead of time since a request last had to wait. */
  #bytes = 0;
  /** Not in the order of the requests: the fast path asks at the end of a tick, other requests ask at once. */
  readonly #waiting = new Set<Waiting>();
  /**
   * Whether a large answer came since requests last went on. If so, the next one may be large too and is made alone.
   */
  #hasLarge = false;

  /** Whether an answer that is behind others must wait. */
  get isHeld(): boolean {
    return this.#waiting.size > 0 || this.#bytes > AHEAD_BYTES;
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
    const waiting = { go };
    this.#waiting.add(waiting);
    // Node assigns the connection to an answer once the previous one is sent. Each waiting answer listens for itself:
    // which of them is the first on the connection is not known here.
    response.once('socket', () => {
      if (this.#waiting.has(waiting)) this.#goOn(waiting);
    });
  }

  /** @param first its answer is the next one on the connection */
  #goOn(first: Waiting): void {
    const now = this.#hasLarge ? [first] : [...this.#waiting];
    this.#bytes = 0;
    this.#hasLarge = false;
    for (const waiting of now) this.#waiting.delete(waiting);
    for (const { go } of now) go();
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
