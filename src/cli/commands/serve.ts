/** `psyncd serve`: runs a node with settings from flags, the environment and a file. */
import { type Command, Option } from 'commander';
import { flagOf, variableOf } from '../../settings/setting.ts';
import { SETTINGS } from '../../settings/table.ts';
import { joined } from '../options/repeatable.ts';
import { outliveOutput } from '../output/standard-output.ts';

/** Adds the command, with a flag for each setting. */
export function serveCommand(psyncd: Command): void {
  const serveIt = psyncd
    .command('serve')
    .description('run a node')
    .option('--config <FILE>', 'settings as a JSON object, {"backlogSize": "8mb"}');
  for (const { name, placeholder, initial, help, isList } of SETTINGS) {
    const flags = placeholder === null ? flagOf(name) : `${flagOf(name)} <${placeholder}>`;
    const text =
      initial === null || initial === '' || placeholder === null ? help : `${help} (default: ${initial})`;
    const option = new Option(flags, text);
    serveIt.addOption(isList === true ? option.argParser(joined) : option);
  }
  serveIt.addHelpText(
    'after',
    `\nEach setting can also be an environment variable (${variableOf('backlogSize')}) or stand in the config file\n` +
      '("backlogSize"); a flag beats the environment, which beats the file.\n' +
      'Sizes take kb, mb, gb; times take ms, s, m, h.',
  );
  serveIt.action(async (options: Readonly<Record<string, string | true | undefined>>) => {
    const { config, ...given } = options;
    const flags = Object.fromEntries(Object.entries(given).map(([name, value]) => [name, String(value)]));
    const { serve } = await import('../tasks/serve.ts');
    // A node keeps serving when nothing reads its output.
    outliveOutput();
    process.stdout.on('error', () => undefined);
    return serve(flags, typeof config === 'string' ? config : null);
  });
}
