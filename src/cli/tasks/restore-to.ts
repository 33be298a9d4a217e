/** `psyncd restore --to-time` and `--to-position`: makes a data folder of an archive, as it was at a time or a position. */
import { mkdir, rm } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { ArchiveError, DamagedObject } from '../../archive/archive-error.ts';
import { Catalogue } from '../../archive/catalogue.ts';
import { mayBeLater } from '../../archive/commit-times.ts';
import { parseArchived } from '../../archive/names.ts';
import { isProven } from '../../archive/restoring/base-proof.ts';
import { NOTHING_LATER, type Reached, replay } from '../../archive/restoring/replay.ts';
import { type Goal, type Route, routeTo } from '../../archive/restoring/route.ts';
import type { BackupTarget } from '../../node/ports/backup-target.ts';
import { namedBackup } from '../../node/upkeep/backup-names.ts';
import { version } from '../../runtime/version.ts';
import { withoutDisk } from '../../store/backup/backup-error.ts';
import { GrowingBackup } from '../../store/backup/growing-backup.ts';
import { HistoryHasher } from '../../store/backup/history-hasher.ts';
import type { Manifest } from '../../store/backup/manifest.ts';
import { partialName, removePartial } from '../../store/backup/partials.ts';
import { checkRoom } from '../../store/backup/room.ts';
import { refuseFolder } from '../../store/restore/restore.ts';
import { CommandError } from '../command-error.ts';
import { archiveEndLine } from '../output/archive-end.ts';
import { counted } from '../output/info.ts';
import { reporter } from '../output/progress.ts';
import { gotBase, historyOfBase } from './archive-base.ts';
import { kindOf } from './kind-of.ts';
import { tidyUp } from './leftovers.ts';
import { type Outcome, restoreFile, type Wanted } from './restore.ts';
import { isUrl, targetOf, withoutFileUrl } from './targets.ts';

/** Exit code that shells report for a program ended by SIGINT. */
const INTERRUPTED = 130;
const SIGNALS = ['SIGINT', 'SIGTERM'] as const;
/** How the name of a backup ends. */
const BACKUP_NAME = /\d-\d{8}T\d{6}Z\.db$/;
/** Most damaged backups in whose place older ones are taken. */
const MAX_DAMAGED_BASES = 8;
/** Most names of archives in a message. */
const SHOWN_CLUSTERS = 20;

/** What a restore reaches that takes no segment. */
const AT_BASE: Readonly<Record<Goal['kind'], Reached>> = {
  position: { ...NOTHING_LATER, committedAt: null },
  time: { ...NOTHING_LATER, committedAt: null, isEnd: true },
};

/** What was put together of an archive. */
interface Assembled {
  /** Path of a backup. */
  readonly file: string;
  readonly route: Route;
  readonly reached: Reached;
  /** When the last write in it was committed at the latest, in milliseconds since 1970. */
  readonly reachedTime: number;
  /** Names of damaged backups in whose place an older one was taken. */
  readonly passedOver: readonly string[];
  /** Whether a node of the archive needs tokens. */
  readonly isGuarded: boolean;
}

/**
 * @param text the target of the archive
 * @param cluster the name in front of the run IDs; null: there is only one
 * @returns lines for people, and the same as JSON
 * @throws ArchiveError, TargetError, CheckError, BackupError or StartError, one line; then the folder is what it was
 */
export async function restoreTo(
  text: string,
  dir: string,
  goal: Goal,
  cluster: string | null,
  wanted: Wanted,
): Promise<Outcome> {
  refuseFile(text);
  const target = await targetOf(text);
  const folder = resolve(dir);
  // Before anything is downloaded. It is looked at again when the backup is there.
  await refuseFolder(folder, text, wanted.isForced);
  tidyUp(dirname(folder));
  const work = join(dirname(folder), partialName(basename(folder)));
  const remove = (): void => removePartial(work);
  const interrupted = (): void => {
    remove();
    process.exit(INTERRUPTED);
  };
  for (const signal of SIGNALS) process.once(signal, interrupted);
  try {
    await mkdir(work, { mode: 0o700 });
    const made = await assemble(target, goal, cluster, work);
    const { file, route, reached, reachedTime, passedOver, isGuarded } = made;
    const { lines, result } = await restoreFile(file, target.shown, dir, { ...wanted, isGuarded });
    return {
      lines: [...endLines(made, goal), ...lines, ...archiveLines(route, reached, passedOver, goal)],
      result: {
        ...result,
        archive: {
          base: route.base.name,
          segments: route.segments.length,
          askedTime: goal.kind === 'time' ? goal.at : null,
          reachedTime,
          isEnd: reached.isEnd,
          hasEarlierTimes: reached.hasEarlierTimes,
          isOfBefore: reached.isOfBefore,
          aheadFrom: reached.aheadFrom,
          behindFrom: reached.behindFrom,
          mayBeLater: isDoubtful(route, reached, goal),
          damaged: [...passedOver, ...reached.damaged],
          unprovenFrom: reached.unprovenFrom,
          unread: route.untold.map(({ runId }) => runId),
        },
      },
    };
  } catch (error) {
    throw withoutDisk(`cannot restore ${target.shown} into ${dir}`, error);
  } finally {
    for (const signal of SIGNALS) process.off(signal, interrupted);
    remove();
  }
}

