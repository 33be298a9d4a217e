/** Finds how far an archive has a history, so that the next segment begins there. */
import { type BackupTarget, LEFTOVER_MS, TargetError } from '../node/ports/backup-target.ts';
import type { History } from '../replication/history.ts';
import { Coverage } from './coverage.ts';
import { type BaseName, parseArchived, type SegmentName } from './names.ts';
import { FRAME_BYTES, MAX_HEADER_BYTES, parseHeader, SegmentError, SKIPPABLE, SUM_BYTES } from './segment.ts';

/**
 * Removes what puts of killed processes have left in the target a day ago. A target that does not let that be done loses room only.
 * @param now milliseconds since 1970
 * @throws the signal's reason
 */
export async function cleanUp(target: BackupTarget, now: number, signal: AbortSignal): Promise<void> {
  try {
    await target.clean(now - LEFTOVER_MS, (name) => parseArchived(name) !== null, { signal });
  } catch (error) {
    if (!(error instanceof TargetError)) throw error;
  }
}

/** How far an archive has a history. */
export interface Archived {
  /** The offset up to which segments follow each other from the newest base. */
  readonly farthest: number;
  /** Where the next segment begins; null: the journal can continue nothing of the archive. */
  readonly end: ArchivedEnd | null;
}

/**
 * The end of the oldest segments that follow each other from a base and that the journal can continue. A newer base may lie after it: then
 * the bytes before that base are missing in the archive.
 */
export interface ArchivedEnd {
  readonly offset: number;
  /** The history hash there, as the segment says that ends there; null: unknown. */
  readonly hash: bigint | null;
}

/**
 * @param cluster the name in front of the run IDs
 * @param least the first offset from which the journal can continue
 * @returns null: there is no base
 * @throws TargetError
 */
export async function archivedUpTo(
  target: BackupTarget,
  cluster: string,
  history: History,
  least: number,
  signal: AbortSignal,
): Promise<Archived | null> {
  const segments: SegmentName[] = [];
  const bases: BaseName[] = [];
  for (const { runId } of [history, ...history.lineage]) {
    for await (const { name } of target.list(`${cluster}/${runId}`, { signal })) {
      const found = parseArchived(name);
      if (found?.kind === 'segment') segments.push(found);
      else if (found?.kind === 'base') bases.push(found);
    }
  }
  const coverage = new Coverage(history, segments, bases);
  const [newest] = coverage.bases;
  if (newest === undefined) return null;
  const found = continued(coverage, least);
  const last = found?.last ?? null;
  const hash = last === null ? null : await hashAfter(target, last, signal);
  return {
    farthest: coverage.reach(newest.offset),
    end: found === null ? null : { offset: found.end, hash },
  };
}

interface ChainEnd {
  readonly end: number;
  /** The segment that ends there; null: none does. */
  readonly last: SegmentName | null;
}

/** @returns the end of the oldest chain that ends at `least` or after it; null: there is none */
function continued(coverage: Coverage, least: number): ChainEnd | null {
  // If segments go on from an older base to `least`, they pass this one.
  const before = coverage.bases.find(({ offset }) => offset <= least);
  const found = before === undefined ? null : endOf(coverage, before);
  if (found !== null && found.end >= least) return found;
  const after = coverage.bases.findLast(({ offset }) => offset > least);
  return after === undefined ? null : endOf(coverage, after);
}

function endOf(coverage: Coverage, base: BaseName): ChainEnd {
  let found: ChainEnd = { end: base.offset, last: null };
  for (const { segment, usableTo } of coverage.chain(base.offset))
    found = { end: usableTo, last: usableTo === segment.end ? segment : null };
  return found;
}

/** @returns the history hash at the end of a segment; null: unknown, or the target does not give its header @throws TargetError */
export async function hashAfter(
  target: BackupTarget,
  { name, end }: Pick<SegmentName, 'name' | 'end'>,
  signal: AbortSignal,
): Promise<bigint | null> {
  try {
    const begin = Buffer.from(await target.begin(name, FRAME_BYTES + SUM_BYTES, { signal }));
    if (begin.length < FRAME_BYTES || begin.readUInt32LE(0) !== SKIPPABLE) return null;
    const length = FRAME_BYTES + begin.readUInt32LE(4);
    if (length > FRAME_BYTES + SUM_BYTES + MAX_HEADER_BYTES) return null;
    const bytes = Buffer.from(await target.begin(name, length, { signal }));
    const header = parseHeader(bytes.toString('utf8', FRAME_BYTES + SUM_BYTES));
    return header.end === end ? header.hashAfter : null;
  } catch (error) {
    // To archive, a node need not be allowed to read.
    const isUnknown = error instanceof TargetError && ['NO_ACCESS', 'NOT_FOUND'].includes(error.code);
    if (isUnknown || error instanceof SegmentError) return null;
    throw error;
  }
}
