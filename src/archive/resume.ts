/** Finds how far an archive has a history, so that the next segment begins there. */
import type { ArchivedStream } from '../node/ports/archived-stream.ts';
import {
  BACKUP_BEGIN_BYTES,
  type BackupLength,
  type BackupTarget,
  LEFTOVER_MS,
  lookAtBackup,
  TargetError,
} from '../node/ports/backup-target.ts';
import type { History } from '../replication/history.ts';
import { type Offset, ZERO } from '../replication/position.ts';
import { type ListedBase, type ListedSegment, sharesOf } from './coverage.ts';
import { Covered, type Part } from './covered.ts';
import { isBase, isWholeSegment, LEAST_SEGMENT_BYTES, lookAtSegment } from './looks.ts';
import { parseArchived } from './names.ts';

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
  /** The offset up to which segments follow each other from the newest base; the end of the last segment, if the node does not have that. */
  readonly farthest: number;
  /** When the newest base was made, as its name says, in milliseconds since 1970. */
  readonly basedAt: number;
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
  /** The base before it. */
  readonly base: ListedBase;
  /** The segment that ends there; null: none does. */
  readonly last: ListedSegment | null;
  /** Whether it is inside of a segment, where an ancestor's bytes end that are shared: nothing tells the hash there. */
  readonly isCut: boolean;
  /** Whether a segment that is not what its name says reaches beyond it: a restore may choose that one. */
  readonly isBeforeWrong: boolean;
}

/** Bounds of what is read of a list. */
export interface ListBounds {
  /** Most objects that the target may list: a year of segments every ten seconds, of three nodes. */
  readonly objects: number;
  /** Most parts of the stream that are in memory: between two of them is a gap, or what the list has not told yet. */
  readonly parts: number;
}

export interface ArchivedRequest {
  readonly target: BackupTarget;
  /** The name in front of the run IDs. */
  readonly cluster: string;
  readonly history: History;
  /** The first offset from which the journal can continue. */
  readonly least: number;
  readonly backupLength: BackupLength;
  readonly signal: AbortSignal;
  /**
   * Whether the node cannot have had this history hash at an offset, so that it takes a new run ID. What says so has to be readable, and a
   * segment is compared with its SHA-256 first.
   */
  isOther(at: Offset, hash: bigint | null): boolean;
  readonly most?: ListBounds;
  /** Gets the number of objects of the history that the target lists. */
  readonly counted?: (objects: number) => void;
}

const LIST_BOUNDS: ListBounds = { objects: 10_000_000, parts: 250_000 };
/** Most segments of which the node compares the history hash at their ends with its own, by halves: those with the largest offsets. */
const MAX_COMPARED = 10_000;
/** Most segments that tell no hash and that are passed over in that; with more, what is before them counts as all that is shared. */
const MAX_SILENT = 64;
/** Most objects that are not what their names say and that are passed over, each at the cost of another list. */
const MAX_WRONG = 8;

/**
 * Lists the objects of the run IDs of a history, and nothing else. The base and the segment at the end that it finds are what their
 * names say, as far as their first bytes and their lengths tell: an object that is not counts as if it were not there. All bytes of a
 * segment are looked at if the node would take a new run ID because of it: a name alone never costs it that.
 * @returns null: there is no base
 * @throws TargetError, also if the node would take a new run ID and may not read why, and if the list is longer than its bounds
 */
export async function archivedUpTo(request: ArchivedRequest): Promise<Archived | null> {
  const { target, backupLength, least, signal } = request;
  const wrong = new Set<string>();
  for (;;) {
    const { bases, covered, wrongUpTo } = await listed(request, wrong);
    const { newest } = bases;
    if (newest === null) return null;
    const found = continued(covered, bases, least);
    const farthest = chainEnd(covered, newest);
    // Nothing that the node could prove: a new base is the safe choice.
    if (wrong.size > MAX_WRONG) return { farthest: newest.offset, basedAt: newest.at, end: null };
    // Behind a gap too, only a node whose files are older lacks bytes.
    const beyond = covered.parts.at(-1)?.last ?? null;
    const isAhead = beyond !== null && beyond.end > farthest.end && request.isOther(beyond.end, null);
    const before = wrong.size;
    for (const base of new Set([newest, found?.base ?? newest])) {
      const isWhole = request.isOther(base.offset, null)
        ? (await lookAtBackup(target, { size: 0, ...base }, backupLength, { signal })) === 'whole'
        : await isBase(target, base, backupLength, { signal });
      if (!isWhole) wrong.add(base.name);
    }
    let hash: bigint | null = null;
    for (const last of new Set([farthest.last, found?.last ?? null, isAhead ? beyond : null])) {
      const look = last === null ? null : await lookAtSegment(target, last, { signal });
      const isDoubted = last !== null && look !== null && request.isOther(last.end, look.hash);
      const isWrong = isDoubted ? !(await isWholeSegment(target, last, { signal })) : look === null;
      if (last !== null && isWrong) wrong.add(last.name);
      if (last === (found?.last ?? null)) hash = look?.hash ?? null;
    }
    if (wrong.size > before) continue;
    const isCut = found !== null && found.last === null && found.end > found.base.offset;
    const isBeforeWrong = found !== null && wrongUpTo > found.end;
    const end = found && { ...found, offset: found.end, hash, isCut, isBeforeWrong };
    return { farthest: isAhead ? beyond.end : farthest.end, basedAt: newest.at, end };
  }
}

/** What is looked for: how far a node and an archive have the same bytes. */
interface SharedRequest extends Pick<ArchivedRequest, 'target' | 'cluster' | 'history' | 'signal'> {
  readonly stream: Pick<ArchivedStream, 'hashAt' | 'journalStart' | 'offset'>;
}

