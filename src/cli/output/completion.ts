/** Scripts with which shells complete the commands and flags of psyncd. */
import type { Command } from 'commander';
import { RIGHTS } from '../../access/right.ts';
import { flagOf } from '../../settings/setting.ts';
import { SETTINGS } from '../../settings/table.ts';

/** A command as it is typed, and the words that may follow it. */
interface Place {
  /** The command with those above it, without `psyncd`: `config set`; empty: psyncd itself. */
  readonly path: string;
  readonly commands: readonly Command[];
  readonly flags: readonly Flag[];
  /** What its arguments may be, as far as that is known. */
  readonly values: readonly string[];
}

interface Flag {
  readonly long: string;
  readonly text: string;
  readonly takesValue: boolean;
  /** What the value may be; empty: anything. */
  readonly values: readonly string[];
}

/** Values of flags, by flag. */
const FLAG_VALUES: ReadonlyMap<string, readonly string[]> = new Map<string, readonly string[]>([
  ['--rights', RIGHTS],
  ...SETTINGS.flatMap(({ name, schema }) => {
    const { enum: words } = (schema ?? {}) as { readonly enum?: readonly string[] };
    return words === undefined ? [] : [[flagOf(name), words] as const];
  }),
]);

/** Arguments of commands, by command. */
const ARGUMENTS: ReadonlyMap<string, readonly string[]> = new Map([
  ['config get', SETTINGS.map(({ name }) => name)],
  ['config set', SETTINGS.filter(({ isLive }) => isLive).map(({ name }) => `${name}=`)],
  ['replicaof', ['no-one']],
]);

/** @param psyncd the whole command line */
export function completionScript(shell: 'bash' | 'zsh' | 'fish', psyncd: Command): string {
  const places = placesOf(psyncd, '');
  if (shell === 'fish') return fishScript(places);
  const bash = bashScript(places);
  // zsh runs the functions of bash.
  return shell === 'bash'
    ? bash
    : `autoload -U +X compinit && compinit\nautoload -U +X bashcompinit && bashcompinit\n${bash}`;
}

function placesOf(command: Command, path: string): readonly Place[] {
  const flags = command.options.flatMap(({ long, description, required, optional }) =>
    long === undefined || long === null
      ? []
      : [{ long, text: description, takesValue: required || optional, values: FLAG_VALUES.get(long) ?? [] }],
  );
  const place = {
    path,
    commands: command.commands,
    flags: [...flags, { long: '--help', text: 'show help', takesValue: false, values: [] }],
    values: [
      ...command.registeredArguments.flatMap(({ argChoices = [] }) => argChoices),
      ...(ARGUMENTS.get(path) ?? []),
    ],
  };
  const below = command.commands.flatMap((each) => placesOf(each, `${path} ${each.name()}`.trim()));
  return [place, ...below];
}

/** A value of a flag, and a word that is no command, is completed as a file. */
function bashScript(places: readonly Place[]): string {
  const steps = places.flatMap(({ path, commands }) =>
    commands.map((each) => {
      const name = each.name();
      return `      "${path}:${name}") path="${`${path} ${name}`.trim()}" ;;`;
    }),
  );
  const words = places.map(({ path, commands, flags, values }) => {
    const all = [...commands.map((each) => each.name()), ...values, ...flags.map(({ long }) => long)];
    return `    "${path}") words="${all.join(' ')}" ;;`;
  });
  const valued = places.flatMap(({ flags }) => flags.filter(({ takesValue }) => takesValue));
  const known = new Map(
    valued.flatMap(({ long, values }) => (values.length === 0 ? [] : [[long, values] as const])),
  );
  const choices = [...known].map(
    ([long, values]) =>
      `    ${long}) COMPREPLY=($(compgen -W "${values.join(' ')}" -- "$current")); return ;;`,
  );
  const others = new Set(valued.map(({ long }) => long).filter((long) => !known.has(long)));
  return [
    '_psyncd() {',
    `  local current="\${COMP_WORDS[COMP_CWORD]}" before="\${COMP_WORDS[COMP_CWORD-1]}" path="" words="" index`,
    '  for ((index = 1; index < COMP_CWORD; index += 1)); do',
    `    case "$path:\${COMP_WORDS[index]}" in`,
    ...steps,
    '    esac',
    '  done',
    '  COMPREPLY=()',
    '  case "$before" in',
    ...choices,
    `    ${[...others].join('|')}) return ;;`,
    '  esac',
    '  case "$path" in',
    ...words,
    '  esac',
    '  COMPREPLY=($(compgen -W "$words" -- "$current"))',
    '}',
    'complete -o default -F _psyncd psyncd',
    '',
  ].join('\n');
}

function fishScript(places: readonly Place[]): string {
  return places
    .flatMap(({ path, commands, flags, values }) => {
      const when = condition(path, commands);
      const below = commands.map(
        (each) => `complete -c psyncd ${when} -f -a ${each.name()} -d ${quoted(each.description())}`,
      );
      const options = flags.map(({ long, text, takesValue, values }) => {
        const words = values.length === 0 ? '' : ` -f -a ${quoted(values.join(' '))}`;
        const value = takesValue ? ` -r${words}` : '';
        return `complete -c psyncd ${when} -l ${long.slice(2)}${value} -d ${quoted(text)}`;
      });
      const own = values.length === 0 ? [] : [`complete -c psyncd ${when} -f -a ${quoted(values.join(' '))}`];
      return [...below, ...own, ...options];
    })
    .join('\n')
    .concat('\n');
}

/** Where fish offers the words: after the command, and after none below it. */
function condition(path: string, below: readonly Command[]): string {
  if (path === '') return "-n '__fish_use_subcommand'";
  const seen = path.split(' ').map((each) => `__fish_seen_subcommand_from ${each}`);
  const names = below.map((each) => each.name()).join(' ');
  const none = names === '' ? [] : [`not __fish_seen_subcommand_from ${names}`];
  return `-n '${[...seen, ...none].join('; and ')}'`;
}

/** @returns one word of fish */
function quoted(text: string): string {
  return `'${text.replace(/[\\']/g, '\\$&').replace(/\s+/g, ' ')}'`;
}
