/** `psyncd restore`: makes a data folder of a backup. */
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { formatPosition } from '../../replication/position.ts';
import { systemWorld } from '../../runtime/system-world.ts';
import { version } from '../../runtime/version.ts';
import { withoutDisk } from '../../store/backup/backup-error.ts';
import { type Manifest, manifestJson } from '../../store/backup/manifest.ts';
import { type Restored, restore } from '../../store/restore/restore.ts';
import { CommandError } from '../command-error.ts';
import { counted, sized } from '../output/info.ts';
import { reporter } from '../output/progress.ts';
import { backupLine } from './back-up.ts';
import { kindOf } from './kind-of.ts';
import { isUrl, withDownloaded, withoutFileUrl } from './targets.ts';

export interface Wanted {
  readonly isForced: boolean;
  readonly isDry: boolean;
  readonly dropsExpired: boolean;
  /** Whether the node needs tokens, whatever the backup says; default: the backup says it. */
  readonly isGuarded?: boolean;
}

/** Lines for people, and the same as JSON. */
export interface Outcome {
  readonly lines: readonly string[];
  readonly result: Readonly<Record<string, unknown>>;
}

/**
 * @returns lines for people, and the same as JSON
 * @throws CommandError, CheckError, BackupError or StartError, one line
 */
export async function restoreBackup(source: string, dir: string, wanted: Wanted): Promise<Outcome> {
  const local = withoutFileUrl(source);
  if (!isUrl(local)) {
    if (kindOf(local) === 'folder') {
      throw new CommandError(
        `${source} is a folder: name a backup in it (psyncd backup list shows them), or give --to-time or --to-position`,
      );
    }
    return restoreFile(resolve(local), source, dir, wanted);
  }
  // The file is copied into the folder in the end, so the disk of the folder has to have the room anyway.
  const parent = dirname(resolve(dir));
  const beside = kindOf(parent) === 'folder' ? parent : tmpdir();
  return withDownloaded(source, beside, (file) => restoreFile(file, source, dir, wanted));
}

/** @param file path of a backup @param shown what it is called in messages */
export async function restoreFile(
  file: string,
  shown: string,
  dir: string,
  wanted: Wanted,
): Promise<Outcome> {
  const folder = resolve(dir);
  const { report, stop } = reporter('checking');
  const done = await restore(file, folder, {
    ...wanted,
    version: version(),
    runId: systemWorld.newRunId(),
    now: systemWorld.now(),
    report,
  })
    .catch((error: unknown) => {
      throw withoutDisk(`cannot restore ${shown} into ${dir}`, error);
    })
    .finally(stop);
  return { lines: linesOf(folder, wanted, done), result: resultOf(folder, wanted, done) };
}

function linesOf(folder: string, { isDry }: Wanted, done: Restored): readonly string[] {
  const { guarded, manifest, position, dropped, aside, tokens, needsTokens, earlier } = done;
  const would = isDry ? 'would be ' : '';
  const lines = [
    `${would}restored: ${backupLine(manifest)}: ${folder}`,
    isDry
      ? 'the node would get a new run ID; nothing was changed'
      : `the node is at ${formatPosition(position)}; ${whoBeginsAnew(manifest)} get everything anew`,
  ];
  if (dropped !== null) lines.push(`${counted(dropped, 'entry', 'entries')} had expired and went`);
  if (aside !== null) lines.push(`the files of before ${isDry ? 'would be' : 'are'} in ${aside}`);
  if (tokens !== null) {
    lines.push(
      `a backup has no tokens: those of before ${isDry ? 'would be' : 'are'} in ${tokens}; copy it back to use them`,
    );
  } else lines.push('a backup has neither tokens nor settings');
  if (needsTokens) {
    const which = guarded ? 'that was backed up' : 'of before';
    lines.push(
      `the node does not start without tokens, because the one ${which} had some: put a copy of its list into ${join(folder, 'tokens.json')}, ` +
        'or make tokens with psyncd token create',
    );
  }
  if (earlier.folders > 0) {
    const which = `${counted(earlier.folders, 'folder', 'folders')} of earlier restores, ${sized(earlier.bytes)}`;
    lines.push(`there is more in ${folder}/replaced-*: ${which}; remove what you do not need`);
  }
  return lines;
}

function whoBeginsAnew({ position, hash }: Manifest): string {
  if (hash === null) return 'the backup has no history hash, so all replicas and followers';
  return `replicas and followers that are past ${position.offset}`;
}

function resultOf(folder: string, { isDry }: Wanted, done: Restored): Readonly<Record<string, unknown>> {
  const { manifest, position, dropped, aside, tokens, needsTokens, earlier } = done;
  return {
    folder,
    dryRun: isDry,
    position: isDry ? null : formatPosition(position),
    dropped,
    replaced: aside,
    tokens,
    needsTokens,
    earlier,
    backup: manifestJson(manifest),
  };
}
