/** The names that psyncd gives backups in a target, and what they say. */
import { formatPosition, type Position, parsePosition } from '../../replication/position.ts';
import type { TargetObject } from '../ports/backup-target.ts';

/**
 * `<cluster>/<run ID>/<offset>-<time>.db`, from a schedule, and `<run ID>-<offset>-<time>.db`, from `psyncd backup`. A target that
 * begins in the folder of a cluster has names without that.
 */
const NAME =
  /^(?:([\w-][\w.-]{0,63})\/)?([0-9a-f]{40})[/-](\d{1,16})-(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z\.db$/;
/** First segment of backups of a node without `--cluster`. */
const NO_CLUSTER = 'psyncd';

/** A backup in a target, as its name and its target say; nobody has looked into it. */
export interface NamedBackup extends TargetObject {
  /** null: the name has none. */
  readonly cluster: string | null;
  readonly position: Position;
  /** About when the entries were so, in milliseconds since 1970. */
  readonly time: number;
}

/** @returns the part of a backup's name that says what it is of: `<offset>-<time>.db` */
function lastPart({ offset }: Position, time: number): string {
  return `${offset}-${new Date(time).toISOString().replace(/[-:]|\.\d+/g, '')}.db`;
}

/** @returns the name of a backup that somebody makes by hand */
export function singleName(position: Position, time: number): string {
  return `${position.runId}-${lastPart(position, time)}`;
}

/** @returns the name of a backup that a schedule makes */
export function scheduledName(cluster: string | null, position: Position, time: number): string {
  return `${historyFolder(cluster, position.runId)}/${lastPart(position, time)}`;
}

/** @returns the folder with the scheduled backups of one history */
export function historyFolder(cluster: string | null, runId: string): string {
  return `${clusterFolder(cluster)}/${runId}`;
}

/** @returns the folder with what the nodes of a cluster put into a target */
export function clusterFolder(cluster: string | null): string {
  // A segment that begins with a dot is no name in a target.
  return (cluster ?? NO_CLUSTER).replace(/^\./, '_');
}

/** @returns what the name says; null: it is no name of a backup */
export function namedBackup(object: TargetObject): NamedBackup | null {
  const [, cluster = null, runId, offset, ...parts] = NAME.exec(object.name) ?? [];
  const position = parsePosition(`${runId}:${offset}`);
  if (position === null || formatPosition(position) !== `${runId}:${offset}`) return null;
  const [year, month, day, hour, minute, second] = parts;
  const text = `${year}-${month}-${day}T${hour}:${minute}:${second}.000Z`;
  const time = Date.parse(text);
  // February 30th is a time for some parsers.
  if (Number.isNaN(time) || new Date(time).toISOString() !== text) return null;
  return { ...object, cluster, position, time };
}
