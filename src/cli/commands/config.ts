/** `psyncd config check`: whether a node could start with its settings. */
import type { Command } from 'commander';
import { print } from '../output/standard-output.ts';
import { addSettings, type ServeOptions, settingsOf } from './serve.ts';

/** Adds the command. */
export function configCommand(psyncd: Command): void {
  const config = psyncd.command('config').description('look at the settings of a node');
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
