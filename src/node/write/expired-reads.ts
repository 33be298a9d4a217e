/** Deletes expired entries that somebody has read. The reader does not wait, and nothing waits that a reader could make grow. */
import type { WriteTurn } from './write-turn.ts';

/**
 * The largest number of such deletions that wait for their turn; the expiry cycle finds the other entries. They wait only while the
 * overlay is full.
 */
const MAX_WAITING = 1_000;

export class ExpiredReads {
  readonly #writes: Pick<WriteTurn, 'submit'>;
  /** Keys whose deletion waits. */
  readonly #waiting = new Set<string>();

  constructor(writes: Pick<WriteTurn, 'submit'>) {
    this.#writes = writes;
  }

  /** Notes that the entry of the key was read after its expiry. */
  found(key: string): void {
    if (this.#waiting.size >= MAX_WAITING || this.#waiting.has(key)) return;
    this.#waiting.add(key);
    const over = (): void => {
      this.#waiting.delete(key);
    };
    // If it fails, the expiry cycle deletes the entry later.
    this.#writes.submit({ kind: 'expire-due', keys: [key] }).then(over, over);
  }
}