/** @throws CommandError for a backup in place of a target */
function refuseFile(text: string): void {
  const path = withoutFileUrl(text);
  const isFile = isUrl(path) ? BACKUP_NAME.test(path) : kindOf(path) === 'file';
  if (!isFile) return;
  throw new CommandError(
    `${text} is a file: --to-time and --to-position need the target of an archive, the folder or s3://BUCKET/PREFIX of --archive-to`,
  );
}

/** @returns why there is nothing to restore, and what there is in its place */
async function withoutArchive(
  target: BackupTarget,
  cluster: string | null,
  signal: AbortSignal,
): Promise<ArchiveError> {
  const clusters = new Set<string>();
  let hasBackups = false;
  for await (const object of target.list('', { signal })) {
    const archived = parseArchived(object.name);
    if (archived === null) hasBackups ||= namedBackup(object) !== null;
    else if (archived.cluster !== null) clusters.add(archived.cluster);
    if (clusters.size > SHOWN_CLUSTERS) break;
  }
  const names = [...clusters].sort();
  if (cluster !== null && names.length > 0) {
    const more = names.length > SHOWN_CLUSTERS ? ' and others' : '';
    const shown = names.slice(0, SHOWN_CLUSTERS).join(', ');
    return new ArchiveError(`${target.shown} has no archive of ${cluster}, but of ${shown}${more}`);
  }
  const only = hasBackups
    ? ': backups made by hand are none; name one in place of the target, without --to-time or --to-position'
    : '';
  return new ArchiveError(`${target.shown} has no archive${only}`);
}

/** Puts a backup of the goal together. @param work folder for files */
async function assemble(
  target: BackupTarget,
  goal: Goal,
  cluster: string | null,
  work: string,
): Promise<Assembled> {
  const { signal } = new AbortController();
  const ofBase = historyOfBase(target, work, signal);
  const catalogue = await Catalogue.read(target, cluster, work, signal, ofBase);
  if (catalogue.runs.size === 0) throw await withoutArchive(target, cluster, signal);
  const { isGuarded } = catalogue;
  const base = join(work, 'base.db');
  const { route, manifest, passedOver } = await begunAt(target, catalogue, goal, base, signal);
  const hasher = (offset: number, hash: bigint | null) => new HistoryHasher({ offset, hash });
  const isBaseProven = await isProven(catalogue, route, manifest.hash, hasher);
  const isOfBase = route.segments.length === 0 && route.history.runId === manifest.position.runId;
  const atBase = AT_BASE[goal.kind];
  const common = { route, passedOver, isGuarded };
  if (isOfBase)
    return { ...common, file: base, reached: atBase, reachedTime: timeOf(atBase, manifest, goal) };
  const file = join(work, 'restored.db');
  const folder = join(work, 'data');
  const reached = await grow(catalogue, route, goal, { base, manifest, isBaseProven, file, folder });
  return { ...common, file, reached, reachedTime: timeOf(reached, manifest, goal) };
}

/** @returns when the last write that is restored was committed at the latest, in milliseconds since 1970 */
function timeOf({ committedAt }: Reached, { commitTime }: Manifest, goal: Goal): number {
  // A mark of the archive says when the last of several writes came, which may be later than those that are wanted.
  const latest = goal.kind === 'time' ? goal.at : Number.POSITIVE_INFINITY;
  return Math.min(committedAt ?? commitTime, latest);
}

/**
 * Gets the backup at which the way to the goal begins. If it is damaged, an older one serves as well.
 * @param path where no file is; the backup is there then
 * @throws ArchiveError, TargetError
 */
