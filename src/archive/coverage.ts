/**
 * Which objects of an archive belong to one history, and how far they reach. Pure: it decides by the names.
 *
 * A history has the bytes of its own run ID, and those of each ancestor up to the offset up to which both share them.
 */
import type { Ancestor, History } from '../replication/history.ts';
import type { RunId } from '../replication/position.ts';
import type { BaseName, SegmentName } from './names.ts';

/** A run ID, and the offset up to which its bytes are also those of the history. */
export type Share = Pick<Ancestor, 'runId' | 'validTo'>;

/** The run ID of a history, and all run IDs that share bytes with it. */
export interface Shares {
  readonly runId: RunId;
  readonly lineage: readonly Share[];
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

/** A segment of a history, of which the bytes up to `usableTo` are the history's. */
export interface UsableSegment {
  readonly segment: SegmentName;
  readonly usableTo: number;
}

export class Coverage {
  /** Bases of the history, the newest first. */
  readonly bases: readonly BaseName[];
  /** Sorted by their first byte. */
  readonly #segments: readonly UsableSegment[];

  constructor(history: Shares, segments: Iterable<SegmentName>, bases: Iterable<BaseName>) {
    const limits = new Map<string, number>([[history.runId, Number.POSITIVE_INFINITY]]);
    const limitOf = (runId: string): number => limits.get(runId) ?? Number.NEGATIVE_INFINITY;
    for (const { runId, validTo } of history.lineage) limits.set(runId, Math.max(limitOf(runId), validTo));
    this.#segments = [...segments]
      .map((segment) => ({ segment, usableTo: Math.min(segment.end, limitOf(segment.runId)) }))
      .filter(({ segment, usableTo }) => usableTo > segment.after)
      .sort((a, b) => a.segment.after - b.segment.after);
    this.bases = [...bases]
      .filter(({ runId, offset }) => offset <= limitOf(runId))
      .sort((a, b) => b.offset - a.offset || b.at - a.at);
  }

  /**
   * The segments that follow each other from an offset on: of several that have the next byte, the one that reaches farthest. The last
   * one has no successor.
   */
  *chain(from: number): Generator<UsableSegment> {
    let [at, best, index] = [from, null as UsableSegment | null, 0];
    for (;;) {
      for (; index < this.#segments.length; index += 1) {
        const each = this.#segments[index] as UsableSegment;
        if (each.segment.after > at) break;
        if (each.usableTo > (best?.usableTo ?? 0)) best = each;
      }
      if (best === null || best.usableTo <= at) return;
      yield best;
      at = best.usableTo;
    }
  }

  /** Whether a segment has bytes after this offset. */
  hasAfter(at: number): boolean {
    return this.#segments.some(({ usableTo }) => usableTo > at);
  }

  /** @returns the offset up to which segments follow each other from this one */
  reach(from: number): number {
    let at = from;
    for (const { usableTo } of this.chain(from)) at = usableTo;
    return at;
  }
}
