/** A client that writes numbers, and remembers which were answered. */
import { setTimeout as wait } from 'node:timers/promises';

const POLL_MS = 5;

/** A write that was answered. */
export interface Answered {
  readonly value: number;
  readonly position: string;
}

/** Writes 1, 2, 3, … under one key, wherever the master is. */
export class Writer {
  readonly key: string;
  readonly answered: Answered[] = [];
  attempted = 0;
  #stopped = false;
  #isPaused = false;
  #isWriting = false;
  readonly #done: Promise<void>;

  constructor(key: string, nodeUrl: () => string) {
    this.key = key;
    this.#done = this.#run(nodeUrl);
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    await this.#done;
  }

  /** Resolves when its last request has been answered; it asks for nothing more until `resume`. */
  async pause(): Promise<void> {
    this.#isPaused = true;
    while (this.#isWriting) await wait(POLL_MS);
  }

  resume(): void {
    this.#isPaused = false;
  }

  async #run(nodeUrl: () => string): Promise<void> {
    while (!this.#stopped) {
      if (this.#isPaused) {
        await wait(POLL_MS);
        continue;
      }
      this.attempted += 1;
      this.#isWriting = true;
      const value = this.attempted;
      try {
        const answer = await fetch(`${nodeUrl()}/v1/keys/${this.key}`, {
          method: 'PUT',
          body: String(value),
          signal: AbortSignal.timeout(3_000),
        });
        const body = (await answer.json()) as { position?: string };
        if (answer.ok) this.answered.push({ value, position: body.position ?? '' });
        else await wait(20);
      } catch {
        // The node was killed, or is silent: whether this number was written is not known.
        await wait(20);
      }
      this.#isWriting = false;
    }
  }
}
