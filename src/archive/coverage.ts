/**
 * Which objects of an archive belong to one history, and how far they reach. Pure: it decides by the names, and by when
 * the target got the objects.
 *
 * A history has the bytes of its own run ID, and those of each ancestor up to the offset up to which both share them.
 */
import type { Ancestor, History } from '../replication/history.ts';
import type { RunId } from '../replication/position.ts';
import { Heap } from './heap.ts';
import type { BaseName, SegmentName } from './names.ts';

const NONE: ReadonlySet<string> = new Set();

/** A run ID, and the offset up to which its bytes are also those of the history. */
export type Share = Pick<Ancestor, 'runId' | 'validTo'>;

/** The run ID of a history, and all run IDs that share bytes with it. */
export interface Shares {
  readonly runId: RunId;
  readonly lineage: readonly Share[];
}

/** @returns the run ID of a history, of which all bytes are its own, and its ancestors with the offsets up to which both share them */
export function sharesOf({
  runId,
  lineage,
}: Shares): readonly { readonly runId: RunId; readonly validTo: number }[] {
  return [{ runId, validTo: Number.POSITIVE_INFINITY }, ...lineage];
}

/** Whether the ancestor may have gone on beside the one that has grown out of it. */
export function isOfCopy({ reason }: Ancestor): boolean {
  return reason === 'restored' || reason === 'copied';
}

/**
 * Adds what descendants share with a history: their bytes are its own up to the offset up to which they know it, and so are those
 * of their other ancestors, as far as these are the descendant's.
 * @param histories any; those that have not grown out of this one add nothing
 */
export function sharedBy(history: History, histories: readonly History[]): Shares {
  const lineage: Share[] = [...history.lineage];
  for (const descendant of histories) {
    const limit = descendant.lineage.find(({ runId }) => runId === history.runId)?.validTo;
    if (limit === undefined) continue;
    lineage.push({ runId: descendant.runId, validTo: limit });
    for (const { runId, validTo } of descendant.lineage)
      lineage.push({ runId, validTo: validTo < limit ? validTo : limit });
  }
  return { runId: history.runId, lineage };
}

/** What the list of a target says of an object: its length in bytes, and when the target got it, in milliseconds since 1970. */
export interface Listed {
  readonly size?: number;
  readonly modified?: number;
}
export type ListedSegment = SegmentName & Listed;
export type ListedBase = BaseName & Listed;

/** A segment of a history, of which the bytes up to `usableTo` are the history's. */
export interface UsableSegment {
  readonly segment: ListedSegment;
  readonly usableTo: number;
}

export class Coverage {
  /** Bases of the history, the newest first. */
  readonly bases: readonly ListedBase[];
  /** Sorted by their first byte. */
  readonly #segments: readonly UsableSegment[];
  /** An offset that the history had come to for sure, as bases, segments and lineages say. */
  readonly #known: number;

  /** @param passedOver names of bases from which nobody can begin; that the history had come to them counts */
  constructor(
    history: Shares,
    segments: Iterable<ListedSegment>,
    bases: Iterable<ListedBase>,
    passedOver: ReadonlySet<string> = NONE,
  ) {
    const limits = new Map<string, number>([[history.runId, Number.POSITIVE_INFINITY]]);
    const limitOf = (runId: string): number => limits.get(runId) ?? Number.NEGATIVE_INFINITY;
    for (const { runId, validTo } of history.lineage) limits.set(runId, Math.max(limitOf(runId), validTo));
    this.#segments = [...segments]
      .map((segment) => ({ segment, usableTo: Math.min(segment.end, limitOf(segment.runId)) }))
      .filter(({ segment, usableTo }) => usableTo > segment.after)
      .sort((a, b) => a.segment.after - b.segment.after);
    const shared = [...bases]
      .filter(({ runId, offset }) => offset <= limitOf(runId))
      .sort((a, b) => b.offset - a.offset || b.at - a.at);
    this.bases = shared.filter(({ name }) => !passedOver.has(name));
    this.#known = this.#segments.reduce(
      (known, { usableTo }) => Math.max(known, usableTo),
      Math.max(0, shared[0]?.offset ?? 0, ...history.lineage.map(({ validTo }) => validTo)),
    );
  }

  /**
   * The segments that follow each other from an offset on: of several that have the next byte, the one that was archived first, and
   * of those the one that reaches farthest. The last one has no successor.
   * @param without names of segments that do not count
   */
  *chain(from: number, without: ReadonlySet<string> = NONE): Generator<UsableSegment> {
    let at = from;
    for (const each of this.#pieces(from, without)) {
      if (each.segment.after > at) return;
      yield each;
      at = each.usableTo;
    }
  }

  /** The segments that have the bytes up to an offset, chosen as for `chain`, the last one first. Bytes may be missing between them. */
  before(offset: number, without: ReadonlySet<string> = NONE): readonly UsableSegment[] {
    const pieces: UsableSegment[] = [];
    let at = 0;
    for (const each of this.#pieces(0, without)) {
      if (Math.max(at, each.segment.after) >= offset) break;
      pieces.push(each);
      at = each.usableTo;
    }
    return pieces.reverse();
  }

  /** The segments from an offset on, each with bytes that the ones before it do not have. */
  *#pieces(from: number, without: ReadonlySet<string>): Generator<UsableSegment> {
    const open = new Heap<UsableSegment>(isPreferred);
    let [at, index] = [from, 0];
    for (;;) {
      for (; index < this.#segments.length; index += 1) {
        const each = this.#segments[index] as UsableSegment;
        if (each.segment.after > at) break;
        if (without.size === 0 || !without.has(each.segment.name)) open.push(each);
      }
      while (open.first !== undefined && open.first.usableTo <= at) open.drop();
      const { first } = open;
      const next = this.#segments[index];
      if (first !== undefined) {
        yield first;
        at = first.usableTo;
      } else if (next !== undefined) at = next.segment.after;
      else return;
    }
  }

  /** Whether the history has bytes after this offset: a segment or a base has them, or a history shares them. */
  hasAfter(at: number): boolean {
    return this.#known > at;
  }

  /** @returns the offset up to which segments follow each other from this one */
  reach(from: number, without: ReadonlySet<string> = NONE): number {
    let at = from;
    for (const { usableTo } of this.chain(from, without)) at = usableTo;
    return at;
  }
}

function isPreferred(one: UsableSegment, other: UsableSegment): boolean {
  const [first, second] = [one.segment.modified ?? 0, other.segment.modified ?? 0];
  return first === second ? one.usableTo > other.usableTo : first < second;
}