/**
 * Finds the last segment at whose end the node has the same history hash: up to there both surely have the same bytes. Hashes follow
 * from all bytes before them, so once one differs all later ones do, and the search halves what is left. A segment that differs counts if
 * it is whole; one that has no hash, or is damaged, tells nothing.
 * @returns the offset there; 0: nothing tells it
 * @throws TargetError
 */
export async function sharedUpTo(request: SharedRequest): Promise<Offset> {
  const { target, signal, stream } = request;
  const segments = [...(await comparable(request))];
  let [equal, low, high]: [Offset, number, number] = [ZERO, 0, segments.length];
  let silent = 0;
  while (low < high) {
    const middle = (low + high) >>> 1;
    const segment = segments[middle] as ListedSegment;
    const hash = (await lookAtSegment(target, segment, { signal }))?.hash ?? null;
    if (hash !== null && hash === stream.hashAt(segment.end)) [equal, low] = [segment.end, middle + 1];
    else if (hash !== null && (await isWholeSegment(target, segment, { signal }))) high = middle;
    else if (silent < MAX_SILENT) {
      silent += 1;
      segments.splice(middle, 1);
      high -= 1;
    } else high = middle;
  }
  return equal;
}

/** @returns segments at whose end the node knows its history hash, by their ends; the last ones if there are many */
async function comparable({
  target,
  cluster,
  history,
  stream,
  signal,
}: SharedRequest): Promise<readonly ListedSegment[]> {
  const [from, head] = [stream.journalStart ?? stream.offset, stream.offset];
  let segments: ListedSegment[] = [];
  const last = (): ListedSegment[] => segments.sort((one, other) => one.end - other.end).slice(-MAX_COMPARED);
  for (const { runId, validTo } of sharesOf(history)) {
    for await (const { name, size } of target.list(`${cluster}/${runId}`, { signal })) {
      const found = parseArchived(name);
      if (found?.kind !== 'segment' || found.end > Math.min(head, validTo)) continue;
      // Before its journal, the node knows no hashes.
      if (size < LEAST_SEGMENT_BYTES || found.end < from || stream.hashAt(found.end) === null) continue;
      segments.push({ ...found, size });
      if (segments.length >= 2 * MAX_COMPARED) segments = last();
    }
  }
  return last();
}

/** @param wrong names of objects that do not count */
async function listed(
  { target, cluster, history, least, signal, most = LIST_BOUNDS, counted }: ArchivedRequest,
  wrong: ReadonlySet<string>,
): Promise<{ readonly covered: Covered; readonly bases: Bases; readonly wrongUpTo: number }> {
  const covered = new Covered();
  const bases = new Bases(least);
  let [objects, wrongUpTo] = [0, 0];
  for (const { runId, validTo } of sharesOf(history)) {
    for await (const { name, size } of target.list(`${cluster}/${runId}`, { signal })) {
      objects += 1;
      if (objects > most.objects) throw tooMany(target, `${most.objects} objects`, history);
      const found = parseArchived(name);
      if (found?.kind === 'segment' && (size < LEAST_SEGMENT_BYTES || wrong.has(name)))
        wrongUpTo = Math.max(wrongUpTo, Math.min(found.end, validTo));
      if (wrong.has(name)) continue;
      const isCounted = found?.kind === 'base' && size >= BACKUP_BEGIN_BYTES && found.offset <= validTo;
      if (isCounted) bases.add({ ...found, size });
      if (found?.kind !== 'segment' || size < LEAST_SEGMENT_BYTES || found.after >= validTo) continue;
      const { after, end } = found;
      const isCut = end > validTo;
      covered.add({ after, end: isCut ? validTo : end, last: isCut ? null : { ...found, size } });
      if (covered.size > most.parts) throw tooMany(target, `${most.parts} gaps in its segments`, history);
    }
  }
  counted?.(objects);
  return { covered, bases, wrongUpTo };
}

function tooMany({ shown }: BackupTarget, what: string, { runId }: History): TargetError {
  return new TargetError(
    'TARGET_FAILED',
    `${shown} has more than ${what}, of the run ID ${runId} and its ancestors: delete old ones`,
  );
}

/** The bases that count. */
class Bases {
  readonly #least: number;
  newest: ListedBase | null = null;
  /** The newest one at `least` or before it. */
  before: ListedBase | null = null;
  /** The oldest one after `least`. */
  after: ListedBase | null = null;

  constructor(least: number) {
    this.#least = least;
  }

  add(base: ListedBase): void {
    const { offset } = base;
    const { newest } = this;
    const isEarlier = offset === newest?.offset && base.at < newest.at;
    if (newest === null || offset > newest.offset || isEarlier) this.newest = base;
    if (offset > this.#least) {
      if (this.after === null || offset < this.after.offset) this.after = base;
    } else if (this.before === null || offset > this.before.offset) this.before = base;
  }
}

type ChainEnd = Pick<Part, 'end' | 'last'> & { readonly base: ListedBase };

/** @returns the end of the oldest chain that ends at `least` or after it; null: there is none */
function continued(covered: Covered, { before, after }: Bases, least: number): ChainEnd | null {
  // If segments go on from an older base to `least`, they pass this one.
  const found = before === null ? null : chainEnd(covered, before);
  if (found !== null && found.end >= least) return found;
  return after === null ? null : chainEnd(covered, after);
}

/** @returns the end of the segments that follow each other from a base on */
function chainEnd(covered: Covered, base: ListedBase): ChainEnd {
  const { end, last } = covered.from(base.offset) ?? { end: base.offset, last: null };
  return { end, last, base };
}
