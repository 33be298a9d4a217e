/** `psyncd serve`: runs a node with settings from flags, the environment and a file. */
import { type Command, Option } from 'commander';
import { flagOf, variableOf } from '../../settings/setting.ts';
import { SETTINGS } from '../../settings/table.ts';
import { joined } from '../options/repeatable.ts';
import { outliveOutput } from '../output/standard-output.ts';

/** Flags by the names of their settings; `config` is the config file. */
export type ServeOptions = Readonly<Record<string, string | true | undefined>>;

/** Adds the command. */
export function serveCommand(psyncd: Command): void {
  addSettings(psyncd.command('serve').description('run a node')).action(async (options: ServeOptions) => {
    const { serve } = await import('../tasks/serve.ts');
    // A node keeps serving when nothing reads its output.
    outliveOutput();
    process.stdout.on('error', () => undefined);
    return serve(...settingsOf(options));
  });
}

/** Adds a flag for each setting, and one for the config file. */
export function addSettings(command: Command): Command {
  command.addOption(
    new Option('--config <FILE>', 'settings as a JSON object, {"backlogSize": "8mb"}').env('PSYNCD_CONFIG'),
  );
  for (const { name, placeholder, initial, help, isList } of SETTINGS) {
    const flags = placeholder === null ? flagOf(name) : `${flagOf(name)} <${placeholder}>`;
    const text =
      initial === null || initial === '' || placeholder === null ? help : `${help} (default: ${initial})`;
    const option = new Option(flags, text);
    command.addOption(isList === true ? option.argParser(joined) : option);
  }
  return command.addHelpText(
    'after',
    `\nEach setting can also be an environment variable (${variableOf('backlogSize')}) or stand in the config file\n` +
      '("backlogSize"); a flag beats the environment, which beats the file.\n' +
      'Sizes take kb, mb, gb; times take ms, s, m, h, d.',
  );
}

/** @returns the flags, and the path of the config file or null, as `loadSettings` takes them */
export function settingsOf({
  config,
  ...given
}: ServeOptions): [flags: Readonly<Record<string, string>>, configFile: string | null] {
  const flags = Object.fromEntries(Object.entries(given).map(([name, value]) => [name, String(value)]));
  return [flags, typeof config === 'string' ? config : null];
}
