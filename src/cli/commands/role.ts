/** `psyncd replicaof` and `psyncd failover`: who is the master. */
import type { Command } from 'commander';
import { parseUpstream } from '../../replication/upstream.ts';
import { UsageError } from '../../settings/parse.ts';
import { clientOf, nodeCommand, type Reach } from '../options/node.ts';
import { timeFlag } from '../options/values.ts';
import { fromAnswer, told } from '../output/answer.ts';
import { print, printJson } from '../output/standard-output.ts';

/** Adds the command. */
export function replicaofCommand(psyncd: Command): void {
  nodeCommand(psyncd, 'replicaof')
    .alias('slaveof')
    .argument('<url>', 'the master, ws://HOST:PORT or wss://HOST:PORT, or no-one: be a master')
    .description('make a running node follow a master, or become one')
    .action(async (url: string, options: Reach) => {
      if (url !== 'no-one' && parseUpstream(url) === null) {
        throw new UsageError(
          `expected ws://HOST:PORT or wss://HOST:PORT, or no-one to be a master, got ${JSON.stringify(url)}`,
        );
      }
      const api = await clientOf(options);
      const { role, position, upstream } = url === 'no-one' ? await api.promote() : await api.replicaOf(url);
      print(
        fromAnswer(() =>
          role === 'master'
            ? told`master at ${position}`
            : told`replica of ${upstream?.url ?? null}, at ${position}; psyncd info tells how the link is`,
        ),
      );
    });
}

/** Adds the command. */
export function failoverCommand(psyncd: Command): void {
  nodeCommand(psyncd, 'failover')
    .argument(
      '[url]',
      'the replica, ws://HOST:PORT or wss://HOST:PORT; without it, the first one that has everything',
    )
    .description('hand the role of the master over to a replica; nothing is lost')
    .option('--timeout <TIME>', 'how long writes may be held, from 100ms to 1h', '10s')
    .option('--json', 'the result as JSON')
    .action(async (url: string | undefined, options: Reach & { timeout: string; json?: boolean }) => {
      const { formatFailover } = await import('../output/info.ts');
      const result = await (await clientOf(options)).failover(url, timeFlag('--timeout', options.timeout));
      if (options.json) printJson(result);
      else print(...fromAnswer(() => formatFailover(result)));
    });
}
