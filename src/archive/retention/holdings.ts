/** What a target has of the archives of each cluster, by the names of the objects and by when the target got them. */
import {
  BACKUP_BEGIN_BYTES,
  type BackupTarget,
  type TargetCall,
  TargetError,
} from '../../node/ports/backup-target.ts';
import { formatLineage, type History } from '../../replication/history.ts';
import type { RunId } from '../../replication/position.ts';
import { type ListedBase, type ListedSegment, sharesOf } from '../coverage.ts';
import { Covered, type Part } from '../covered.ts';
import {
  candidatesOf,
  type HistoryOfBase,
  historyTold,
  inOrderOfAsking,
  isDamage,
  isNamed,
  MAX_ASKED,
  type Untold,
} from '../first-told.ts';
import { isWholeSegment, LEAST_SEGMENT_BYTES } from '../looks.ts';
import { parseArchived } from '../names.ts';
import { SegmentError, type SegmentHeader } from '../segment.ts';
import { headerIn } from './header-in.ts';

/** A base with its length in bytes, and when the target got it, in milliseconds since 1970. */
export type DatedBase = ListedBase & { readonly modified: number; readonly size: number };

/** Bytes of the stream that segments have without a gap, and a segment that ends there. */
export type Stretch = Part<ListedSegment>;

/** What an archive has of one run ID. */
export interface Holding {
  readonly runId: RunId;
  readonly bases: readonly DatedBase[];
  readonly covered: Covered<ListedSegment>;
  /** A few segments, those with the last bytes. */
  readonly newest: readonly ListedSegment[];
  /** When the target got the first object, or the name of a backup says an earlier time, in milliseconds since 1970. */
  readonly earliest: number;
  /** When the target got the last object, in milliseconds since 1970. */
  readonly latest: number;
  /** The offset before the first byte of what the target got after the horizon as segments; infinity: nothing. */
  readonly lateFrom: number;
}

/** What an archive has, by run ID. */
export type Holdings = ReadonlyMap<RunId, Holding>;

/** Most objects of a target that are looked at: a year of segments every ten seconds, of three nodes. */
export const MAX_OBJECTS = 10_000_000;
/** Most stretches in memory while a list is read: between two of them is a gap, or what the list has not told yet. */
const MAX_GROWING = 250_000;
/** Most bases. */
const MAX_BASES = 50_000;
/** Most run IDs of one cluster that have segments, and most stretches of all of them that do not touch. */
const MAX_RUNS = 1_000;
const MAX_STRETCHES = 10_000;

interface GrowingHolding extends Holding {
  readonly bases: DatedBase[];
  readonly newest: ListedSegment[];
  earliest: number;
  latest: number;
  lateFrom: number;
}

/** Most segments that are asked whether they say the same history as another one. */
const MAX_WITNESSES = 3;

/** How a list is read. */
export interface Reading {
  /** Most objects that the target may list. */
  readonly most?: number;
  /** A time, in milliseconds since 1970; without one, no segment is later. */
  readonly horizon?: number;
  /** Names of segments that have no bytes. */
  readonly without?: ReadonlySet<string>;
  /** Gets the number of objects. */
  readonly counted?: (objects: number) => void;
}

/**
 * @param folder of the target; '': all
 * @returns for each cluster (null: the names have none) what its archive has; a cluster without segments is not there
 * @throws TargetError, also if the target has more than can be looked at
 */
export async function holdingsIn(
  target: BackupTarget,
  folder: string,
  call: TargetCall,
  { most = MAX_OBJECTS, horizon = Number.POSITIVE_INFINITY, without, counted }: Reading = {},
): Promise<ReadonlyMap<string | null, Holdings>> {
  const clusters = new Map<string | null, Map<RunId, GrowingHolding>>();
  let [objects, growing, bases] = [0, 0, 0];
  for await (const { name, size, modified } of target.list(folder, call)) {
    objects += 1;
    const found = parseArchived(name);
    if (objects > most) throw tooMany(target, most, 'objects');
    if (found === null || (found.kind === 'base' && size < BACKUP_BEGIN_BYTES)) continue;
    const cluster = clusters.get(found.cluster) ?? new Map<RunId, GrowingHolding>();
    clusters.set(found.cluster, cluster);
    let holding = cluster.get(found.runId);
    if (holding === undefined) {
      const { runId } = found;
      const times = { earliest: modified, latest: modified, lateFrom: Number.POSITIVE_INFINITY };
      holding = { runId, bases: [], covered: new Covered(), newest: [], ...times };
      cluster.set(found.runId, holding);
    }
    holding.earliest = Math.min(holding.earliest, found.kind === 'base' ? found.at : modified, modified);
    holding.latest = Math.max(holding.latest, modified);
    if (found.kind === 'base') {
      holding.bases.push({ ...found, modified, size });
      bases += 1;
      if (bases > MAX_BASES) throw tooMany(target, MAX_BASES, 'backups');
    } else {
      const { covered, newest } = holding;
      addNewest(newest, { ...found, modified, size });
      if (modified > horizon) holding.lateFrom = Math.min(holding.lateFrom, found.after);
      // It has no bytes. Nobody knows the history of a run ID that has only such ones.
      if (size < LEAST_SEGMENT_BYTES || without?.has(name) === true) continue;
      growing -= covered.size;
      covered.add({ after: found.after, end: found.end, last: { ...found, modified, size } });
      growing += covered.size;
      if (growing > MAX_GROWING) throw tooMany(target, MAX_GROWING, 'gaps between segments');
    }
  }
  counted?.(objects);
  for (const [cluster, holdings] of clusters) {
    const sizes = [...holdings.values()]
      .map(({ covered }) => covered.parts.length)
      .filter((size) => size > 0);
    const stretches = sizes.reduce((sum, size) => sum + size, 0);
    if (stretches > MAX_STRETCHES) throw tooMany(target, MAX_STRETCHES, 'gaps between segments');
    if (sizes.length > MAX_RUNS) throw tooMany(target, MAX_RUNS, 'run IDs with segments');
    if ([...holdings.values()].every(({ newest }) => newest.length === 0)) clusters.delete(cluster);
  }
  return clusters;
}

