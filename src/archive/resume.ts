/** Finds how far an archive has a history, so that the next segment begins there. */
import { type BackupTarget, LEFTOVER_MS, TargetError } from '../node/ports/backup-target.ts';
import type { History } from '../replication/history.ts';
import { Covered, type Part } from './coverage.ts';
import { parseArchived } from './names.ts';
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

/** Bounds of what is read of a list. */
export interface ListBounds {
  /** Most objects that the target may list: a year of segments every ten seconds, of three nodes. */
  readonly objects: number;
  /** Most parts of the stream that are in memory: between two of them is a gap, or what the list has not told yet. */
  readonly parts: number;
}

const LIST_BOUNDS: ListBounds = { objects: 10_000_000, parts: 250_000 };

/**
 * Lists the objects of the run IDs of a history, and nothing else.
 * @param cluster the name in front of the run IDs
 * @param least the first offset from which the journal can continue
 * @returns null: there is no base
 * @throws TargetError, also if the list is longer than its bounds
 */
export async function archivedUpTo(
  target: BackupTarget,
  cluster: string,
  history: History,
  least: number,
  signal: AbortSignal,
  most = LIST_BOUNDS,
): Promise<Archived | null> {
  const covered = new Covered();
  const bases = new Bases(least);
  let objects = 0;
  for (const { runId, validTo } of [
    { runId: history.runId, validTo: Number.POSITIVE_INFINITY },
    ...history.lineage,
  ]) {
    for await (const { name } of target.list(`${cluster}/${runId}`, { signal })) {
      objects += 1;
      if (objects > most.objects) throw tooMany(target, `${most.objects} objects`, history);
      const found = parseArchived(name);
      if (found?.kind === 'base' && found.offset <= validTo) bases.add(found.offset);
      if (found?.kind !== 'segment' || found.after >= validTo) continue;
      const { after, end } = found;
      covered.add(end > validTo ? { after, end: validTo, last: null } : { after, end, last: name });
      if (covered.size > most.parts) throw tooMany(target, `${most.parts} gaps in its segments`, history);
    }
  }
  if (bases.newest === null) return null;
  const found = continued(covered, bases, least);
  const hash =
    found?.last == null ? null : await hashAfter(target, { name: found.last, end: found.end }, signal);
  return {
    farthest: chainEnd(covered, bases.newest).end,
    end: found === null ? null : { offset: found.end, hash },
  };
}

function tooMany({ shown }: BackupTarget, what: string, { runId }: History): TargetError {
  return new TargetError(
    'TARGET_FAILED',
    `${shown} has more than ${what}, of the run ID ${runId} and its ancestors: delete old ones`,
  );
}

/** The offsets of the bases that count. */
class Bases {
  readonly #least: number;
  newest: number | null = null;
  /** The newest one at `least` or before it. */
  before: number | null = null;
  /** The oldest one after `least`. */
  after: number | null = null;

  constructor(least: number) {
    this.#least = least;
  }

  add(offset: number): void {
    this.newest = Math.max(this.newest ?? 0, offset);
    if (offset <= this.#least) this.before = Math.max(this.before ?? 0, offset);
    else this.after = Math.min(this.after ?? offset, offset);
  }
}

/** @returns the end of the oldest chain that ends at `least` or after it; null: there is none */
function continued(
  covered: Covered,
  { before, after }: Bases,
  least: number,
): Pick<Part, 'end' | 'last'> | null {
  // If segments go on from an older base to `least`, they pass this one.
  const found = before === null ? null : chainEnd(covered, before);
  if (found !== null && found.end >= least) return found;
  return after === null ? null : chainEnd(covered, after);
}

/** @returns the end of the segments that follow each other from a base on */
function chainEnd(covered: Covered, base: number): Pick<Part, 'end' | 'last'> {
  return covered.from(base) ?? { end: base, last: null };
}

/** @returns the history hash at the end of a segment; null: unknown, or the target does not give its header @throws TargetError */
export async function hashAfter(
  target: BackupTarget,
  { name, end }: { readonly name: string; readonly end: number },
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
