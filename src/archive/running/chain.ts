/** What the archiver is at work on. */
import type { ArchivedStream } from '../../node/ports/archived-stream.ts';
import type { History } from '../../replication/history.ts';
import type { Offset, RunId } from '../../replication/position.ts';
import { sharesOf } from '../coverage.ts';
import { parseArchived, type SegmentName } from '../names.ts';

/** Segments that follow each other. */
export interface Chain {
  /** The run ID under which the last segment was named. */
  runId: RunId;
  /** The archive has everything up to here; null: nobody has asked the target yet. */
  from: Offset | null;
  hasBase: boolean;
  /** Name of the base before the segments; null: nobody knows it. */
  base: string | null;
  /** When the newest base was made, as its name says, in milliseconds since 1970; null: nobody knows it. */
  basedAt: number | null;
  /** The last segment that the target has; null: nobody knows it. */
  last: SegmentName | null;
  /** Whether the target had a base before, and has lost it or what followed it. */
  hasLost: boolean;
  isMakingBase: boolean;
  /** How often what comes next was read, and was damaged. */
  damagedReads: number;
  readonly abort: AbortController;
}

/** @param from offset up to which the archive has the stream; null: it is not known yet */
export function newChain(runId: RunId, from: Offset | null): Chain {
  const abort = new AbortController();
  const unknown = { base: null, basedAt: null, last: null };
  return {
    runId,
    from,
    hasBase: false,
    ...unknown,
    hasLost: false,
    isMakingBase: false,
    damagedReads: 0,
    abort,
  };
}

/**
 * @returns what of a chain is of a history: `from`, the offset up to which the archive has it (-1: nothing of it; null: nobody has asked the
 *   target yet), and whether a base of it is in front
 */
export function partOf(
  { base, from, hasBase, runId }: Chain,
  history: History,
): { readonly from: number | null; readonly hasBase: boolean } {
  if (from === null || runId === history.runId) return { from, hasBase };
  const shared = history.lineage.find((ancestor) => ancestor.runId === runId)?.validTo ?? -1;
  return { from: Math.min(from, shared), hasBase: hasBase && (base === null || isBaseOf(base, history)) };
}

/** @param name of a base @returns whether all that the base has is of the history */
export function isBaseOf(name: string, history: History): boolean {
  const base = parseArchived(name);
  if (base?.kind !== 'base') return false;
  return sharesOf(history).some(({ runId, validTo }) => runId === base.runId && base.offset <= validTo);
}

/** Whether a stop of the node need not wait: the archive has come so far, or nothing can be restored of what comes next. */
export function isFinished({ from, hasBase }: Chain, { isSettled }: ArchivedStream, upTo: Offset): boolean {
  return from === null ? !isSettled : from >= upTo || !hasBase;
}
