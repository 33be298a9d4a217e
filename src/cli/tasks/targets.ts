/** What commands do with targets: object storage, and folders by their URLs. */
import { mkdir } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { HistoryOfBase } from '../../archive/first-told.ts';
import { parseArchived } from '../../archive/names.ts';
import { archiveNeeds } from '../../archive/retention/archive-needs.ts';
import { type Moment, type Window, windowsIn } from '../../archive/retention/windows.ts';
import { type BackupTarget, LEFTOVER_MS, TargetError } from '../../node/ports/backup-target.ts';
import { doubtfulSince } from '../../node/upkeep/backup-clock.ts';
import { outdated } from '../../node/upkeep/backup-keep.ts';
import { type NamedBackup, namedBackup, singleName } from '../../node/upkeep/backup-names.ts';
import { backupsIn, horizonOf, type Pruned, prune } from '../../node/upkeep/backup-prune.ts';
import { formatPosition } from '../../replication/position.ts';
import { systemWorld } from '../../runtime/system-world.ts';
import { UsageError } from '../../settings/parse.ts';
import { BackupError, withoutDisk } from '../../store/backup/backup-error.ts';
import { HEADER_BYTES, lengthInHeader } from '../../store/backup/backup-header.ts';
import type { Manifest } from '../../store/backup/manifest.ts';
import { partialName, removePartial } from '../../store/backup/partials.ts';
import { checkRoom } from '../../store/backup/room.ts';
import { openTarget } from '../../target/open-target.ts';
import { CommandError } from '../command-error.ts';
import { historyOfBase } from './archive-base.ts';
import type { Make } from './back-up.ts';
import { tidyUp } from './leftovers.ts';

/** Exit code that shells report for a program ended by SIGINT. */
const INTERRUPTED = 130;
const SIGNALS = ['SIGINT', 'SIGTERM'] as const;

/**
 * Longest time without a backup with which the clock counts as right, in milliseconds; for short rules, this part of their largest age. A clock
 * that is ahead makes all backups seem old, also if one was made since.
 */
const MAX_GAP_MS = 48 * 3_600_000;
const MAX_GAP_SHARE = 0.5;

/** The latest moment that a date can be, in milliseconds since 1970. */
const MAX_TIME_MS = 8.64e15;

/** Whether the text names something else than a file here, such as `s3://…`. */
export function isUrl(text: string): boolean {
  return /^[a-z][a-z\d+.-]*:\/\//i.test(text);
}

/** @returns the path that a `file:` URL names, and any other text as it is @throws UsageError */
export function withoutFileUrl(text: string): string {
  if (!/^file:/i.test(text)) return text;
  try {
    return fileURLToPath(text);
  } catch {
    throw new UsageError(`${text} names no file; write file:///FOLDER/FILE`);
  }
}

/** @throws UsageError if the text names no target */
export async function targetOf(text: string): Promise<BackupTarget> {
  try {
    return await openTarget(text, process.env, checkRoom);
  } catch (error) {
    if (error instanceof TargetError && error.code === 'BAD_TARGET') throw new UsageError(error.message);
    throw error;
  }
}

/**
 * Makes a backup in a temporary folder, and puts it into the target.
 * @returns the name that people know it by, and its manifest
 * @throws TargetError, or as `make`
 */
export async function backUpToTarget(
  text: string,
  make: Make,
): Promise<{ readonly file: string; readonly manifest: Manifest }> {
  const target = await targetOf(text);
  tidyUp(tmpdir());
  const folder = join(tmpdir(), partialName('psyncd-backup'));
  const { signal, end } = untilInterrupted(() => removePartial(folder));
  try {
    await mkdir(folder, { mode: 0o700 });
    const path = join(folder, 'backup.db');
    const manifest = await make(path);
    const name = singleName(manifest.position, manifest.commitTime);
    await target.put(name, { path }, { signal });
    return { file: `${text.replace(/\/$/, '')}/${name}`, manifest };
  } catch (error) {
    throw withoutDisk(`cannot write into ${tmpdir()}`, error);
  } finally {
    end();
    removePartial(folder);
  }
}

