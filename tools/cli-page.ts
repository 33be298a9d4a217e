/** Makes docs/cli.md from the commands in src/cli. */
import type { Command } from 'commander';
import { program } from '../src/cli/program.ts';

export function cliPage(): string {
  // A group of commands has its members beside it.
  const commands = program()
    .commands.flatMap((command) => [command, ...command.commands])
    .map(section);
  return `${INTRODUCTION}\n${commands.join('\n')}`;
}

const INTRODUCTION = `<!-- Made by tools/docs.ts from the commands in src/cli: run \`npm run docs\` after a change there. -->

# The command line

In a checkout \`npm run -s psyncd -- COMMAND\` runs a command, and \`npm start -- FLAGS\` runs \`psyncd serve FLAGS\`. With an
installed package the command is \`psyncd COMMAND\` or \`npx psyncd COMMAND\`.

Commands that talk to a node take \`--node URL\`, or the environment variable \`PSYNCD_NODE\`; the default is
\`http://127.0.0.1:7796\`. On a node with tokens they need \`--token-file FILE\`, the token itself in \`PSYNCD_TOKEN\`,
or its file in \`PSYNCD_TOKEN_FILE\`. \`PSYNCD_CA\`, \`PSYNCD_CERT\` and \`PSYNCD_KEY\` stand for \`--ca\`, \`--cert\` and \`--key\`. A command warns of
other variables that begin with \`PSYNCD_\` and are no [setting](settings.md). Every command has \`--help\`.

| exit code | meaning |
|---|---|
| 0 | the command succeeded; \`serve\` stopped because it was asked to |
| 1 | the command failed; one line on standard error says why |
| 2 | wrong usage |
| 3 | what the command names is not there: a key, a token, a session, a setting |
| 141 | the reader of the output has ended, as in \`psyncd follow \\| head\` |
`;

/** Name of the command after `psyncd`. */
function nameOf(command: Command): string {
  const group =
    command.parent?.parent === null || command.parent?.parent === undefined
      ? ''
      : `${command.parent.name()} `;
  return group + command.name();
}

function section(command: Command): string {
  const { usage, description, options, args, aliases } = {
    usage: command.usage().replaceAll('[options] ', '').replaceAll('[options]', ''),
    description: command.description(),
    options: command.options,
    args: command.registeredArguments,
    aliases: command.aliases(),
  };
  const lines = [
    `## ${nameOf(command)}`,
    '',
    `\`psyncd ${`${nameOf(command)} ${usage}`.trim()}\` — ${description}.`,
  ];
  if (aliases.length > 0) lines.push('', `Another name of the command is \`${aliases.join('`, `')}\`.`);
  const told = args.filter(({ description }) => description !== '');
  const own = command.name() === 'serve' ? options.filter(({ long }) => long === '--config') : options;
  if (told.length + own.length > 0) {
    lines.push('', '| argument or flag | meaning |', '|---|---|');
    for (const arg of told) lines.push(row(arg.name(), arg.description));
    for (const option of own) {
      const initial = typeof option.defaultValue === 'string' && option.defaultValue !== '' && !option.negate;
      lines.push(
        row(
          option.flags,
          option.description +
            (option.envVar === undefined ? '' : `; or \`${option.envVar}\``) +
            (initial ? ` (default: \`${option.defaultValue}\`)` : ''),
        ),
      );
    }
  }
  if (command.name() === 'serve') {
    lines.push(
      '',
      'Every setting is a flag too: [settings.md](settings.md) lists them with their defaults and bounds.',
    );
  }
  return `${lines.join('\n')}\n`;
}

function row(name: string, text: string): string {
  const escaped = (words: string): string => words.replaceAll('|', '\\|');
  return `| \`${escaped(name)}\` | ${escaped(text).replaceAll('<', '\\<')} |`;
}
