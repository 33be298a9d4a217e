/**
 * What each client has of something that all of them share, so that one client cannot take all of it. A client may have a share of what the
 * others leave: alone most of it, and the more the others have, the less. So there is always something left for the next one.
 */

/** What one client may have of what all others leave. */
export const CLIENT_SHARE = 0.75;

export class Shares {
  readonly #limit: () => number;
  readonly #held = new Map<string, number>();
  #total = 0;
  /** As the total, but of no client more than the share of one that is alone: what a client has beyond that takes nothing from others. */
  #counted = 0;
  /** The limit for which that was counted. */
  #counting: number;

  /** @param limit returns what all clients together may have */
  constructor(limit: () => number) {
    this.#limit = limit;
    this.#counting = limit();
  }

  /** What all clients have together. */
  get total(): number {
    return this.#total;
  }

  /** Whether the clients have all that there is. */
  get isSpent(): boolean {
    this.#look();
    return this.#counted >= this.#counting;
  }

  /** What this client has. */
  of(client: string): number {
    return this.#held.get(client) ?? 0;
  }

  /** @param change negative: the client has less from now on */
  add(client: string, change: number): void {
    const before = this.of(client);
    const after = before + change;
    this.#total += change;
    this.#counted += this.#shareOf(after) - this.#shareOf(before);
    if (after > 0) this.#held.set(client, after);
    else this.#held.delete(client);
  }

  /** @returns how much this client may have now, with what it has */
  most(client: string): number {
    this.#look();
    const others = this.#counted - this.#shareOf(this.of(client));
    return CLIENT_SHARE * Math.max(0, this.#counting - others);
  }

  /** The limit may change while the node runs. */
  #look(): void {
    const limit = this.#limit();
    if (limit === this.#counting) return;
    this.#counting = limit;
    this.#counted = 0;
    for (const held of this.#held.values()) this.#counted += this.#shareOf(held);
  }

  #shareOf(held: number): number {
    return Math.min(held, CLIENT_SHARE * this.#counting);
  }
}