async function begunAt(
  target: BackupTarget,
  catalogue: Catalogue,
  goal: Goal,
  path: string,
  signal: AbortSignal,
): Promise<{ readonly route: Route; readonly manifest: Manifest; readonly passedOver: readonly string[] }> {
  const damages: string[] = [];
  const passedOver: string[] = [];
  for (;;) {
    const route = await routeTo(catalogue, goal).catch((error: unknown) => {
      if (!(error instanceof ArchiveError) || damages.length === 0) throw error;
      throw new ArchiveError(`${damages[0]}; without it, ${error.message}`);
    });
    try {
      return { route, manifest: await gotBase(target, route.base, path, signal), passedOver };
    } catch (error) {
      if (!(error instanceof DamagedObject) || passedOver.length >= MAX_DAMAGED_BASES) throw error;
      damages.push(error.message);
      passedOver.push(route.base.name);
      catalogue.passOver(route.base);
      await rm(path, { force: true });
    }
  }
}

async function grow(
  catalogue: Catalogue,
  route: Route,
  goal: Goal,
  made: {
    readonly base: string;
    readonly manifest: Manifest;
    readonly isBaseProven: boolean;
    readonly file: string;
    readonly folder: string;
  },
): Promise<Reached> {
  const { base, manifest, isBaseProven, file, folder } = made;
  const backup = await GrowingBackup.begin(base, manifest, route.history, folder, checkRoom);
  const { report, stop } = reporter('replaying segments');
  try {
    const reached = await replay(catalogue, route, goal, backup, { isBaseProven, report });
    await backup.finish(file, version(), timeOf(reached, manifest, goal));
    return reached;
  } finally {
    stop();
    await backup.discard();
  }
}

/** Whether the clock of the node may have been behind when the base was made, so that all that is restored is of after the time. */
function isDoubtful({ base }: Route, { committedAt }: Reached, goal: Goal): boolean {
  return goal.kind === 'time' && mayBeLater(base, goal.at, committedAt);
}

/** @returns a line of which moment the state is if the archive has nothing later, else none */
function endLines({ route, reached, reachedTime }: Assembled, goal: Goal): readonly string[] {
  if (goal.kind !== 'time' || !reached.isEnd) return [];
  const hasSegments = route.segments.length > 0;
  return [archiveEndLine({ asked: goal.at, reached: reachedTime, now: goal.now, hasSegments })];
}

function archiveLines(
  route: Route,
  reached: Reached,
  passedOver: readonly string[],
  goal: Goal,
): readonly string[] {
  const { base, segments, untold } = route;
  const { hasEarlierTimes, isOfBefore, aheadFrom, behindFrom, damaged, unprovenFrom } = reached;
  const lines = [`made of ${base.name} and ${counted(segments.length, 'segment', 'segments')} after it`];
  for (const name of passedOver)
    lines.push(`${name} is damaged: an older backup and the segments after it serve`);
  for (const name of damaged) lines.push(`${name} is damaged: other segments have its bytes`);
  if (unprovenFrom !== null) {
    lines.push(
      `no history hash proves that what follows byte ${unprovenFrom} is of the history before it, as after a power cut`,
    );
  }
  if (aheadFrom !== null) {
    lines.push(
      `the clock of the node was ahead after byte ${aheadFrom}, and was set right: writes with later times were taken, as those after them have times up to yours`,
    );
  }
  if (behindFrom !== null) {
    lines.push(
      `the clock of the node was set back after byte ${behindFrom}, and that of the target too: if it was behind then, what follows may be of later than your time; --to-position leaves it out`,
    );
  }
  if (hasEarlierTimes) {
    lines.push(
      'the clock of the node was set back after that: writes that came later have times of before yours; --to-position takes them',
    );
  } else if (isOfBefore) {
    lines.push(
      'by its own clock the target had the next writes by then: that clock or the one of the node was wrong; --to-position takes them',
    );
  }
  if (isDoubtful(route, reached, goal)) {
    lines.push(
      `the target got ${base.name} long after the time in its name, or that time cannot be right: if it was not copied there, the clock of the node was behind, and this may be of later than your time`,
    );
  }
  for (const { runId, why } of untold) {
    lines.push(
      `the history of ${runId} cannot be read, so nobody knows whether a node was on it then: ${why}`,
    );
  }
  return lines;
}
