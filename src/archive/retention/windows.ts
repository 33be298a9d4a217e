/** From where to where archives can be restored. */
import {
  type BackupLength,
  type BackupTarget,
  lookAtBackup,
  type TargetCall,
  TargetError,
} from '../../node/ports/backup-target.ts';
import type { History } from '../../replication/history.ts';
import type { Position, RunId } from '../../replication/position.ts';
import { ArchiveError } from '../archive-error.ts';
import { Catalogue } from '../catalogue.ts';
import { committedAt, mayBeBehind, type Present } from '../commit-times.ts';
import { type ListedSegment, sharedBy } from '../coverage.ts';
import type { HistoryOfBase, Untold } from '../first-told.ts';
import { type HistorySpan, historySpans } from '../history-at.ts';
import { SegmentError } from '../segment.ts';
import { containedOf, type ForSpans, within } from './ancestor-times.ts';
import { cutSegments } from './cut-segments.ts';
import { endsOf } from './goes-on.ts';
import { headerIn } from './header-in.ts';
import { basesOf, type DatedBase, holdingsIn, stretchesOf, toldHistories } from './holdings.ts';
import { LastBytes } from './last-bytes.ts';
import { limitsOf } from './needs.ts';

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

/** Most windows whose end is looked up in a segment, and whose backups are looked into, those with the largest offsets. */
const MAX_DATED = 100;

/** Most bases of a window that are asked for the time from which on they serve. */
const MAX_BEGINS = 8;

/** How windows are found. */
export interface WindowOptions extends TargetCall, Present {
  /** Without it, backups are not looked into. */
  readonly backupLength?: BackupLength;
}

/** What archives can give back. */
export interface Restorable {
  /** By their begin. */
  readonly windows: readonly Window[];
  /** Run IDs of which no history can be read: of the times since they began, nobody knows which history is meant. */
  readonly untold: readonly Untold[];
  /** Bases with which windows begin, and which may have been made later than their names say. */
  readonly behind: readonly DatedBase[];
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
  { now, backupLength, ...call }: WindowOptions = {},
): Promise<Restorable> {
  const windows: Window[] = [];
  const allUntold: Untold[] = [];
  const behind = new Map<string, DatedBase>();
  const asked = askedOnce(ofBase);
  const cut = await cutSegments(target, call);
  const without = new Set(cut.map(({ name }) => name));
  const clusters = await holdingsIn(target, '', call, { without });
  const isWhole = wholeOnes(target, call, backupLength);
  const lastBytes = await LastBytes.of(target, '', call, clusters, now === undefined ? {} : { now });
  for (const [cluster, holdings] of clusters) {
    const { histories, untold } = await toldHistories(target, holdings, [], call, asked);
    allUntold.push(...untold);
    const known = await knownSpans(target, cluster, [...clusters.keys()], asked, call);
    const last = lastBytes.get(cluster);
    const here = { histories, holdings, cut: cut.filter((segment) => segment.cluster === cluster) };
    const all = await allSpans(here, isWhole);
    const unshown = known.filter((each) => (all.get(each.history.runId) ?? []).length === 0);
    const shown = await containedOf(unshown, here, (last, end) => timeOf(target, last, end, call));
    for (const history of histories) {
      const { runId } = history;
      const spans = all.get(runId) ?? [];
      if (spans.length === 0) continue;
      const limitOf = limitsOf(sharedBy(history, histories));
      const own = known.flatMap((each) => within(each, history, shown.get(each.history.runId)));
      const servesFrom = async (base: DatedBase) => (await last?.servesFrom(base, limitOf)) ?? base.at;
      for (const span of spans) {
        const [first] = span.bases;
        if (first !== undefined && mayBeBehind(first)) behind.set(first.name, first);
        const from = await servedFrom(span, servesFrom);
        const end = span.isDated ? await timeOf(target, span.last, span.to, call) : null;
        const times = timesOf(own, from, end, span);
        for (const each of times.length > 0 ? times : [UNKNOWN]) {
          windows.push({
            cluster,
            from: { position: { runId, offset: span.first.offset }, at: each.from },
            to: { position: { runId, offset: span.to as Position['offset'] }, at: each.to },
          });
        }
      }
    }
  }
  windows.sort((one, other) => (one.from.at ?? 0) - (other.from.at ?? 0));
  return { windows, untold: allUntold, behind: [...behind.values()] };
}

/** Does not download a backup twice. */
function askedOnce(ofBase: HistoryOfBase): HistoryOfBase {
  const asked = new Map<string, ReturnType<HistoryOfBase>>();
  return (base) => {
    const answer = asked.get(base.name) ?? ofBase(base);
    asked.set(base.name, answer);
    return answer;
  };
}

/** @returns the times of which a restore knows the history @throws TargetError */
async function knownSpans(
  target: BackupTarget,
  cluster: string | null,
  clusters: readonly (string | null)[],
  ofBase: HistoryOfBase,
  { signal = new AbortController().signal }: TargetCall,
): Promise<readonly HistorySpan[]> {
  // A restore cannot name the archive whose names have no cluster.
  if (cluster === null && clusters.length > 1) return [];
  try {
    return await historySpans(await Catalogue.read(target, cluster, null, signal, ofBase));
  } catch (error) {
    throw error instanceof ArchiveError ? new TargetError('TARGET_FAILED', error.message) : error;
  }
}

