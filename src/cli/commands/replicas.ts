/** `psyncd digest`, `accept` and `sessions`: whether nodes are equal, and what became of the replicas. */
import type { Command } from 'commander';
import type { DigestAnswer } from '../../client/answers.ts';
import { clientOf, nodeCommand, type Reach } from '../options/node.ts';
import { fromAnswer, told } from '../output/answer.ts';
import { counted } from '../output/info.ts';
import { print, printJson } from '../output/standard-output.ts';

/** Adds the command. */
export function digestCommand(psyncd: Command): void {
  nodeCommand(psyncd, 'digest')
    .description('count and hash all entries; nodes at one position have equal digests')
    .option('--against <URL>', 'let the node compare itself with this one; exit code 1 if they differ')
    .option('--json', 'as GET /v1/digest has it')
    .action(async ({ against, json, ...reach }: Reach & { against?: string; json?: true }) => {
      const answer = await (await clientOf(reach)).digest({ against });
      if (json) printJson(answer);
      else print(...fromAnswer(() => digestLines(answer)));
      if (answer.equal === false) process.exitCode = 1;
    });
}

/** Adds the command. */
export function acceptCommand(psyncd: Command): void {
  nodeCommand(psyncd, 'accept')
    .description(
      'let an empty master of another history replace the data of this replica, which has refused it',
    )
    .action(async (options: Reach) => {
      const { position, upstream } = await (await clientOf(options)).acceptEmptyMaster();
      print(
        fromAnswer(
          () => told`${upstream?.url ?? null} is asked again; until then the data stays, at ${position}`,
        ),
      );
    });
}

/** Adds the command. */
export function sessionsCommand(psyncd: Command): void {
  const sessions = nodeCommand(psyncd, 'sessions')
    .description("show what happened to the replicas, or end a replica's connection")
    .option('--json', 'as GET /v1/replication/sessions has it')
    .action(async ({ json, ...reach }: Reach & { json?: true }) => {
      const answer = await (await clientOf(reach)).sessions();
      if (json) return printJson(answer, 2);
      const { sessionLines } = await import('../output/sessions.ts');
      const lines = fromAnswer(() => answer.sessions.flatMap(sessionLines));
      print(...(lines.length === 0 ? ['no replica has connected'] : lines));
    });
  nodeCommand(sessions, 'end')
    .argument('<id>', 'of an open session')
    .description('close the connection; the replica connects anew by itself')
    .action(async (id: string, options: Reach) => {
      await (await clientOf(options)).endSession(id);
      print('ended');
    });
}

function digestLines({ position, keys, digest, against, equal }: DigestAnswer): readonly string[] {
  const own = told`${digest}  ${counted(keys, 'entry', 'entries')}, at ${position}`;
  if (against === undefined) return [own];
  const other = told`${against.digest}  ${counted(against.keys, 'entry', 'entries')}, on ${against.url}`;
  if (typeof equal !== 'boolean') throw new TypeError('equal is neither true nor false');
  return [own, other, equal ? 'equal' : 'different'];
}
