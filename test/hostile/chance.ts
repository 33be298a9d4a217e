/** What the generators draw with: all of it follows from one seed. */
import { seeded } from '../support/random.ts';

export class Chance {
  readonly #random: () => number;

  constructor(seed: number) {
    this.#random = seeded(seed).random;
  }

  /** A whole number from 0 to `limit` - 1. */
  below(limit: number): number {
    return Math.floor(this.#random() * limit);
  }

  /** True so often: 0 never, 1 always. */
  is(probability: number): boolean {
    return this.#random() < probability;
  }

  /** One of them. */
  of<T>(choices: readonly T[]): T {
    return choices[this.below(choices.length)] as T;
  }

  /** Some of them, in their order, `limit` at most. */
  some<T>(choices: readonly T[], limit: number): T[] {
    const count = this.below(limit + 1);
    return Array.from({ length: count }, () => this.of(choices));
  }

  /** Bytes of any kind. */
  bytes(length: number): Buffer {
    return Buffer.from(Array.from({ length }, () => this.below(256)));
  }

  /** The bytes in pieces, none of them empty: whole, halved, in a few, or one by one. */
  pieces(bytes: Buffer): Buffer[] {
    const count = this.of([1, 1, 1, 2, 5, bytes.length > 400 ? 20 : bytes.length]);
    const cuts = Array.from({ length: Math.max(0, count - 1) }, (_, index) =>
      count === bytes.length ? index + 1 : this.below(bytes.length + 1),
    );
    const places = [0, ...new Set(cuts.sort((a, b) => a - b)), bytes.length];
    return places
      .slice(0, -1)
      .map((from, index) => bytes.subarray(from, places[index + 1]))
      .filter((piece) => piece.length > 0);
  }
}
