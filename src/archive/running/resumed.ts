/** Asks the target how far it has a history, and finds where the archive of a node goes on. */
import type { History } from '../../replication/history.ts';
import { type Offset, ZERO } from '../../replication/position.ts';
import { type Archived, archivedUpTo, sharedUpTo } from '../resume.ts';
import type { ArchiverParts } from './archiver-parts.ts';
import type { Chain } from './chain.ts';

export interface ResumeRequest {
  readonly parts: Pick<ArchiverParts, 'backupLength' | 'cluster' | 'stream' | 'target'>;
  /** That of the node when it began to ask. */
  readonly history: History;
  /** What the archiver is at work on. */
  readonly chain: Pick<Chain, 'abort' | 'hasLost'>;
  /** The journal is damaged after this offset; null: nobody has noticed that. */
  readonly damagedAfter: Offset | null;
  /** Whether somebody wants to know it still; if not, it is given up. */
  readonly isWanted: () => boolean;
  /** Hears that the target has answered. */
  readonly answered: () => void;
  /** Gets the number of objects of the history that the target lists. */
  readonly counted: (objects: number) => void;
}

export interface Resumed {
  /** The offset up to which hashes prove that the target has the bytes of the node. */
  readonly proven: Offset;
  /** The offset up to which the target has the history; null: nothing is known. */
  readonly restorable: Offset | null;
  /** What the archiver goes on with. */
  readonly chain: Pick<Chain, 'runId' | 'hasBase' | 'base' | 'basedAt' | 'last'> & { readonly from: Offset };
  /** What the archive has that the journal cannot continue, for people; null: the archive goes on, or begins. */
  readonly lack: string | null;
}

/**
 * A stream that has less than the target, or other bytes, is told so; it may take a new run ID then.
 * @returns null: nobody wants to know it any more
 * @throws TargetError
 */
export async function resumed({
  parts,
  history,
  chain,
  damagedAfter,
  isWanted,
  answered,
  counted,
}: ResumeRequest): Promise<Resumed | null> {
  const { backupLength, cluster, stream, target } = parts;
  // Where it is damaged, only what ends behind that can go on.
  const start = (): number => Math.max(stream.journalStart ?? stream.offset, (damagedAfter ?? -1) + 1);
  const { signal } = chain.abort;
  const least = start();
  const isOther = (at: Offset, hash: bigint | null): boolean =>
    at > stream.offset || stream.differsAt(at, hash);
  const request = { target, cluster, history, least, backupLength, signal, isOther, counted };
  const found = await archivedUpTo(request);
  if (!isWanted()) return null;
  answered();
  const end = found?.end ?? null;
  const differs = end !== null && stream.differsAt(end.offset as Offset, end.hash);
  let shared: Offset = ZERO;
  if (differs || (found !== null && found.farthest > stream.offset)) {
    shared = await sharedUpTo({ target, cluster, history, stream, signal });
    if (!isWanted()) return null;
    stream.outdated(shared);
    // The archive of a replica's master may be ahead; under a new run ID, less of it counts.
    if (stream.history.runId !== history.runId) return null;
  }
  // What differs under a run ID that stays, as on a replica, needs a new base.
  let from = differs ? -1 : Math.min(end?.offset ?? -1, stream.offset);
  const isProven = end?.isCut !== true;
  const isSame = end !== null && end.hash !== null && end.hash === stream.hashAt(end.offset as Offset);
  let proven: Offset = isSame ? (end.offset as Offset) : ZERO;
  if (!isProven && !differs) {
    // Segments from where hashes tell that the bytes are the same make no gap, but nothing tells it up to the cut.
    proven = await sharedUpTo({ target, cluster, history, stream, signal });
    if (!isWanted()) return null;
    const begin = stream.journalStart ?? stream.offset;
    // If the journal does not reach back to that, segments from its begin on leave no gap either.
    const isContinued = proven < begin && begin >= start() && end !== null && end.offset >= begin;
    from = isContinued ? begin : proven;
  }
  const isReached = from >= start();
  const hasBase = isReached && isProven && end?.isBeforeWrong !== true;
  const isLacking = !isReached && (found !== null || chain.hasLost);
  const known = differs ? shared : Math.min(end?.offset ?? found?.farthest ?? 0, stream.offset);
  return {
    proven,
    restorable: known > 0 ? (known as Offset) : null,
    chain: {
      runId: history.runId,
      hasBase,
      from: (isReached ? from : stream.offset) as Offset,
      basedAt: hasBase ? (found?.basedAt ?? null) : null,
      base: hasBase ? (end?.base.name ?? null) : null,
      last: hasBase ? (end?.last ?? null) : null,
    },
    lack: isLacking ? lackOf(found, differs, stream.journalStart ?? stream.offset, damagedAfter) : null,
  };
}

function lackOf(
  found: Archived | null,
  differs: boolean,
  start: number,
  damagedAfter: Offset | null,
): string {
  if (differs) return `other bytes than this node up to byte ${found?.end?.offset}`;
  if (found === null) return 'lost the backup before its segments';
  const isDamaged = damagedAfter !== null && damagedAfter >= start;
  const journal = isDamaged ? `is damaged after byte ${damagedAfter}` : `begins after byte ${start}`;
  return `this history up to byte ${found.farthest}, and the journal ${journal}`;
}
