/** What the archiver is at work on. */
import type { ArchivedStream } from '../node/ports/archived-stream.ts';
import type { Offset, RunId } from '../replication/position.ts';

/** Segments that follow each other. */
export interface Chain {
  /** The run ID under which the last segment was named. */
  runId: RunId;
  /** The archive has everything up to here; null: nobody has asked the target yet. */
  from: Offset | null;
  hasBase: boolean;
  isMakingBase: boolean;
  readonly abort: AbortController;
}

/** @param from offset up to which the archive has the stream; null: it is not known yet */
export function newChain(runId: RunId, from: Offset | null): Chain {
  return { runId, from, hasBase: false, isMakingBase: false, abort: new AbortController() };
}

/** Whether a stop of the node need not wait: the archive has come so far, or nothing can be restored of what comes next. */
export function isFinished({ from, hasBase }: Chain, { isSettled }: ArchivedStream, upTo: Offset): boolean {
  return from === null ? !isSettled : from >= upTo || !hasBase;
}
