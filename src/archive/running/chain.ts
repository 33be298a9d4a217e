/** What the archiver is at work on. */
import type { ArchivedStream } from '../../node/ports/archived-stream.ts';
import type { Offset, RunId } from '../../replication/position.ts';
import type { SegmentName } from '../names.ts';

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

/** Whether a stop of the node need not wait: the archive has come so far, or nothing can be restored of what comes next. */
export function isFinished({ from, hasBase }: Chain, { isSettled }: ArchivedStream, upTo: Offset): boolean {
  return from === null ? !isSettled : from >= upTo || !hasBase;
}
