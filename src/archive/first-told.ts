/** Asks several objects of an archive for one thing, because some may be damaged. */
import type { History } from '../replication/history.ts';
import type { RunId } from '../replication/position.ts';
import { ArchiveError } from './archive-error.ts';
import type { ListedBase, ListedSegment } from './coverage.ts';
import { historyOf, SegmentError, type SegmentHeader } from './segment.ts';

/** Most of the newest objects of a run ID that are asked for one thing, and most of the older ones. */
export const MAX_ASKED = 4;

/**
 * Gets a backup and checks it.
 * @returns the history that it says to be of
 * @throws ArchiveError if it is not what its name says, or damaged; TargetError
 */
export type HistoryOfBase = (base: ListedBase) => Promise<History>;

/** What asks the objects of a run ID. */
interface Askers {
  /** @throws ArchiveError or SegmentError if the segment is damaged */
  readonly ofSegment: (segment: ListedSegment) => Promise<Pick<SegmentHeader, 'runId' | 'lineage'>>;
  /** null: backups are not asked. */
  readonly ofBase: HistoryOfBase | null;
}

/** A run ID of which nothing that was asked can be read, so that nobody knows what it has grown out of. */
export interface Untold {
  readonly runId: RunId;
  /** Why, for people. */
  readonly why: string;
  /** The earliest and the latest moment at which the archive got something of it, in milliseconds since 1970. */
  readonly since: number;
  readonly until: number;
}

/**
 * @returns what the first of the candidates says that is not damaged, and which one it is
 * @throws ArchiveError or SegmentError, that of the first candidate, if all are damaged; what else `ask` throws
 */
export async function firstTold<C, T>(
  candidates: Iterable<C>,
  ask: (candidate: C) => Promise<T>,
): Promise<{ readonly told: T; readonly by: C }> {
  let damage: unknown = new ArchiveError('there is nothing to ask');
  let isFirst = true;
  for (const by of candidates) {
    try {
      return { told: await ask(by), by };
    } catch (error) {
      if (!isDamage(error)) throw error;
      if (isFirst) damage = error;
      isFirst = false;
    }
  }
  throw damage;
}

/**
 * Finds the history of a run ID. Each of its objects tells it, because a run ID has one lineage. Backups are asked last, because that downloads them.
 * @param segments that are asked, in this order
 * @param bases all of them, by their offsets
 * @throws ArchiveError or SegmentError if all that are asked are damaged
 */
export async function historyTold(
  segments: Iterable<ListedSegment>,
  bases: readonly ListedBase[],
  { ofSegment, ofBase }: Askers,
): Promise<History> {
  const asks = [...segments].map((segment) => async () => historyOf(await ofSegment(segment)));
  if (ofBase !== null) asks.push(...candidatesOf(bases).map((base) => () => ofBase(base)));
  return (await firstTold(asks, (ask) => ask())).told;
}

/**
 * @param of what a run ID has
 * @returns the same in the order in which run IDs are asked: those with segments first, and then those with the newest backups, because what has
 *   grown out of others names them
 */
export function inOrderOfAsking<T>(
  runs: Iterable<T>,
  of: (run: T) => { readonly hasSegments: boolean; readonly bases: readonly ListedBase[] },
): readonly T[] {
  const keyed = [...runs].map((run) => {
    const { hasSegments, bases } = of(run);
    const newest = bases.reduce((latest, { at }) => Math.max(latest, at), 0);
    return { run, key: hasSegments ? Number.MAX_VALUE : newest };
  });
  return keyed.sort((one, other) => other.key - one.key).map(({ run }) => run);
}

/**
 * Whether a history has grown out of a run ID that has only backups, behind the first of them, and so says what that has grown out of: then none
 * has to be downloaded for it. One that has forked before the run ID began says less: it shares older ones up to its own fork only.
 */
export function isNamed(
  { runId, bases }: { readonly runId: RunId; readonly bases: readonly Pick<ListedBase, 'offset'>[] },
  histories: readonly History[],
): boolean {
  const first = bases.reduce((least, { offset }) => Math.min(least, offset), Number.POSITIVE_INFINITY);
  return histories.some(({ lineage }) =>
    lineage.some((ancestor) => ancestor.runId === runId && ancestor.validTo >= first),
  );
}

/** Whether an error says that an object is damaged, or not what its name says. */
export function isDamage(error: unknown): error is ArchiveError | SegmentError {
  return error instanceof ArchiveError || error instanceof SegmentError;
}

/**
 * @param objects of a run ID, in the order of the stream
 * @returns the newest ones first, and then a few of the others: damage often hits neighbours
 */
export function candidatesOf<T>(objects: {
  readonly length: number;
  at(index: number): T | undefined;
}): readonly T[] {
  const older = Math.max(0, objects.length - MAX_ASKED);
  const step = Math.max(1, Math.ceil(older / MAX_ASKED));
  const candidates: T[] = [];
  for (let index = objects.length - 1; index >= 0; index -= index >= older ? 1 : step) {
    candidates.push(objects.at(index) as T);
  }
  return candidates;
}
