/**
 * When this node last had everything that its master had, over all connections of a link.
 *
 * The bytes that have come, and the number of bytes that the master says it has more, are goals: an offset, and the moment at which the
 * master's stream ended there. A node that has committed up to a goal had everything at that moment.
 */
import { msSince } from '../elapsed.ts';
import type { ToldLag } from '../link-times.ts';
import type { World } from '../ports/world.ts';

interface Goal {
  readonly offset: number;
  /** Moment of the monotonic clock. */
  readonly at: number;
}

export class LagClock {
  readonly #clock: Pick<World, 'monotonic'>;
  /** The moment of the last goal that this node has reached; null: it has reached none. */
  #currentAt: number | null = null;
  /** The goal that this node is on its way to; null: it has reached all. */
  #next: Goal | null = null;
  /** The last goal after `#next`: one is enough, because a lag is told by the oldest goal that is not reached. */
  #last: Goal | null = null;
  /** By how many milliseconds the master itself was behind at that moment; null: it does not know. */
  #above: { readonly ms: number | null; readonly at: number } = { ms: 0, at: 0 };

  constructor(clock: Pick<World, 'monotonic'>) {
    this.#clock = clock;
  }

  /** Moment of the monotonic clock at which this node last had everything, as far as it has been noted; null: it never had. */
  get currentAt(): number | null {
    return this.#currentAt;
  }

  /** Milliseconds by which the master may be behind the master above it; null: it does not know. */
  get aboveMs(): number | null {
    const { ms, at } = this.#above;
    return ms === null || ms === 0 ? ms : ms + msSince(this.#clock, at);
  }

  /** Whether this node lacks bytes that have come, or that its master has said it has. */
  get isBehind(): boolean {
    return this.#next !== null;
  }

  /** @param offset offset of this node @returns bytes that it lacks, as far as it knows */
  lacking(offset: number): number {
    const goal = this.#last ?? this.#next;
    return goal === null ? 0 : Math.max(0, goal.offset - offset);
  }

  /**
   * A connection begins to bring the stream.
   * @param offset offset of this node
   * @param lacking bytes that the master says it has after that
   */
  connected(offset: number, lacking: number): void {
    this.#begin();
    if (lacking === 0) this.#currentAt = this.#clock.monotonic();
    else this.#next = { offset: offset + lacking, at: this.#clock.monotonic() };
  }

  /** The node has taken a snapshot over. @param at moment at which the master had no more than that; null: unknown */
  adopted(at: number | null): void {
    this.#begin();
    if (at !== null && at > (this.#currentAt ?? Number.NEGATIVE_INFINITY)) this.#currentAt = at;
  }

  /** The master tells how far this node is behind. @param offset the offset up to which the master's stream has come */
  told(offset: number, { bytes, ms }: ToldLag): void {
    const at = this.#clock.monotonic();
    this.#above = { ms, at };
    if (bytes === 0) return;
    const goal = { offset: offset + bytes, at };
    if (this.#next === null) this.#next = goal;
    else this.#last = goal;
  }

  /** The master's stream goes up to this offset at least. */
  goes(offset: number): void {
    const goal = { offset, at: this.#clock.monotonic() };
    if (this.#next === null) {
      // Until now this node had everything.
      this.#currentAt = goal.at;
      this.#next = goal;
    } else if (offset > (this.#last ?? this.#next).offset) {
      this.#last = goal;
    }
  }

  /** This node has committed everything up to this offset. */
  reached(offset: number): void {
    if (this.#next === null || offset < this.#next.offset) return;
    this.#currentAt = this.#next.at;
    this.#next = this.#last;
    this.#last = null;
    if (this.#next === null) this.#currentAt = this.#clock.monotonic();
    else this.reached(offset);
  }

  /** The connection is over. @param heardAt moment at which this node last heard of the master */
  over(heardAt: number): void {
    const { aboveMs } = this;
    const at = this.isBehind ? this.#currentAt : heardAt;
    this.#currentAt = at === null || aboveMs === null ? null : at - aboveMs;
    this.#begin();
  }

  #begin(): void {
    this.#next = null;
    this.#last = null;
    this.#above = { ms: 0, at: 0 };
  }
}