/**
 * Gets a backup from object storage, has it used, and removes it.
 * @param text `s3://BUCKET/PREFIX/NAME`
 * @param beside folder for the temporary file
 * @throws TargetError, BackupError if the file cannot be written, or as `use`; messages name the object in place of the file
 */
export async function withDownloaded<T>(
  text: string,
  beside: string,
  use: (path: string) => Promise<T>,
): Promise<T> {
  const [, root, name] = /^([a-z\d]+:\/\/[^/]+)\/(.+)$/i.exec(text) ?? [];
  if (root === undefined || name === undefined) {
    throw new UsageError(`${text} names no backup; write s3://BUCKET/PREFIX/NAME`);
  }
  const target = await targetOf(root);
  tidyUp(beside);
  const path = join(beside, partialName('psyncd-download'));
  const remove = (): void => removePartial(path);
  const { signal, end } = untilInterrupted(remove);
  try {
    const most = lengthInHeader(await target.begin(name, HEADER_BYTES, { signal }));
    await target.get(name, path, { signal, ...(most !== null && { most }) }).catch((error: unknown) => {
      throw withoutDisk(`cannot write into ${beside}`, error);
    });
    return await use(path);
  } catch (error) {
    if (error instanceof Error) error.message = error.message.replaceAll(path, text);
    throw error;
  } finally {
    end();
    remove();
  }
}

/** A signal of the user ends the call in a target. @param remove what is to go before the process ends */
function untilInterrupted(remove: () => void): { readonly signal: AbortSignal; end(): void } {
  const controller = new AbortController();
  const interrupted = (): void => {
    remove();
    controller.abort(new Error('interrupted'));
    // Parts that were uploaded are removed within this time, or by a later prune.
    setTimeout(() => process.exit(INTERRUPTED), 1_000);
  };
  for (const name of SIGNALS) process.once(name, interrupted);
  return {
    signal: controller.signal,
    end: () => {
      for (const name of SIGNALS) process.off(name, interrupted);
      if (controller.signal.aborted) process.exit(INTERRUPTED);
    },
  };
}

/** A backup in a target, as JSON. */
interface ListedBackup {
  readonly name: string;
  readonly cluster: string | null;
  readonly runId: string;
  readonly offset: number;
  readonly time: string;
  readonly bytes: number;
  readonly modified: string;
}

/** From where to where an archive can be restored, as JSON. */
export interface ListedWindow {
  readonly cluster: string | null;
  readonly from: { readonly position: string; readonly time: string | null };
  readonly to: { readonly position: string; readonly time: string | null };
}

export interface Listed {
  /** The oldest first. */
  readonly backups: readonly ListedBackup[];
  /** null: they cannot be told. */
  readonly windows: readonly ListedWindow[] | null;
  /** Why the windows, or times in them, cannot be told; null: they can. */
  readonly unknown: string | null;
}

/** @returns the backups in a target, the oldest first */
export async function backupsOf(text: string): Promise<readonly NamedBackup[]> {
  return await backupsIn(await targetOf(text), '');
}

/** @returns the backups in a target, and what its archives can give back */
export async function listBackups(text: string): Promise<Listed> {
  const target = await targetOf(text);
  const backups = (await backupsIn(target, '')).map(
    ({ name, cluster, position, time, size, modified }): ListedBackup => ({
      name,
      cluster,
      ...position,
      time: new Date(time).toISOString(),
      bytes: size,
      modified: new Date(modified).toISOString(),
    }),
  );
  try {
    return { backups, ...(await listedWindows(target)) };
  } catch (error) {
    if (!(error instanceof TargetError || error instanceof BackupError)) throw error;
    return { backups, windows: null, unknown: error.message };
  }
}

