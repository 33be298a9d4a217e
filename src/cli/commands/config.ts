/** `psyncd config`: the settings of a running node, and whether a node could start with its settings. */
import type { Command } from 'commander';
import { ApiError } from '../../client/api-error.ts';
import { UsageError } from '../../settings/parse.ts';
import { SETTINGS } from '../../settings/table.ts';
import { NotThere } from '../command-error.ts';
import { clientOf, nodeCommand, type Reach } from '../options/node.ts';
import { printable } from '../output/printable.ts';
import { settingNamed, settingText } from '../output/setting-text.ts';
import { print, printJson } from '../output/standard-output.ts';
import { addSettings, type ServeOptions, settingsOf } from './serve.ts';

/** Adds the command. */
export function configCommand(psyncd: Command): void {
  const config = psyncd.command('config').description('look at the settings of a node, and change them');
  nodeCommand(config, 'get')
    .argument('[name]', 'one setting: backlogSize, backlog-size or PSYNCD_BACKLOG_SIZE')
    .description('show the settings of a running node')
    .option('--json', 'as GET /v1/config has it')
    .action(async (name: string | undefined, { json, ...reach }: Reach & { json?: true }) => {
      const settings = Object.entries(await (await clientOf(reach)).config());
      const wanted = name === undefined ? null : settingNamed(name);
      const shown = wanted === null ? settings : settings.filter(([each]) => each === wanted);
      if (shown.length === 0) throw new NotThere(`there is no setting ${JSON.stringify(name)}`);
      if (json) printJson(Object.fromEntries(shown), 2);
      else if (name === undefined)
        print(...shown.map(([each, value]) => `${each}=${settingText(each, value)}`));
      else print(...shown.map(([each, value]) => settingText(each, value)));
    });
  nodeCommand(config, 'set')
    .argument('<name=value...>', 'settings that may change while the node runs: backlogSize=2mb')
    .description('change settings of a running node, until it stops; all of them or none')
    .action(async (changes: readonly string[], options: Reach) => {
      const wanted = Object.fromEntries(changes.map(pair));
      const client = await clientOf(options);
      const settings = await client.changeConfig(wanted).catch(async (error: unknown) => {
        if (error instanceof ApiError && error.code === 'BAD_REQUEST')
          mustBeThere(Object.keys(wanted), await client.config());
        throw error;
      });
      print(
        ...Object.entries(settings)
          .filter(([name]) => Object.hasOwn(wanted, name))
          .map(([name, value]) => `${name}=${settingText(name, value)}`),
      );
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
      process.stderr.write(`psyncd: ${printable(warning)}\n`);
    }
    await print('The settings can be used.');
  });
}

/** @throws UsageError */
function pair(change: string): readonly [string, string] {
  const [, name, value] = /^([\w-]+)=(.*)$/s.exec(change) ?? [];
  if (name !== undefined && value !== undefined) return [settingNamed(name), value];
  throw new UsageError(`expected NAME=VALUE, got ${JSON.stringify(change)}`);
}

/** @throws NotThere if neither the node nor this program has a setting of that name */
function mustBeThere(names: readonly string[], config: object): void {
  const known = new Set([...Object.keys(config), ...SETTINGS.map(({ name }) => name)]);
  const missing = names.find((name) => !known.has(name));
  if (missing !== undefined) throw new NotThere(`there is no setting ${JSON.stringify(missing)}`);
}
