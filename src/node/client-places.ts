/**
 * Places for work of which the node does only so much at a time. One client may have a share of them, however many there are left, so
 * that it cannot take the places of all others.
 */

/** Share of the places that one client may have, where the number of places is a setting. */
const CLIENT_SHARE = 0.75;

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
