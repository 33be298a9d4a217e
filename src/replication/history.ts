/**
 * What a node knows about where its data comes from: the run ID of its history, and the *lineage*: the run IDs
 * this history grew out of, each with the offset up to which it is shared. Redis keeps one ancestor
 * (`replid2`, `second_replid_offset`); psyncd keeps them all.
 *
 * Histories are values: every function here returns a new one.
 */
import type { Offset, RunId } from './position.ts';

export type LineageReason = 'promoted' | 'unclean-stop' | 'master-changed';

export interface Ancestor {
  readonly runId: RunId;
  /** Up to and including this offset the ancestor's bytes are this history's bytes. */
  readonly validTo: Offset;
  readonly reason: LineageReason;
  /** When it became an ancestor, in milliseconds since 1970. */
  readonly at: number;
}

export interface History {
  readonly runId: RunId;
  /** Newest first. */
  readonly lineage: readonly Ancestor[];
}

/** The lineage keeps this many ancestors; the oldest is forgotten first (its replicas get a full resync). */
export const MAX_ANCESTORS = 64;

export function newHistory(runId: RunId): History {
  return { runId, lineage: [] };
}

/**
 * The history goes on under another run ID: after a promotion, after a stop that may have lost bytes, or because
 * the master did so (`+CONTINUE <new run ID>`). The old ID stays valid up to `validTo`.
 */
export function renamed(
  history: History,
  change: {
    readonly runId: RunId;
    readonly validTo: Offset;
    readonly reason: LineageReason;
    readonly at: number;
  },
): History {
  if (change.runId === history.runId) return history;
  const ancestor: Ancestor = {
    runId: history.runId,
    validTo: change.validTo,
    reason: change.reason,
    at: change.at,
  };
  // What an older ancestor shares with this history cannot reach past the point where it was left.
  const older = history.lineage
    .filter((entry) => entry.runId !== change.runId)
    .map((entry) => ({ ...entry, validTo: Math.min(entry.validTo, change.validTo) as Offset }));
  return { runId: change.runId, lineage: [ancestor, ...older].slice(0, MAX_ANCESTORS) };
}
