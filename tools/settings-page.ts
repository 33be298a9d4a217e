/** Makes docs/settings.md from the table of settings in src/settings/entries. */
import { UsageError } from '../src/settings/parse.ts';
import { flagOf, variableOf } from '../src/settings/setting.ts';
import { type NamedSetting, SETTINGS } from '../src/settings/table.ts';

export function settingsPage(): string {
  return `${INTRODUCTION}\n${SETTINGS.map(section).join('\n')}`;
}

const INTRODUCTION = `<!-- Made by tools/docs.ts from src/settings/entries: run \`npm run docs\` after a change there. -->

# Settings

Each setting has one name in three spellings: a flag of \`psyncd serve\`, an environment variable, and a member of the JSON
object in the file that \`--config\` names. A flag beats the environment, and the environment beats the file. In the file
you write a value as on the command line, \`{"backlogSize": "8mb", "port": 7801}\`. An empty environment variable counts as not
set. An unknown setting in the file, or an invalid value, stops the start with exit code 2 and one line that names its source.

A list, such as \`allowHost\`, is written with commas: \`--allow-host a.example,b.example\`, or the flag twice; in the file also as an array of
strings, \`{"allowHost": ["a.example", "b.example"]}\`.

A variable that begins with \`PSYNCD_\` and is neither a setting nor one of these is unknown: the log of the node (\`unknown-variables\`), \`psyncd config
check\` and the commands warn of it. The log (\`settings-without-effect\`) and \`psyncd config check\` also name settings that have no effect
without another one.

| other variable | meaning |
|---|---|
| \`PSYNCD_CONFIG\` | as \`--config\` |
| \`PSYNCD_NODE\`, \`PSYNCD_TOKEN\`, \`PSYNCD_TOKEN_FILE\`, \`PSYNCD_CA\`, \`PSYNCD_CERT\`, \`PSYNCD_KEY\` | for commands that talk to a node ([cli.md](cli.md)); a node does not read them |
| \`PSYNCD_SEED\`, \`PSYNCD_FAULTS\`, \`PSYNCD_TEST_…\` and the like | for the tests of psyncd |

A size is a number of bytes, or a number with \`kb\`, \`mb\` or \`gb\` (units of 1,024). A time is a number of milliseconds, or a
number with \`ms\`, \`s\`, \`m\` or \`h\`.

You can change **changeable** settings while the node runs: with \`PATCH /v1/config\` until the node stops, or with an edit of the
config file and SIGHUP. All other settings need a restart.
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

/** A value that no setting with bounds or fixed words accepts. */
const FAR_TOO_LARGE = '999999999999999';

/** @returns the allowed values, as the setting names them when it refuses a value; null if it accepts any text */
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
