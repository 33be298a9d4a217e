/**
 * Names of the objects of an archive: `<cluster>/<run ID>/<first>-<last>.resp.zst` is a segment, the bytes of the stream from byte
 * `first` to byte `last`; `<cluster>/<run ID>/<offset>-<time>.db` is a base, a backup at that offset. `<cluster>/guarded` says that a node
 * of the archive needs tokens.
 */
import { type Offset, offset, parseOffset, parseRunId, type RunId } from '../replication/position.ts';

/** A segment, as its name says. */
export interface SegmentName {
  readonly kind: 'segment';
  readonly name: string;
  /** null: the name has none, as in a target that begins in the folder of a cluster. */
  readonly cluster: string | null;
  readonly runId: RunId;
  /** The offset before its first byte. */
  readonly after: Offset;
  /** The offset of its last byte. */
  readonly end: Offset;
}

/** A base, as its name says. */
export interface BaseName {
  readonly kind: 'base';
  readonly name: string;
  /** null: the name has none, as in a target that begins in the folder of a cluster. */
  readonly cluster: string | null;
  readonly runId: RunId;
  readonly offset: Offset;
  /** The latest moment at which it may have been made, in milliseconds since 1970: a name has whole seconds. */
  readonly at: number;
}

export type ArchivedObject = SegmentName | BaseName;

const SECOND_MS = 1_000;
const OBJECT = /^(?:([\w-][\w.-]{0,63})\/)?([0-9a-f]{40})\/(\d{1,16})-(\w{1,20})(\.resp\.zst|\.db)$/;
const GUARD = /^(?:([\w-][\w.-]{0,63})\/)?guarded$/;
const TIME = /^(\d{4})(\d{2})(\d{2})T(\d{2})(\d{2})(\d{2})Z$/;

/**
 * @param cluster null: the name has none
 * @param after the offset before the first byte
 * @param end the offset of the last byte
 */
export function segmentName(cluster: string | null, runId: RunId, after: Offset, end: Offset): string {
  const folder = cluster === null ? runId : `${cluster}/${runId}`;
  return `${folder}/${after + 1}-${end}.resp.zst`;
}

/** @returns the name of what says that a node of the archive needs tokens */
export function guardName(cluster: string): string {
  return `${cluster}/guarded`;
}

/** @returns the cluster of which an object says that its nodes need tokens; null: the name has none; undefined: it is no such object */
export function guardedCluster(name: string): string | null | undefined {
  const found = GUARD.exec(name);
  return found === null ? undefined : (found[1] ?? null);
}

/** @returns what the name says; null: it is no object of an archive */
export function parseArchived(name: string): ArchivedObject | null {
  const [, cluster = null, id = '', first = '', last = '', suffix] = OBJECT.exec(name) ?? [];
  const runId = parseRunId(id);
  const begin = parseOffset(first);
  if (runId === null || begin === null) return null;
  if (suffix === '.db') {
    const at = timeOf(last);
    return at === null ? null : { kind: 'base', name, cluster, runId, offset: begin, at };
  }
  const end = parseOffset(last);
  if (end === null || begin === 0 || end < begin) return null;
  return { kind: 'segment', name, cluster, runId, after: offset(begin - 1), end };
}

/** @returns the latest moment at which a base may have been made, in milliseconds since 1970; null: the name is none of a base */
export function timeOfBase(name: string): number | null {
  const found = parseArchived(name);
  return found?.kind === 'base' ? found.at : null;
}

/** @returns the last millisecond of the second that `20261129T050000Z` names; null: it names none */
function timeOf(text: string): number | null {
  const match = TIME.exec(text);
  if (match === null) return null;
  const [year, month, day, hour, minute, second] = match.slice(1);
  const at = Date.parse(`${year}-${month}-${day}T${hour}:${minute}:${second}Z`);
  return Number.isNaN(at) ? null : at + SECOND_MS - 1;
}
