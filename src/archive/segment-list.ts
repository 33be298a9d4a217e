/**
 * The segments of one run ID, as a target lists them: in columns of numbers, because there may be millions. An object for one of them exists
 * only while somebody holds it, and its name is put together when it is asked for.
 */
import type { Offset, RunId } from '../replication/position.ts';
import type { ListedSegment } from './coverage.ts';
import { type SegmentName, segmentName } from './names.ts';

/** Number of segments for which there is room at first. */
const FIRST_ROOM = 64;
/** The numbers of one segment, by their column. */
const [AFTER, END, MODIFIED, SIZE, WIDTH] = [0, 1, 2, 3, 4];

export class SegmentList implements Iterable<ListedSegment> {
  readonly runId: RunId;
  readonly cluster: string | null;
  #numbers = new Float64Array(FIRST_ROOM * WIDTH);
  #length = 0;
  /** The places of the segments, in the order of the stream; null: they are not sorted. */
  #order: Uint32Array | null = null;

  /** @param cluster the name in front of the run ID; null: the names have none */
  constructor(runId: RunId, cluster: string | null) {
    this.runId = runId;
    this.cluster = cluster;
  }

  get length(): number {
    return this.#length;
  }

  /** @param modified when the target got it, in milliseconds since 1970 @param size in bytes */
  add({ after, end }: Pick<SegmentName, 'after' | 'end'>, modified: number, size: number): void {
    const at = this.#length * WIDTH;
    if (at === this.#numbers.length) {
      const numbers = new Float64Array(2 * at);
      numbers.set(this.#numbers);
      this.#numbers = numbers;
    }
    this.#numbers.set([after, end, modified, size], at);
    this.#length += 1;
    this.#order = null;
  }

  /** @param index in the order of the stream: by the first byte, then by the last one */
  at(index: number): ListedSegment {
    return this.#segmentAt(this.#sorted()[index] as number);
  }

  /** @returns some of them, as `slice` of an array does */
  slice(from: number, to?: number): ListedSegment[] {
    return Array.from(this.#sorted().subarray(from, to), (place) => this.#segmentAt(place));
  }

  /** All of them in the order of the stream. */
  *[Symbol.iterator](): Generator<ListedSegment> {
    for (const place of this.#sorted()) yield this.#segmentAt(place);
  }

  #segmentAt(place: number): ListedSegment {
    return new SegmentInList(this, this.#numbers, place * WIDTH);
  }

  #sorted(): Uint32Array {
    if (this.#order !== null) return this.#order;
    const numbers = this.#numbers;
    const compared = (one: number, other: number, column: number): number =>
      (numbers[one * WIDTH + column] as number) - (numbers[other * WIDTH + column] as number);
    this.#order = Uint32Array.from({ length: this.#length }, (_, place) => place);
    return this.#order.sort((one, other) => compared(one, other, AFTER) || compared(one, other, END));
  }
}

/** One segment of a list. */
class SegmentInList implements ListedSegment {
  readonly #list: SegmentList;
  readonly #numbers: Float64Array;
  readonly #from: number;

  /** @param from where its numbers begin */
  constructor(list: SegmentList, numbers: Float64Array, from: number) {
    this.#list = list;
    this.#numbers = numbers;
    this.#from = from;
  }

  get kind(): 'segment' {
    return 'segment';
  }

  get name(): string {
    return segmentName(this.cluster, this.runId, this.after, this.end);
  }

  get cluster(): string | null {
    return this.#list.cluster;
  }

  get runId(): RunId {
    return this.#list.runId;
  }

  get after(): Offset {
    return this.#number(AFTER) as Offset;
  }

  get end(): Offset {
    return this.#number(END) as Offset;
  }

  get modified(): number {
    return this.#number(MODIFIED);
  }

  get size(): number {
    return this.#number(SIZE);
  }

  #number(column: number): number {
    return this.#numbers[this.#from + column] as number;
  }
}
