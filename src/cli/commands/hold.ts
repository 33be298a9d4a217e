/** `psyncd hold`: lets the writes of a node wait for a time. */
import type { Command } from 'commander';
import { between, parseTime, UsageError } from '../../settings/parse.ts';
import { clientOf, nodeCommand, type Reach } from '../options/node.ts';
import { fromAnswer, told } from '../output/answer.ts';
import { print } from '../output/standard-output.ts';

/** Adds the command. */
export function holdCommand(psyncd: Command): void {
  nodeCommand(psyncd, 'hold')
    .argument('<time>', 'how long, with a unit, up to 10m; 0 ends the hold')
    .description(
      'let writes wait for a time, while reads, replicas and followers go on; then the node carries them out, also those whose ' +
        'clients have gone meanwhile',
    )
    .action(async (time: string, options: Reach) => {
      const ms = heldFor(time);
      const client = await clientOf(options);
      const { remainingMs } = ms === 0 ? await client.releaseWrites() : await client.holdWrites(ms);
      print(
        fromAnswer(() =>
          remainingMs === 0
            ? 'writes go on'
            : told`writes wait for ${remainingMs} ms; psyncd hold 0 ends that`,
        ),
      );
    });
}

/** @returns milliseconds @throws UsageError */
function heldFor(text: string): number {
  if (text === '0') return 0;
  try {
    // A bare number could be seconds.
    if (/\d$/.test(text)) throw new UsageError('expected a time with its unit, such as 500ms, 10s or 2m');
    return between(parseTime, '1ms', '10m')(text);
  } catch (error) {
    if (!(error instanceof UsageError)) throw error;
    throw new UsageError(`${error.message}, got ${JSON.stringify(text)}`);
  }
}
