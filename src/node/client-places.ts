/**
 * Limits what each client has of something that all of them share, so that one client cannot take all of it.
 *
 * `ClientPlaces` counts places for work of which the node does only so much at a time. One client may have a part of them, however many
 * there are left.
 *
 * `Shares` measures amounts. A client may have a share of what the others leave: alone most of it, and the more the others have, the
 * less. So there is always something left for the next one. So a client that tries how much it gets learns something about what the
 * others have. Where that is secret, others see it coarsely: what a client has counts for them rounded up, to steps of a 4,096th of the limit,
 * and beyond four steps by a quarter at most. Each client counts by itself, so nobody can move another one's amount to where the next step
 * begins. With larger steps a few clients would leave nothing.
 */

/** What one client may have: of the places, where their number is a setting, or of what all others leave. */
export const CLIENT_SHARE = 0.75;
/** Part of the limit that is the smallest step in which others see what a client has, if they see it coarsely. */
const COARSE_PARTS = 4_096;

/** @returns how many of so many places one client may have: at least one, if there are any */
export function clientShare(places: number): number {
  return Math.ceil(places * CLIENT_SHARE);
}

/** Why there is no place: all are taken, or the client has its share. */
export type NoPlace = 'all' | 'client';

export class ClientPlaces {
  readonly #most: () => number;
  readonly #mostOfClient: () => number;
  readonly #taken = new Map<string, number>();
  #total = 0;

  /** The numbers may change while places are taken. @param mostOfClient returns how many places one client may have */
  constructor(most: () => number, mostOfClient: () => number) {
    this.#most = most;
    this.#mostOfClient = mostOfClient;
  }

  /** Number of places that all clients have. */
  get total(): number {
    return this.#total;
  }

  /** @returns number of places that the client has */
  of(client: string): number {
    return this.#taken.get(client) ?? 0;
  }

  /** @returns why the client gets no place now; null: it may take one */
  refusal(client: string): NoPlace | null {
    if (this.#total >= this.#most()) return 'all';
    return this.of(client) >= this.#mostOfClient() ? 'client' : null;
  }

  /**
   * Takes a place, also beyond the limits: the caller asks `refusal` before.
   * @returns a function that gives the place back; further calls change nothing
   */
  take(client: string): () => void {
    this.#taken.set(client, this.of(client) + 1);
    this.#total += 1;
    let isTaken = true;
    return () => {
      if (!isTaken) return;
      isTaken = false;
      this.#total -= 1;
      const left = this.of(client) - 1;
      if (left === 0) this.#taken.delete(client);
      else this.#taken.set(client, left);
    };
  }
}

export class Shares {
  readonly #limit: () => number;
  readonly #isCoarse: boolean;
  readonly #held = new Map<string, number>();
  #total = 0;
  /** What all clients have, as others see it. */
  #counted = 0;
  /** The limit for which that was counted. */
  #counting: number;

  /**
   * @param limit returns what all clients together may have
   * @param seen how exactly clients may learn what others have
   */
  constructor(limit: () => number, seen: 'exactly' | 'coarsely' = 'exactly') {
    this.#limit = limit;
    this.#isCoarse = seen === 'coarsely';
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

  /**
   * What others see of what a client has. It is no more than the share of a client that is alone: what it has beyond that takes nothing
   * from others.
   */
  #shareOf(held: number): number {
    const seen = this.#isCoarse ? coarse(held, this.#counting / COARSE_PARTS) : held;
    return Math.min(seen, CLIENT_SHARE * this.#counting);
  }
}

/** @returns so much, rounded up: to the step, or beyond four steps to a quarter of the power of two, times the step, below it */
function coarse(held: number, step: number): number {
  if (held <= 0 || !Number.isFinite(step)) return held;
  const unit = (step * 2 ** Math.max(2, Math.floor(Math.log2(held / step)))) / 4;
  return unit * Math.ceil(held / unit);
}
