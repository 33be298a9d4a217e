/**
 * Requests that a client sends without waiting for the answers before them, as far as their answers take memory. Node keeps
 * each answer until the ones before it are sent: so of a connection only some small answers are made ahead. For a larger one, and
 * when there are enough, the next request waits until the answers before it are sent.
 */
import type { ServerResponse } from 'node:http';
import type { Socket } from 'node:net';

/** What is made ahead for a connection, in bytes, … */
const AHEAD_BYTES = 64 * 1024;
/** … and what the head of an answer counts, about. */
const HEAD_BYTES = 256;

interface Waiting {
  readonly response: ServerResponse;
  readonly go: () => void;
}

/** The answers of one connection that are not sent yet. */
export class Pipeline {
  /** What was made ahead since the last request waited. */
  #bytes = 0;
  #waiting: Waiting[] = [];
  /** One of its answers was large, since requests went on the last time: so the next may be, and is tried alone. */
  #hasLarge = false;

  /** Whether nothing more may be made ahead, for an answer that is behind others. */
  get isHeld(): boolean {
    return this.#waiting.length > 0 || this.#bytes > AHEAD_BYTES;
  }

  /** An answer that is behind others has been made, with so many bytes. */
  madeAhead(bytes: number): void {
    this.#bytes += bytes + HEAD_BYTES;
  }

  /** The next answer is large. */
  large(): void {
    this.#hasLarge = true;
  }

  /** Calls `go` when the answers before this one are sent. */
  wait(response: ServerResponse, go: () => void): void {
    this.#waiting.push({ response, go });
    if (this.#waiting.length === 1) this.#wakeLater(response);
  }

  #wakeLater(response: ServerResponse): void {
    // Node gives the connection to an answer when the one before it has been sent.
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

/** The pipelines of all connections that have had one. */
export class Pipelines {
  readonly #pipelines = new WeakMap<Socket, Pipeline>();

  /** Whether there are answers before this one on its connection that are not sent yet. */
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
