/** From where to where archives can be restored. */
import type { BackupTarget, TargetCall } from '../../node/ports/backup-target.ts';
import type { History } from '../../replication/history.ts';
import type { Position } from '../../replication/position.ts';
import { committedAt } from '../commit-times.ts';
import { isOfCopy, type ListedSegment } from '../coverage.ts';
import type { HistoryOfBase, Untold } from '../first-told.ts';
import { SegmentError } from '../segment.ts';
import { endsOf, goesOn } from './goes-on.ts';
import { headerIn } from './header-in.ts';
import {
  basesOf,
  type DatedBase,
  type Holdings,
  holdingsIn,
  stretchesOf,
  toldHistories,
} from './holdings.ts';

/** One end of a window. */
export interface Moment {
  readonly position: Position;
  /** In milliseconds since 1970; null: unknown, or no moment says which history is meant. */
  readonly at: number | null;
}

/** Each position and each moment between the two ends can be restored. */
export interface Window {
  /** null: the names have none. */
  readonly cluster: string | null;
  readonly from: Moment;
  readonly to: Moment;
}

/** Most windows whose end is looked up in a segment, those with the largest offsets. */
const MAX_DATED = 100;

/** What archives can give back. */
export interface Restorable {
  /** By their begin. */
  readonly windows: readonly Window[];
  /** Run IDs of which no history can be read: of the times since they began, nobody knows which history is meant. */
  readonly untold: readonly Untold[];
}

/**
 * @param ofBase asks a backup for its history, where a run ID has no segments
 * @returns the windows of each history that nobody has taken over, and of what others wrote beyond what their descendants share, without
 *   the backups before and after which there are no segments
 * @throws TargetError
 */
export async function windowsIn(
  target: BackupTarget,
  ofBase: HistoryOfBase,
  call: TargetCall = {},
): Promise<Restorable> {
  const windows: Window[] = [];
  const allUntold: Untold[] = [];
  for (const [cluster, holdings] of await holdingsIn(target, '', call)) {
    const { histories, untold } = await toldHistories(target, holdings, [], call, ofBase);
    allUntold.push(...untold);
    const since = untold.reduce((first, each) => Math.min(first, each.since), Number.POSITIVE_INFINITY);
    const sure = (at: number | null): number | null => (at === null || at >= since ? null : at);
    for (const history of histories) {
      for (const span of spansOf(history, histories, holdings)) {
        const { runId } = history;
        const end = span.isDated ? await timeOf(target, span.last, span.to, call) : null;
        windows.push({
          cluster,
          from: { position: { runId, offset: span.base.offset }, at: sure(span.from) },
          to: { position: { runId, offset: span.to as Position['offset'] }, at: sure(lastMoment(end, span)) },
        });
      }
    }
  }
  windows.sort((one, other) => (one.from.at ?? 0) - (other.from.at ?? 0));
  return { windows, untold: allUntold };
}

/** A window of which the last moment has not been looked up. */
interface Span {
  readonly base: DatedBase;
  /** The first moment, in milliseconds since 1970; null: none can be asked for, as the original of this history goes on. */
  readonly from: number | null;
  readonly to: number;
  /** The segment with the end, or one after it. */
  readonly last: ListedSegment;
  /** Whether the last moment is to be looked up. */
  readonly isDated: boolean;
  /** Whether the history has bytes after the end, which no segment has. */
  readonly hasGap: boolean;
  /** When another history took over, in milliseconds since 1970; infinity: none has. */
  readonly before: number;
}

function spansOf(history: History, histories: readonly History[], holdings: Holdings): readonly Span[] {
  const { isAlone, entries, sharedTo } = endsOf(history, histories, holdings);
  if (!isAlone) return [];
  const bases = basesOf(history, holdings);
  const stretches = stretchesOf(history, holdings);
  const known = Math.max(
    stretches.at(-1)?.end ?? 0,
    bases.at(-1)?.offset ?? 0,
    ...history.lineage.map(({ validTo }) => validTo),
  );
  // While both the original and a copy go on, no later moment tells which of them is meant.
  const isOriginal = entries.some(isOfCopy) && goesOn(history, histories, holdings);
  const before = Math.min(Number.POSITIVE_INFINITY, ...entries.map(({ at }) => at));
  const spans: Span[] = [];
  for (const [index, { after, end: to, last }] of stretches.entries()) {
    const base = bases.find(({ offset }) => offset >= after && offset < to);
    if (base === undefined || (entries.length > 0 && to <= sharedTo)) continue;
    const isDated = index >= stretches.length - MAX_DATED && !isOriginal;
    const begin = beginOf(history, to, histories, holdings);
    const first = begin === null ? null : Math.max(base.at, begin);
    spans.push({
      base,
      from: first,
      to,
      last,
      isDated: isDated && first !== null,
      hasGap: known > to,
      before,
    });
  }
  return spans;
}

/**
 * @returns the moment since which the bytes up to an offset are what the nodes had, in milliseconds since 1970: later than what an ancestor
 *   wrote beyond what is shared; null: an ancestor goes on
 */
function beginOf(
  { lineage }: History,
  to: number,
  histories: readonly History[],
  holdings: Holdings,
): number | null {
  let begin = 0;
  for (const entry of lineage) {
    const { runId, validTo, at } = entry;
    const ancestor = histories.find((each) => each.runId === runId);
    if (ancestor === undefined || to <= validTo) continue;
    if (!endsOf(ancestor, histories, holdings).isAlone) continue;
    if (isOfCopy(entry) && goesOn(ancestor, histories, holdings)) return null;
    begin = Math.max(begin, at);
  }
  return begin;
}

/** @param end when the last byte was committed, in milliseconds since 1970; null: unknown @returns the last moment of a window */
function lastMoment(end: number | null, { from, hasGap, before }: Span): number | null {
  if (end === null || from === null) return null;
  // Whether more was committed in the last millisecond before a gap, nobody knows.
  if (hasGap) return end - 1 < from ? null : Math.min(end - 1, before - 1);
  const last = Math.min(Math.max(from, end), before - 1);
  return last < from ? null : last;
}

/** @returns about when the byte at an offset was committed; null: the segment does not say, or has it not */
async function timeOf(
  target: BackupTarget,
  segment: ListedSegment,
  end: number,
  call: TargetCall,
): Promise<number | null> {
  if (segment.after >= end) return null;
  try {
    const { marks } = await headerIn(target, segment, call);
    // What the segment has beyond the end is of another history, and so are its times.
    return segment.end === end ? committedAt(marks, end) : (marks.findLast(([at]) => at <= end)?.[1] ?? null);
  } catch (error) {
    if (error instanceof SegmentError) return null;
    throw error;
  }
}