function tooMany({ shown }: BackupTarget, most: number, what: string): TargetError {
  return new TargetError(
    'TARGET_FAILED',
    `${shown} has more than ${most} ${what}: delete some by their names`,
  );
}

/** Keeps the segments with the last bytes, by their ends. */
function addNewest(newest: ListedSegment[], segment: ListedSegment): void {
  const [first] = newest;
  if (first !== undefined && newest.length >= MAX_ASKED) {
    if (segment.end <= first.end) return;
    newest.shift();
  }
  const at = newest.findIndex(({ end }) => end > segment.end);
  newest.splice(at < 0 ? newest.length : at, 0, segment);
}

/**
 * @param known histories that need not be asked for
 * @returns the histories of all run IDs that have segments, as two of them say or one that is whole
 * @throws TargetError if a history cannot be told
 */
export async function historiesOf(
  target: BackupTarget,
  holdings: Holdings,
  known: readonly History[],
  call: TargetCall,
): Promise<readonly History[]> {
  const { histories, untold } = await toldHistories(target, holdings, known, call, null);
  const [first] = untold;
  if (first === undefined) return histories;
  throw new TargetError('TARGET_FAILED', first.why);
}

/**
 * @param known histories that need not be asked for
 * @param ofBase asks a backup; null: run IDs without segments are passed over
 * @returns the histories of all run IDs, without those that have no segments and that another one names; and the run IDs of which no history
 *   can be read
 * @throws TargetError
 */
export async function toldHistories(
  target: BackupTarget,
  holdings: Holdings,
  known: readonly History[],
  call: TargetCall,
  ofBase: HistoryOfBase | null,
): Promise<{ readonly histories: readonly History[]; readonly untold: readonly Untold[] }> {
  const histories = [...known];
  const untold: Untold[] = [];
  const isKnown = new Set(known.map(({ runId }) => runId));
  const ordered = inOrderOfAsking(holdings.values(), ({ newest, bases }) => ({
    hasSegments: newest.length > 0,
    bases,
  }));
  for (const holding of ordered) {
    const { runId, newest, earliest: since, latest: until } = holding;
    if (isKnown.has(runId)) continue;
    if (newest.length === 0 && (ofBase === null || isNamed(holding, histories))) continue;
    try {
      // A window ends with segments: if none of those can be read, a backup does not make it one.
      histories.push(await historyIn(target, holding, call, newest.length === 0 ? ofBase : null));
    } catch (error) {
      if (!isDamage(error)) throw error;
      untold.push({ runId, why: error.message, since, until });
    }
  }
  return { histories, untold };
}

/** @throws ArchiveError or SegmentError if all objects that are asked are damaged; TargetError */
function historyIn(
  target: BackupTarget,
  { bases, covered, newest }: Holding,
  call: TargetCall,
  ofBase: HistoryOfBase | null,
): Promise<History> {
  const others = candidatesOf(covered.parts.map(({ last }) => last));
  const segments = new Map([...newest.toReversed(), ...others].map((segment) => [segment.name, segment]));
  const ofSegment = async (segment: ListedSegment): Promise<SegmentHeader> => {
    try {
      const header = await headerIn(target, segment, call);
      const others = [...segments.values()].filter(({ name }) => name !== segment.name);
      if (await isAgreed(target, header, others, call)) return header;
      if (await isWholeSegment(target, segment, call)) return header;
      throw new SegmentError('its bytes are not those that were written');
    } catch (error) {
      if (!isDamage(error)) throw error;
      throw new SegmentError(`${target.shown}: ${segment.name} is damaged: ${error.message}`);
    }
  };
  return historyTold(segments.values(), inOrder(bases), { ofSegment, ofBase });
}

/** Whether another segment of the run ID says the same history, as all do that are not damaged. @throws TargetError */
async function isAgreed(
  target: BackupTarget,
  { lineage }: SegmentHeader,
  others: readonly ListedSegment[],
  call: TargetCall,
): Promise<boolean> {
  for (const other of others.slice(0, MAX_WITNESSES)) {
    try {
      const told = await headerIn(target, other, call);
      if (formatLineage(told.lineage) === formatLineage(lineage)) return true;
    } catch (error) {
      if (!isDamage(error)) throw error;
    }
  }
  return false;
}

/** @returns the stretches that a history has: its own bytes, and those of its ancestors up to where both share them */
export function stretchesOf(history: History, holdings: Holdings): readonly Stretch[] {
  const covered = new Covered<ListedSegment>();
  for (const { runId, validTo } of sharesOf(history)) {
    for (const part of holdings.get(runId)?.covered.parts ?? []) {
      if (part.after < validTo) covered.add({ ...part, end: Math.min(part.end, validTo) });
    }
  }
  return covered.parts;
}

/** @returns the bases of a history, by their offsets */
export function basesOf(history: History, holdings: Holdings): readonly DatedBase[] {
  return inOrder(
    sharesOf(history).flatMap((share) =>
      (holdings.get(share.runId)?.bases ?? []).filter(({ offset }) => offset <= share.validTo),
    ),
  );
}

function inOrder(bases: readonly DatedBase[]): readonly DatedBase[] {
  return bases.toSorted((one, other) => one.offset - other.offset || one.at - other.at);
}
