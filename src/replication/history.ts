/**
 * Where a node's data comes from: the run ID of its history, and its *lineage*: the run IDs of the earlier histories
 * that this one continues, each with the offset up to which they share their bytes. Redis keeps one ancestor
 * (`replid2`, `second_replid_offset`); psyncd keeps several.
 *
 * Histories are values: every function here returns a new one.
 */
import { type Offset, type Position, parseOffset, parseRunId, type RunId } from './position.ts';

/**
 * Reason for a new run ID. `copied`: the data folder is a copy, or was restored from one; `rolled-back`: other nodes
 * have bytes of the old run ID that this node has lost. `restored`: a backup was restored into the data folder.
 */
export type LineageReason =
  | 'promoted'
  | 'unclean-stop'
  | 'master-changed'
  | 'copied'
  | 'rolled-back'
  | 'restored';

export const LINEAGE_REASONS: readonly LineageReason[] = [
  'promoted',
  'unclean-stop',
  'master-changed',
  'copied',
  'rolled-back',
  'restored',
];

export interface Ancestor {
  readonly runId: RunId;
  /** Last offset up to which the ancestor's bytes are also this history's bytes. */
  readonly validTo: Offset;
  readonly reason: LineageReason;
  /** Time at which it became an ancestor, in milliseconds since 1970. */
  readonly at: number;
}

export interface History {
  readonly runId: RunId;
  /** Ancestors, newest first. */
  readonly lineage: readonly Ancestor[];
}

/** Largest number of ancestors; the oldest is dropped first, and its replicas then get a full resync. */
export const MAX_ANCESTORS = 64;

export function newHistory(runId: RunId): History {
  return { runId, lineage: [] };
}

/** Whether a position lies on this history, even beyond its current end; if not, the reason. */
export type Standing = 'shared' | 'unknown-run-id' | 'past-shared-history';

/** In numbers: with an ancestor that is valid to 80, its position 80 is shared, and 81 past the shared history. */
export function standing(history: History, { runId, offset }: Position): Standing {
  if (runId === history.runId) return 'shared';
  const ancestor = history.lineage.find((entry) => entry.runId === runId);
  if (ancestor === undefined) return 'unknown-run-id';
  return offset > ancestor.validTo ? 'past-shared-history' : 'shared';
}

/** @returns what the run ID of the position has grown out of; null: the position is not on this history */
export function ancestorsAt(history: History, position: Position): readonly Ancestor[] | null {
  if (standing(history, position) !== 'shared') return null;
  if (position.runId === history.runId) return history.lineage;
  return history.lineage.slice(history.lineage.findIndex(({ runId }) => runId === position.runId) + 1);
}

/** Whether two histories are related: they share a run ID, as the current one or as an ancestor. */
export function areRelated(one: History, other: History): boolean {
  const known = new Set(runIdsOf(one));
  return runIdsOf(other).some((runId) => known.has(runId));
}

/**
 * Returns a node's history after its master has let it continue from `validTo`: the master's history. Ancestors of the
 * node that the master does not know (any more) are kept, because the node shares them with the master up to there.
 * @param at the current time in milliseconds since 1970
 */
export function continued(own: History, master: History, validTo: Offset, at: number): History {
  const known = new Set(runIdsOf(master));
  const self: Ancestor = { runId: own.runId, validTo, reason: 'master-changed', at };
  const others = [self, ...own.lineage]
    .filter(({ runId }) => !known.has(runId))
    .map((entry) => ({ ...entry, validTo: Math.min(entry.validTo, validTo) as Offset }));
  return { runId: master.runId, lineage: [...master.lineage, ...others].slice(0, MAX_ANCESTORS) };
}

/**
 * Gives the history another run ID: after a promotion, after a stop that may have lost bytes, or because the master has
 * done so (`+CONTINUE <new run ID>`). The old ID stays valid up to `validTo`.
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
  // This history cannot share an older ancestor beyond the point where it branched off.
  const older = history.lineage
    .filter((entry) => entry.runId !== change.runId)
    .map((entry) => ({ ...entry, validTo: Math.min(entry.validTo, change.validTo) as Offset }));
  return { runId: change.runId, lineage: [ancestor, ...older].slice(0, MAX_ANCESTORS) };
}

/**
 * Returns the history of a node into whose folder a backup was restored: under a new run ID, because the old one may have gone on
 * with other bytes elsewhere. It shares the backup's history up to the backup's position, but nothing if the history hash there is
 * unknown: a replica could stand there with other bytes, and nobody would notice.
 * @param hash history hash at `validTo`; null: unknown
 * @param at the current time in milliseconds since 1970
 */
export function restoredHistory(
  backup: History,
  {
    runId,
    validTo,
    hash,
    at,
  }: {
    readonly runId: RunId;
    readonly validTo: Offset;
    readonly hash: bigint | null;
    readonly at: number;
  },
): History {
  if (hash === null) return newHistory(runId);
  return renamed(backup, { runId, validTo, reason: 'restored', at });
}

/** Writes a lineage as one word: `<run ID>:<valid to>:<reason>:<at>`, joined with commas; `-` if it is empty. */
export function formatLineage(lineage: readonly Ancestor[]): string {
  if (lineage.length === 0) return '-';
  return lineage.map(({ runId, validTo, reason, at }) => [runId, validTo, reason, at].join(':')).join(',');
}

/** @returns the lineage that the word states; null for any other word */
export function parseLineage(word: string): readonly Ancestor[] | null {
  if (word === '-') return [];
  const lineage: Ancestor[] = [];
  for (const part of word.split(',')) {
    const [id = '', bound = '', why = '', when = '', ...rest] = part.split(':');
    const [runId, validTo, at] = [parseRunId(id), parseOffset(bound), parseOffset(when)];
    if (runId === null || validTo === null || at === null || rest.length > 0) return null;
    // A newer node may send a reason that this one does not know.
    const reason = LINEAGE_REASONS.find((each) => each === why) ?? 'master-changed';
    lineage.push({ runId, validTo, reason, at });
  }
  const isDistinct = new Set(lineage.map(({ runId }) => runId)).size === lineage.length;
  return isDistinct ? lineage.slice(0, MAX_ANCESTORS) : null;
}

function runIdsOf({ runId, lineage }: History): RunId[] {
  return [runId, ...lineage.map((entry) => entry.runId)];
}
