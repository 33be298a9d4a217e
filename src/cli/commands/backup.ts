/** `psyncd backup` with `list` and `prune`, `verify` and `restore`: a whole node in one file. */
import { type Command, Option } from 'commander';
import type { Goal } from '../../archive/restoring/route.ts';
import { lowerProcessPriority } from '../../runtime/background.ts';
import { systemWorld } from '../../runtime/system-world.ts';
import { version } from '../../runtime/version.ts';
import { UsageError } from '../../settings/parse.ts';
import { nodeCommand, type Reach } from '../options/node.ts';
import { keepFlag, momentFlag, positionFlag } from '../options/values.ts';
import { counted } from '../output/info.ts';
import { printable } from '../output/printable.ts';
import { print, printJson } from '../output/standard-output.ts';
import type { Outcome, Wanted } from '../tasks/restore.ts';

/** umask of the commands that write: files have mode 0600, as those of a node. */
const OWNER_ONLY = 0o077;
/** Time after now from which `--to-time` may be a mistake, in milliseconds; clocks differ a little. */
const AHEAD_MS = 60_000;

interface BackupFlags extends Reach {
  readonly data?: string;
  readonly force?: true;
  readonly json?: true;
}

/** Adds the command. */
export function backupCommand(psyncd: Command): void {
  const backup = nodeCommand(psyncd, 'backup')
    .argument(
      '<target>',
      'a new file, or a folder or s3://BUCKET/PREFIX, in which the file gets the name of the position and the time',
    )
    .description('back up a node: all entries as they are at one position, in one file')
    .option(
      '--data <PATH>',
      'back up the data folder of a node that does not run, or a keyspace file that was put aside, instead of a running node',
    )
    .option('--force', 'replace a file that is there')
    .option('--json', 'the manifest of the backup as JSON')
    .action(async (target: string, { data, force, json, ...reach }: BackupFlags, command: Command) => {
      if (data !== undefined && command.getOptionValueSource('node') === 'cli') {
        throw new UsageError('--data and --node exclude each other');
      }
      lowerProcessPriority();
      process.umask(OWNER_ONLY);
      const { backUp, backupLine, makerOf } = await import('../tasks/back-up.ts');
      const { backUpToTarget, isUrl, withoutFileUrl } = await import('../tasks/targets.ts');
      const make = makerOf(data ?? null, reach, version());
      const local = withoutFileUrl(target);
      const { file, manifest } = isUrl(local)
        ? await backUpToTarget(local, make)
        : await backUp(local, force === true, make);
      const { manifestJson } = await import('../../store/backup/manifest.ts');
      if (json) printJson({ file, ...manifestJson(manifest) });
      else print(`${backupLine(manifest)}: ${file}`);
    });
  addList(backup);
  addPrune(backup);
}

function addList(backup: Command): void {
  backup
    .command('list')
    .argument('<target>', 'a folder, or s3://BUCKET/PREFIX')
    .description(
      'list the backups in a target, the oldest first, and from where to where an archive there can be restored',
    )
    .option('--json', 'the list as JSON')
    .action(async (target: string, { json }: { readonly json?: true }) => {
      const { listBackups } = await import('../tasks/targets.ts');
      const { backups, windows, unknown } = await listBackups(target);
      if (unknown !== null)
        process.stderr.write(`psyncd: what an archive gives back: ${printable(unknown)}\n`);
      if (json) {
        printJson({ backups, windows });
        return;
      }
      for (const { name, bytes, time } of backups) print(`${time}  ${String(bytes).padStart(12)}  ${name}`);
      for (const { cluster, from, to } of windows ?? []) {
        const of = cluster === null ? '' : `  ${cluster}`;
        print(
          `${from.time ?? '?'} to ${to.time ?? '?'} can be restored: ${from.position} to ${to.position}${of}`,
        );
      }
    });
}

interface PruneFlags {
  readonly keep: string;
  readonly dryRun?: true;
  readonly force?: true;
  readonly json?: true;
}

function addPrune(backup: Command): void {
  backup
    .command('prune')
    .argument('<target>', 'a folder, or s3://BUCKET/PREFIX')
    .description(
      'delete the backups that no rule keeps, and segments of an archive that nothing needs; what psyncd has not made stays',
    )
    .requiredOption(
      '--keep <RULES>',
      'AGE=PERIOD: of the backups younger than AGE one for each PERIOD, such as 24h=1h,30d=1d; the newest one stays always',
    )
    .option('--dry-run', 'say what would be deleted')
    .option(
      '--force',
      'delete also if two days without a backup say that the clock may be wrong; it is right',
    )
    .option('--json', 'the result as JSON')
    .action(async (target: string, { keep, dryRun, force, json }: PruneFlags) => {
      const rules = keepFlag('--keep', keep);
      const { pruneBackups } = await import('../tasks/targets.ts');
      const { deleted, foreign, kept, segments, uncleaned } = await pruneBackups(target, rules, {
        isDry: dryRun === true,
        isForced: force === true,
      });
      const names = { deleted: deleted.map(({ name }) => name), foreign: foreign.map(({ name }) => name) };
      if (uncleaned !== null) process.stderr.write(`psyncd: parts of old uploads: ${printable(uncleaned)}\n`);
      if (json) {
        printJson({ dryRun: dryRun === true, ...names, kept, segments });
        return;
      }
      const does = dryRun ? 'would delete' : 'deleted';
      for (const name of names.deleted) print(`${does} ${name}`);
      for (const name of names.foreign) print(`${name} is no backup of psyncd and stays`);
      if (segments > 0)
        print(`${does} ${counted(segments, 'segment', 'segments')} that end before a kept backup`);
      print(`${does} ${names.deleted.length}, kept ${kept}`);
    });
}

