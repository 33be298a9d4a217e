/** `psyncd info` and `psyncd check`: what a node says of its replication. */
import type { Command } from 'commander';
import { parsePartial } from '../../replication/snapshot-terms.ts';
import { UsageError } from '../../settings/parse.ts';
import { clientOf, nodeCommand, type Reach } from '../options/node.ts';
import { checkPosition } from '../options/values.ts';
import { fromAnswer } from '../output/answer.ts';
import { print, printJson } from '../output/standard-output.ts';

/** Form of the history hash that `GET /v1/replication` tells. */
const HISTORY_HASH = /^[0-9a-f]{16}$/;

/** Adds the command. */
export function infoCommand(psyncd: Command): void {
  const info = nodeCommand(psyncd, 'info')
    .description('show role, position, backlog, master and replicas of a node')
    .option('--json', 'as GET /v1/replication has it')
    .action(async ({ json, ...options }: Reach & { json?: boolean }) => {
      const { formatInfo } = await import('../output/info.ts');
      const answer = await (await clientOf(options)).replication();
      if (json) printJson(answer, 2);
      else print(...fromAnswer(() => formatInfo(answer)));
    });
  nodeCommand(info, 'reset')
    .description('set the counters to 0 that info shows; those of /metrics stay')
    .action(async (options: Reach) => {
      await (await clientOf(options)).resetCounters();
      print('the counters are 0');
    });
}

interface CheckFlags extends Reach {
  readonly hash?: string;
  readonly snapshot?: string;
  readonly json?: boolean;
}

/** Adds the command. */
export function checkCommand(psyncd: Command): void {
  nodeCommand(psyncd, 'check')
    .argument('<position>', '<run ID>:<offset>, what a replica has')
    .description(
      'tell what a replica at this position would get: the bytes that it lacks, or a snapshot, and why',
    )
    .option(
      '--hash <HASH>',
      'the history hash that the replica has there, 16 hex digits; without it, it tells none',
    )
    .option(
      '--snapshot <PART>',
      'the part of a snapshot that it keeps after a cut, as its own /v1/replication names it; without it, none',
    )
    .option('--json', 'as GET /v1/replication/check has it')
    .action(async (position: string, options: CheckFlags) => {
      const { hash = null, snapshot = null, json } = options;
      checkPosition('the position', position);
      if (hash !== null && !HISTORY_HASH.test(hash)) {
        throw new UsageError(`--hash: expected 16 hex digits, got ${JSON.stringify(hash)}`);
      }
      if (snapshot !== null && parsePartial(snapshot) === null) {
        throw new UsageError(
          `--snapshot: expected <run ID>:<offset>:<length>:<bytes>:<crc32>, got ${JSON.stringify(snapshot)}`,
        );
      }
      const { formatCheck } = await import('../output/info.ts');
      const answer = await (await clientOf(options)).checkPart(position, hash, snapshot);
      if (json) printJson(answer);
      else print(fromAnswer(() => formatCheck(answer)));
    });
}
