/**
 * Digests of the whole keyspace, for people and nodes that compare two nodes.
 *
 * Owns: that one digest is computed at a time. Requests that arrive meanwhile share the next one.
 */
import type { StreamHead } from '../head/stream-head.ts';
import type { Digest } from '../ports/keyspace.ts';

export class Digests {
  readonly #head: Pick<StreamHead, 'digest'>;
  #current: Promise<unknown> = Promise.resolve();
  #next: Promise<Digest> | null = null;

  constructor(head: Pick<StreamHead, 'digest'>) {
    this.#head = head;
  }

  /** @returns the digest of the state at a position that the node reaches after this call */
  digest(): Promise<Digest> {
    this.#next ??= this.#current
      .catch(() => undefined)
      .then(() => {
        this.#next = null;
        const digest = this.#head.digest();
        this.#current = digest;
        return digest;
      });
    return this.#next;
  }
}
