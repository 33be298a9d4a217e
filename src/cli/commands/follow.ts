/** `psyncd follow`: shows the changes as they come. */
import { type Command, Option } from 'commander';
import { UsageError } from '../../settings/parse.ts';
import { checkNode, DEFAULT_NODE, type ShownFlags, shownBy, withShown } from '../options/node.ts';
import { gathered } from '../options/repeatable.ts';
import { checkPosition, momentFlag } from '../options/values.ts';
import { outliveOutput, SIGPIPE_CODE } from '../output/standard-output.ts';

interface FollowFlags extends ShownFlags {
  readonly node?: readonly string[];
  readonly prefix?: readonly string[];
  readonly position?: string;
  readonly fromTime?: string;
  readonly snapshot: boolean;
  readonly json?: true;
}

/** Adds the command. */
export function followCommand(psyncd: Command): void {
  const command = psyncd
    .command('follow')
    .description(
      'show the changes as they come, until Ctrl-C; once connected, it resumes after cuts by itself',
    )
    .addOption(new Option('--prefix <P>', 'only keys that begin so; may be repeated').argParser(gathered))
    .option(
      '--position <POS>',
      'go on from this <run ID>:<offset>, or now; without it a snapshot comes first',
    )
    .option(
      '--from-time <TIME>',
      'instead of a position: begin with the changes of this time, such as 2026-11-29T05:00:00Z; the first node must have them all',
    )
    .option('--no-snapshot', 'fail if the position cannot be continued from, instead of a snapshot')
    .option('--json', 'one event a line, as it was received (see docs/protocol.md)')
    .addOption(
      new Option('--node <URL>', `a node; may be repeated: others to go to (default: ${DEFAULT_NODE})`)
        .argParser(gathered)
        .env('PSYNCD_NODE'),
    );
  withShown(command)
    .addHelpText(
      'after',
      '\nA line has the offset that it brings you to; synced, continue and history have the whole position, its run ID\n' +
        'included: --position takes RUN-ID:OFFSET of the last line that you have seen, and standard error tells it when it\n' +
        'is stopped. Bookmarks are shown with --json only.\n' +
        'If no node can be reached at the start, the exit code is 1; later it tries again until it is stopped.',
    )
    .action(async (options: FollowFlags) => {
      const { node = [DEFAULT_NODE], prefix = [], position = null, snapshot, json = false } = options;
      for (const url of node) checkNode(url);
      const time = startTime(options);
      const { followChanges } = await import('../tasks/follow.ts');
      // The command ends by itself then, and says how to resume.
      outliveOutput();
      const isRead = await followChanges({
        nodes: node,
        shown: await shownBy(options),
        prefixes: prefix,
        position,
        time,
        snapshot,
        json,
      });
      const exit = (): void => process.exit(isRead ? 0 : SIGPIPE_CODE);
      // A connection to a vanished node would keep the process alive for a while.
      if (isRead) process.stdout.write('', () => process.stderr.write('', exit));
      else process.stderr.write('', exit);
    });
}

/**
 * @returns the time to begin with, in milliseconds since 1970; null: none is named
 * @throws UsageError for flags that are no start, or exclude each other
 */
function startTime({ position, fromTime, snapshot }: FollowFlags): number | null {
  if (position !== undefined && position !== 'now') checkPosition('--position', position, ', or now');
  if (position !== undefined && fromTime !== undefined)
    throw new UsageError('--from-time and --position exclude each other');
  if (!snapshot && position === undefined && fromTime === undefined)
    throw new UsageError('--no-snapshot needs --position or --from-time');
  return fromTime === undefined ? null : momentFlag('--from-time', fromTime);
}