/** The first and the last one of some moments, in milliseconds since 1970; null: unknown. */
interface Times {
  readonly from: number | null;
  readonly to: number | null;
}
const UNKNOWN: Times = { from: null, to: null };

/** A window of which the moments have not been looked up. */
interface Span {
  /** The first base by its offset. */
  readonly first: DatedBase;
  /** All bases with which the window can begin, by their times. */
  readonly bases: readonly DatedBase[];
  readonly to: number;
  /** The segment with the end, or one after it. */
  readonly last: ListedSegment;
  /** Whether the last moment is to be looked up. */
  readonly isDated: boolean;
  /** Whether the history has bytes after the end, which no segment has. */
  readonly hasGap: boolean;
}

function spansOf(history: History, { histories, holdings, cut }: ForSpans): readonly Span[] {
  const { isAlone, entries, sharedTo } = endsOf(history, histories, holdings);
  if (!isAlone) return [];
  const bases = basesOf(history, holdings);
  const stretches = stretchesOf(history, holdings);
  const limitOf = limitsOf(history);
  const known = Math.max(
    stretches.at(-1)?.end ?? 0,
    bases.at(-1)?.offset ?? 0,
    ...history.lineage.map(({ validTo }) => validTo),
    ...cut.map(({ runId, end }) => Math.min(end, limitOf(runId))),
  );
  const spans: Span[] = [];
  for (const [index, { after, end: to, last }] of stretches.entries()) {
    const found = bases.filter(({ offset }) => offset >= after && offset < to);
    const [first] = found;
    if (first === undefined || (entries.length > 0 && to <= sharedTo)) continue;
    const isDated = index >= stretches.length - MAX_DATED;
    const byTime = found.toSorted((one, other) => one.at - other.at);
    spans.push({ first, bases: byTime, to, last, isDated, hasGap: known > to });
  }
  return spans;
}

/** @returns the spans of each history */
async function allSpans(
  given: ForSpans,
  isWhole: (base: DatedBase) => Promise<boolean>,
): Promise<ReadonlyMap<RunId, readonly Span[]>> {
  const all = new Map<RunId, readonly Span[]>();
  for (const each of given.histories) {
    const whole: Span[] = [];
    for (const span of spansOf(each, given)) {
      const part = span.isDated ? await wholeSpan(span, isWhole) : span;
      if (part !== null) whole.push(part);
    }
    all.set(each.runId, whole);
  }
  return all;
}

/** @returns what looks whether a backup is as long as it says, once for each */
function wholeOnes(
  target: BackupTarget,
  call: TargetCall,
  backupLength: BackupLength | undefined,
): (base: DatedBase) => Promise<boolean> {
  const asked = new Map<string, Promise<boolean>>();
  return (base) => {
    if (backupLength === undefined) return Promise.resolve(true);
    const answer =
      asked.get(base.name) ?? lookAtBackup(target, base, backupLength, call).then((look) => look === 'whole');
    asked.set(base.name, answer);
    return answer;
  };
}

/** @returns a window without bases at its begin that are cut; null: it has no other ones */
async function wholeSpan(span: Span, isWhole: (base: DatedBase) => Promise<boolean>): Promise<Span | null> {
  const cut = new Set<DatedBase>();
  const byOffset = span.bases.toSorted((one, other) => one.offset - other.offset || one.at - other.at);
  for (const base of [...byOffset.slice(0, MAX_BEGINS), ...span.bases.slice(0, MAX_BEGINS)]) {
    if (!(await isWhole(base))) cut.add(base);
  }
  const first = byOffset.find((base) => !cut.has(base));
  return first === undefined ? null : { ...span, first, bases: span.bases.filter((base) => !cut.has(base)) };
}

/**
 * @param servesFrom the time from which on a base serves
 * @returns the time from which on some base of a window serves, in milliseconds since 1970; infinity: it cannot be told
 */
async function servedFrom(
  { bases }: Span,
  servesFrom: (base: DatedBase) => Promise<number>,
): Promise<number> {
  let from = Number.POSITIVE_INFINITY;
  for (const base of bases.slice(0, MAX_BEGINS)) {
    if (base.at >= from) break;
    from = Math.min(from, await servesFrom(base));
  }
  return from;
}

/**
 * @param known the times of the history, in order
 * @param first the time from which on a base serves, in milliseconds since 1970
 * @param end when the last byte was committed, in milliseconds since 1970; null: unknown
 * @returns the times of a window of which each moment can be restored, in order; between two of them, another history is meant
 */
function timesOf(
  known: readonly HistorySpan[],
  first: number,
  end: number | null,
  { hasGap, isDated }: Span,
): readonly Times[] {
  // Times behind the gap are refused, and nothing tells where it begins.
  if (end === null && hasGap && isDated) return [];
  const times: Times[] = [];
  for (const span of known) {
    const from = Math.max(span.from, first);
    // Whether more was committed in the last millisecond before a gap, nobody knows.
    const last = hasGap
      ? (end ?? Number.POSITIVE_INFINITY) - 1
      : Math.max(from, end ?? Number.POSITIVE_INFINITY);
    const to = Math.min(span.to, last);
    if (from > to || !Number.isFinite(from)) continue;
    const before = times.at(-1);
    const isNext = before !== undefined && before.to === span.from - 1;
    if (isNext) times.pop();
    times.push({ from: isNext ? before.from : from, to });
  }
  // Nobody has looked up where the last ones end.
  if (end === null && times.length > 0) times.push({ ...(times.pop() as Times), to: null });
  return times;
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
