/**
 * Bodies of which nothing arrives any more: somebody has to let go, and it is not the client.
 *
 * They are looked at from time to time, all together: setting a timer on the socket of every request costs as much as
 * routing it does, and nearly every body is there at once.
 */
import type { IncomingMessage } from 'node:http';
import { Problem } from '../node/problem.ts';

/** How often within the time-out they are looked at. */
const LOOKS = 4;

interface Body {
  /** What its connection had brought when it was last seen to grow; null: it was not looked at yet. */
  bytes: number | null;
  /** When that was. */
  at: number;
  readonly stalled: (problem: Problem) => void;
}

export class BodyStalls {
  readonly #timeoutMs: () => number;
  readonly #bodies = new Map<IncomingMessage, Body>();
  #looking = false;

  /** @param timeoutMs how long nothing of a body may arrive */
  constructor(timeoutMs: () => number) {
    this.#timeoutMs = timeoutMs;
  }

  /** Calls `stalled` once nothing of the body has arrived for so long, unless `forget` comes first. */
  watch(request: IncomingMessage, stalled: (problem: Problem) => void): void {
    this.#bodies.set(request, { bytes: null, at: 0, stalled });
    if (this.#looking) return;
    this.#looking = true;
    this.#lookLater();
  }

  /** The body is complete, or nobody wants it any more. */
  forget(request: IncomingMessage): void {
    this.#bodies.delete(request);
  }

  #lookLater(): void {
    setTimeout(() => this.#look(), this.#timeoutMs() / LOOKS).unref();
  }

  #look(): void {
    const now = performance.now();
    for (const [request, body] of this.#bodies) {
      const { bytesRead } = request.socket;
      // If something lies there, it is this node that does not read on: it waits for the disk.
      if (body.bytes !== bytesRead || request.readableLength > 0) {
        body.bytes = bytesRead;
        body.at = now;
      } else if (now - body.at >= this.#timeoutMs()) {
        this.#bodies.delete(request);
        const problem = `nothing of the body arrived for ${this.#timeoutMs()} ms`;
        body.stalled(new Problem('REQUEST_TIMEOUT', problem));
      }
    }
    this.#looking = this.#bodies.size > 0;
    if (this.#looking) this.#lookLater();
  }
}
