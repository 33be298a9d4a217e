/** `psyncd import` and `psyncd export`: many entries as NDJSON. */
import type { Command } from 'commander';
import { UsageError } from '../../settings/parse.ts';
import { clientOf, nodeCommand, type Reach, shownBy } from '../options/node.ts';
import { fromAnswer, told } from '../output/answer.ts';
import { printable } from '../output/printable.ts';
import { print, printJson } from '../output/standard-output.ts';

/** Adds the command. */
export function importCommand(psyncd: Command): void {
  nodeCommand(psyncd, 'import')
    .argument('<file>', 'NDJSON, one {"key": …, "value": …} a line; - reads standard input')
    .description('load many entries')
    .option('--json', 'the result as JSON')
    .action(async (file: string, { json, ...options }: Reach & { json?: boolean }) => {
      const [{ importFile }, { counted }] = await Promise.all([
        import('../tasks/import-file.ts'),
        import('../output/info.ts'),
      ]);
      const result = await importFile(file, options.node, await shownBy(options));
      if (json) printJson(result);
      else {
        print(
          fromAnswer(
            () => told`${counted(result.imported, 'entry', 'entries')} imported, at ${result.position}`,
          ),
        );
      }
    });
}

/** Adds the command. */
export function exportCommand(psyncd: Command): void {
  nodeCommand(psyncd, 'export')
    .argument('[file]', 'where to write; - or nothing: standard output', '-')
    .description('write all entries as NDJSON, as they are at one position, for import')
    .option('--prefix <P>', 'only keys that begin so', '')
    .option('--json', 'the result as JSON; not with standard output')
    .action(async (file: string, options: Reach & { prefix: string; json?: boolean }) => {
      if (options.json && file === '-') {
        throw new UsageError(
          '--json is about an export into a file; standard output has the entries, which are JSON',
        );
      }
      const [{ exportFile }, { counted }] = await Promise.all([
        import('../tasks/export-file.ts'),
        import('../output/info.ts'),
      ]);
      const result = await exportFile(file, await clientOf(options), options.prefix);
      const text = `${counted(result.exported, 'entry', 'entries')} exported, at ${result.position}`;
      if (options.json) printJson(result);
      else if (file !== '-') print(text);
      else process.stderr.write(`${printable(text)}\n`);
    });
}
