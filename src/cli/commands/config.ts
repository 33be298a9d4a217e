/** `psyncd config`: the settings of a running node, and whether a node could start with its settings. */
import type { Command } from 'commander';
import { UsageError } from '../../settings/parse.ts';
import { NotThere } from '../command-error.ts';
import { clientOf, nodeCommand, type Reach } from '../options/node.ts';
import { print, printJson } from '../output/standard-output.ts';
import { addSettings, type ServeOptions, settingsOf } from './serve.ts';

/** Adds the command. */
export function configCommand(psyncd: Command): void {
  const config = psyncd.command('config').description('look at the settings of a node, and change them');
  nodeCommand(config, 'get')
    .argument('[name]', 'one setting, as in the config file: backlogSize')
    .description('show the settings of a running node')
    .option('--json', 'as GET /v1/config has it')
    .action(async (name: string | undefined, { json, ...reach }: Reach & { json?: true }) => {
      const settings = Object.entries(await (await clientOf(reach)).config());
      const shown = name === undefined ? settings : settings.filter(([each]) => each === name);
      if (shown.length === 0) throw new NotThere(`there is no setting ${JSON.stringify(name)}`);
      if (json) printJson(Object.fromEntries(shown), 2);
      else if (name === undefined) print(...shown.map(([each, value]) => `${each}=${text(value)}`));
      else print(...shown.map(([, value]) => text(value)));
    });
  nodeCommand(config, 'set')
    .argument('<name=value...>', 'settings that may change while the node runs: backlogSize=2mb')
    .description('change settings of a running node, until it stops; all of them or none')
    .action(async (changes: readonly string[], options: Reach) => {
      const wanted = Object.fromEntries(changes.map(pair));
      const settings = Object.entries(await (await clientOf(options)).changeConfig(wanted));
      print(...settings.filter(([name]) => name in wanted).map(([name, value]) => `${name}=${text(value)}`));
    });
  addSettings(
    config
      .command('check')
      .description(
        'read the settings, and the files with tokens, keys and certificates that they name, as serve would; change nothing',
      ),
  ).action(async (options: ServeOptions) => {
    const { checkConfig } = await import('../tasks/check-config.ts');
    for (const warning of await checkConfig(...settingsOf(options))) {
      process.stderr.write(`psyncd: ${warning}\n`);
    }
    await print('The settings can be used.');
  });
}

/** @throws UsageError */
function pair(change: string): readonly [string, string] {
  const [, name, value] = /^([A-Za-z]+)=(.*)$/s.exec(change) ?? [];
  if (name !== undefined && value !== undefined) return [name, value];
  throw new UsageError(`expected NAME=VALUE, got ${JSON.stringify(change)}`);
}

function text(value: unknown): string {
  return typeof value === 'string' ? value : JSON.stringify(value);
}