async function listedWindows(target: BackupTarget): Promise<Pick<Listed, 'windows' | 'unknown'>> {
  tidyUp(tmpdir());
  const folder = join(tmpdir(), partialName('psyncd-list'));
  const { signal, end } = untilInterrupted(() => removePartial(folder));
  try {
    const ofBase: HistoryOfBase = async (base) => {
      await mkdir(folder, { mode: 0o700, recursive: true });
      return await historyOfBase(target, folder, signal)(base);
    };
    const { windows, untold, behind } = await windowsIn(target, ofBase, {
      signal,
      now: systemWorld.now(),
      backupLength: lengthInHeader,
    });
    const unknown = untold.map(
      ({ runId, why, since }) =>
        `${why}: nobody knows what ${runId} has grown out of, so times since ${shownTime(since)} cannot be restored by --to-time`,
    );
    for (const { name, modified } of behind) {
      unknown.push(
        `the target got ${name} only ${shownTime(modified)}, or its time cannot be right: if it was not copied there, the clock of the node was behind, and times from its name on are of before it`,
      );
    }
    return {
      windows: windows.length === 0 && untold.length > 0 ? null : windows.map(shownWindow),
      unknown: unknown.length === 0 ? null : unknown.join('; '),
    };
  } catch (error) {
    throw withoutDisk(`cannot write into ${tmpdir()}`, error);
  } finally {
    end();
    removePartial(folder);
  }
}

function shownWindow({ cluster, from, to }: Window): ListedWindow {
  return { cluster, from: shownMoment(from), to: shownMoment(to) };
}

function shownMoment({ position, at }: Moment): ListedWindow['from'] {
  return { position: formatPosition(position), time: at === null ? null : shownTime(at) };
}

/** @param at milliseconds since 1970 @returns null: no date can be that moment */
function shownTime(at: number): string | null {
  return Math.abs(at) <= MAX_TIME_MS ? new Date(at).toISOString() : null;
}

/** @returns why the clock may be wrong, for people */
function doubtOf(
  { shown }: BackupTarget,
  backups: readonly NamedBackup[],
  since: number,
  now: number,
): string {
  const newest = backups.reduce((latest, { modified }) => Math.max(latest, modified), 0);
  const gap = since < now ? ` after a time without backups that ended ${new Date(since).toISOString()}` : '';
  return (
    `the newest backup in ${shown} is of ${new Date(newest).toISOString()}${gap}, and the clock says ` +
    `${new Date(now).toISOString()}: if the clock is right, use --force`
  );
}

/**
 * Deletes the backups that no rule keeps, segments that nothing needs then, and parts of uploads that were killed a day ago.
 * @param isForced whether the clock counts as right, whatever the backups tell
 * @returns `uncleaned`: why these parts could not be looked for, which not every storage or key allows; null: they were
 * @throws CommandError if the clock may be wrong
 * @see prune
 */
export async function pruneBackups(
  text: string,
  rules: Parameters<typeof prune>[0]['rules'],
  { isDry, isForced }: { readonly isDry: boolean; readonly isForced: boolean },
): Promise<Pruned & { readonly kept: number; readonly uncleaned: string | null }> {
  const target = await targetOf(text);
  const now = systemWorld.now();
  const backups = await backupsIn(target, '');
  const archive = await archiveNeeds({
    target,
    folder: '',
    horizon: horizonOf(rules, now),
    own: null,
    backupLength: lengthInHeader,
    call: {},
  });
  const everything = { isDry: true, most: 1, mayDelete: () => true };
  const maxGapMs = Math.min(MAX_GAP_MS, MAX_GAP_SHARE * (now - horizonOf(rules, now)));
  const since = isDry || isForced ? null : doubtfulSince({ backups, maxGapMs, rules }, now);
  if (
    since !== null &&
    (outdated(backups, rules, now).length > 0 || (await archive.deleteSegments(everything)) > 0)
  ) {
    throw new CommandError(doubtOf(target, backups, since, now));
  }
  const pruned = await prune({
    target,
    backups,
    rules,
    now,
    isDry,
    backupLength: lengthInHeader,
    archive,
    mostSegments: Number.POSITIVE_INFINITY,
    mayDelete: () => true,
  });
  let uncleaned: string | null = null;
  if (!isDry) {
    const isOurs = (name: string): boolean =>
      parseArchived(name) !== null || namedBackup({ name, size: 0, modified: 0 }) !== null;
    await target.clean(now - LEFTOVER_MS, isOurs).catch((error: unknown) => {
      if (!(error instanceof TargetError)) throw error;
      uncleaned = error.message;
    });
  }
  return { ...pruned, kept: backups.length - pruned.deleted.length - pruned.foreign.length, uncleaned };
}
