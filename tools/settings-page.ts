/** docs/settings.md, made from the table of settings in src/settings/table.ts. */
import { UsageError } from '../src/settings/parse.ts';
import { flagOf, variableOf } from '../src/settings/setting.ts';
import { type NamedSetting, SETTINGS } from '../src/settings/table.ts';

export function settingsPage(): string {
  return `${INTRODUCTION}\n${SETTINGS.map(section).join('\n')}`;
}

const INTRODUCTION = `<!-- Made by tools/docs.ts from src/settings/table.ts: run \`npm run docs\` after a change there. -->

# Settings

Each setting has one name in three spellings: a flag of \`psyncd serve\`, an environment variable, and a member of the JSON
object in the file that \`--config\` names. A flag beats the environment, and the environment beats the file. In the file
a value is written as on the command line, \`{"backlogSize": "8mb", "port": 7801}\`; an environment variable that is empty
counts as not set. A setting that is unknown in the file, or a value that cannot be used, stops the start with exit code 2 and one
line that names its source.

A size is a number of bytes, or a number with \`kb\`, \`mb\` or \`gb\` (units of 1,024). A time is a number of milliseconds, or a
number with \`ms\`, \`s\`, \`m\` or \`h\`.

**Changeable** settings can be changed while the node runs: by \`PATCH /v1/config\` until the node stops, or by an edit of the
config file and SIGHUP. All others need a restart.
`;

function section(setting: NamedSetting): string {
  const { name, placeholder, initial, help, isList, isLive } = setting;
  const flag = placeholder === null ? flagOf(name) : `${flagOf(name)} ${placeholder}`;
  const rows: readonly (readonly [string, string | null])[] = [
    ['flag', `\`${flag}\`${isList === true ? ', may be repeated' : ''}`],
    ['environment', `\`${variableOf(name)}\``],
    ['file', `\`"${name}"\``],
    ['default', initial === null || initial === '' ? 'none' : `\`${initial}\``],
    ['allowed', allowed(setting)],
    ['changeable', isLive ? 'yes' : 'no'],
  ];
  return [
    `## ${flagOf(name).slice(2)}`,
    '',
    `${help.slice(0, 1).toUpperCase()}${help.slice(1)}.`,
    '',
    '| | |',
    '|---|---|',
    ...rows.flatMap(([what, text]) =>
      text === null ? [] : [`| ${what} | ${text.replaceAll('|', '\\|')} |`],
    ),
    '',
  ].join('\n');
}

/** Larger than every bound, and none of the words that a setting may take. */
const FAR_TOO_LARGE = '999999999999999';

/** @returns what the setting says is allowed when it refuses a value; null if it takes any text */
function allowed({ placeholder, parse }: NamedSetting): string | null {
  if (placeholder === null) return '`true`, `false`';
  try {
    parse(FAR_TOO_LARGE);
    return null;
  } catch (error) {
    if (!(error instanceof UsageError)) throw error;
    return error.message.replace(/^(allowed are|expected) /, '').replace(/ \(a number without .*?\)/, '');
  }
}
