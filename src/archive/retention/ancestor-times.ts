/** In which windows the times of a run ID stand that has no windows itself: only in those of what has all of its bytes. */
import type { History } from '../../replication/history.ts';
import type { RunId } from '../../replication/position.ts';
import type { ListedSegment } from '../coverage.ts';
import type { HistorySpan } from '../history-at.ts';
import { endsOf } from './goes-on.ts';
import { type Holdings, stretchesOf } from './holdings.ts';

/** What windows are made of. */
export interface ForSpans {
  readonly histories: readonly History[];
  readonly holdings: Holdings;
  /** Segments of which nothing can be restored; that the history has come to their ends counts. */
  readonly cut: readonly ListedSegment[];
}

/** Which histories have what a run ID without a window has. */
export interface Contained {
  /** Those that share its bytes up to here. */
  readonly limit: number;
  /** The last moment of which they have it, in milliseconds since 1970; infinity: all, negative infinity: none. */
  readonly to: number;
}

/**
 * @param unshown times of run IDs that have no windows
 * @param endOf when a byte of a segment was committed, in milliseconds since 1970
 * @returns by run ID, in whose windows its times belong
 */
export async function containedOf(
  unshown: readonly HistorySpan[],
  { histories, holdings, cut }: ForSpans,
  endOf: (segment: ListedSegment, end: number) => Promise<number | null>,
): Promise<ReadonlyMap<RunId, Contained>> {
  const contained = new Map<RunId, Contained>();
  for (const { history } of unshown) {
    const { runId } = history;
    if (contained.has(runId)) continue;
    const { isAlone, sharedTo: limit } = endsOf(history, histories, holdings);
    let to = Number.POSITIVE_INFINITY;
    if (isAlone || cut.some((segment) => segment.runId === runId && segment.end > limit)) {
      // What it has beyond that cannot be restored: as before a gap.
      const before = stretchesOf(history, holdings).findLast(({ end }) => end <= limit);
      const end = before === undefined ? null : await endOf(before.last, before.end);
      to = end === null ? Number.NEGATIVE_INFINITY : end - 1;
    }
    contained.set(runId, { limit, to });
  }
  return contained;
}

/** @returns the times of a span that are times of the history: its own, or those of an ancestor without windows of which it has all bytes that others share */
export function within(
  span: HistorySpan,
  { runId, lineage }: History,
  contained: Contained | undefined,
): readonly HistorySpan[] {
  if (span.history.runId === runId) return [span];
  const ancestor = lineage.find((each) => each.runId === span.history.runId);
  if (ancestor === undefined || contained === undefined || ancestor.validTo < contained.limit) return [];
  const to = Math.min(span.to, contained.to);
  return to < span.from ? [] : [{ ...span, to }];
}
