/** `psyncd diff`: which keys were added, changed and removed between two positions. */
import type { Command } from 'commander';
import type { DiffAnswer } from '../../client/answers.ts';
import { compareKeys } from '../../client/collection/key-order.ts';
import { CommandError } from '../command-error.ts';
import { clientOf, nodeCommand, type Reach } from '../options/node.ts';
import { checkPosition, momentOrPosition } from '../options/values.ts';
import { fromAnswer, told } from '../output/answer.ts';
import { printable } from '../output/printable.ts';
import { printJson } from '../output/standard-output.ts';

interface DiffFlags extends Reach {
  readonly prefix?: string;
  readonly json?: true;
}

/** Adds the command. */
export function diffCommand(psyncd: Command): void {
  nodeCommand(psyncd, 'diff')
    .argument(
      '<from>',
      '<run ID>:<offset>, such as the position of a backup, or a time such as 2026-11-29T05:00:00Z',
    )
    .argument('[to]', '<run ID>:<offset>; without it, the present position of the node')
    .description(
      'list the keys that were added, changed and removed between two positions, or since a time, one a line',
    )
    .option('--prefix <P>', 'only keys that begin so')
    .option('--json', 'one JSON object a line: key, change, version')
    .addHelpText(
      'after',
      '\nA line has the change, a tab and the key. Standard error tells up to which position the answer is. added-or-changed and\n' +
        'removed-or-passing: the stream that the node still has does not say whether the key was there at <from>.',
    )
    .action(async (from: string, to: string | undefined, { prefix, json, ...reach }: DiffFlags) => {
      const since = momentOrPosition('from', from);
      if (to !== undefined) checkPosition('to', to);
      const api = await clientOf(reach);
      const begin =
        since === null ? from : await api.positionSince(since, prefix === undefined ? [] : [prefix]);
      let until = to;
      for (let after: string | null | undefined; after !== null; ) {
        const page = await api.diff({ from: begin, to: until, prefix, after });
        const lines = fromAnswer(() =>
          page.changes.map(({ change, key }) => told`${change}\t${printable(key)}`),
        );
        for (const [index, line] of lines.entries()) {
          if (json) printJson(page.changes[index]);
          else process.stdout.write(`${line}\n`);
        }
        const { next } = page;
        // A page that leads back could keep the command printing for ever.
        if (next !== null && !(typeof next === 'string' && compareKeys(next, after ?? '') > 0)) {
          throw new CommandError('the node names a next page that does not come after the last one');
        }
        if (after === undefined) process.stderr.write(`${fromAnswer(() => standing(page))}\n`);
        until = page.to;
        after = next;
      }
    });
}

/** @returns what the answer is about, for people */
function standing({ from, to, flushed }: DiffAnswer): string {
  const where = told`psyncd: since ${from}, until ${to}`;
  if (flushed === null) return printable(where);
  return printable(
    told`${where}; all entries were deleted at ${flushed}: what was there before is removed, named here or not`,
  );
}