/** Adds the command. */
export function verifyCommand(psyncd: Command): void {
  psyncd
    .command('verify')
    .argument(
      '<path>',
      'a backup, also as s3://BUCKET/PREFIX/NAME, or the data folder of a node that does not run; with --newest a target of backups',
    )
    .description('check a backup or a data folder; exit code 0: whole, 1: damaged, 2: it cannot be told')
    .option('--newest', 'check the newest backup of a target')
    .option('--json', 'the result as JSON')
    .action(async (path: string, { json, newest }: { readonly json?: true; readonly newest?: true }) => {
      lowerProcessPriority();
      process.umask(OWNER_ONLY);
      const { verify, verifyNewest } = await import('../tasks/verify.ts');
      const { code, line, result } = await (newest ? verifyNewest : verify)(path, version());
      if (json) printJson(result);
      else if (code === 0) print(line);
      if (code === 0) return;
      const { NotWhole } = await import('../command-error.ts');
      throw new NotWhole(json ? null : line, code);
    });
}

interface RestoreFlags {
  readonly toTime?: string;
  readonly toPosition?: string;
  readonly cluster?: string;
  readonly force?: true;
  readonly dryRun?: true;
  readonly json?: true;
  readonly expirePolicy: 'keep' | 'drop-expired';
}

/** Adds the command. */
export function restoreCommand(psyncd: Command): void {
  psyncd
    .command('restore')
    .argument(
      '<source>',
      'a backup, also as s3://BUCKET/PREFIX/NAME; with --to-time or --to-position the target of an archive',
    )
    .argument('<dir>', 'data folder for the node: a new or an empty one')
    .description('make a data folder of a backup; the node that starts there has a new run ID')
    .option(
      '--to-time <TIME>',
      'what an archive has of this time, such as 2026-11-29T05:00:00Z or, with a fraction, 2026-11-29T05:00:00.250Z; a whole second is its begin',
    )
    .option('--to-position <POSITION>', 'what an archive has of this position, <run ID>:<offset>')
    .option('--cluster <NAME>', 'which archive of the target, if it has several')
    .option('--force', 'move the files of the node in the folder aside, into replaced-… inside of it')
    .option('--dry-run', 'check everything and say what would be done')
    .addOption(
      new Option('--expire-policy <POLICY>', 'what to do with entries that have expired since')
        .choices(['keep', 'drop-expired'])
        .default('keep'),
    )
    .option('--json', 'the result as JSON')
    .action(async (source: string, dir: string, flags: RestoreFlags) => {
      const goal = goalOf(flags);
      process.umask(OWNER_ONLY);
      const wanted = {
        isForced: flags.force === true,
        isDry: flags.dryRun === true,
        dropsExpired: flags.expirePolicy === 'drop-expired',
      };
      const { lines, result } = await restored(source, dir, goal, flags.cluster ?? null, wanted);
      if (flags.json) printJson(result);
      else print(...lines);
    });
}

async function restored(
  source: string,
  dir: string,
  goal: Goal | null,
  cluster: string | null,
  wanted: Wanted,
): Promise<Outcome> {
  if (goal === null) {
    const { restoreBackup } = await import('../tasks/restore.ts');
    return restoreBackup(source, dir, wanted);
  }
  const { restoreTo } = await import('../tasks/restore-to.ts');
  return restoreTo(source, dir, goal, cluster, wanted);
}

/** Warns of a time to come, which may be a mistake, and gives all that the archive has. */
function timeGoal(at: number, now: number): Goal {
  if (at > now + AHEAD_MS)
    process.stderr.write(
      'psyncd: the time of --to-time is to come: the restore takes all that the archive has\n',
    );
  return { kind: 'time', at, now };
}

/** @returns what of an archive is wanted; null: the source is a backup */
function goalOf({ toTime, toPosition, cluster }: RestoreFlags): Goal | null {
  if (toTime !== undefined && toPosition !== undefined) {
    throw new UsageError('--to-time and --to-position exclude each other');
  }
  if (toTime !== undefined) return timeGoal(momentFlag('--to-time', toTime), systemWorld.now());
  if (toPosition !== undefined)
    return { kind: 'position', position: positionFlag('--to-position', toPosition) };
  if (cluster !== undefined) throw new UsageError('--cluster is for --to-time and --to-position');
  return null;
}
