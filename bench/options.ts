/** The command line of `npm run bench`. */
import { Command, InvalidArgumentError } from 'commander';

export interface Options {
  /** Studies to run, by name. */
  readonly names: readonly string[];
  /** Number of rounds; undefined: each study has its own. */
  readonly rounds?: number;
  /** Seconds for which one server is under load in one round. */
  readonly seconds: number;
  /** Number of entries in the large keyspaces; a million by default. */
  readonly entries: number;
  /** Number of operations of `sustained` and `memory`. */
  readonly operations: number;
  /** Number of entries in the second, larger keyspace of `memory`; 0: there is none. */
  readonly manyEntries: number;
  /** Minutes for which `soak` runs. */
  readonly minutes: number;
}

const FULL = 10_000_000;
const SHORT_OPERATIONS = 1_000_000;

/** Reads the command line. For `--help` or a wrong command line it prints a text and ends the process. */
export function parseOptions(
  argv: readonly string[],
  known: readonly string[],
  byDefault: readonly string[],
): Options {
  const command = new Command('npm run bench --')
    .description(
      'Measures psyncd beside what limits it, in the same run. bench/README.md says how to read it.',
    )
    .argument('[names...]', `what to measure: ${known.join(', ')} (default: ${byDefault.join(', ')})`)
    .option('--full', 'ten million operations, and ten million entries: takes much longer')
    .option('--rounds <N>', 'rounds after the warm-up (default: 1 to 5)', positive)
    .option('--minutes <M>', 'how long soak lasts', positive, 3)
    .option('--seconds <S>', 'how long one server is under load in one round', positive, 3)
    .option('--entries <N>', 'entries, where there are a million', positive, 1_000_000)
    .option('--operations <N>', 'of a sustained load (default: 1000000, with --full 10000000)', positive)
    .exitOverride((error) => process.exit(error.exitCode === 0 ? 0 : 2))
    .parse(argv, { from: 'user' });
  const names = command.args.length === 0 ? byDefault : command.args;
  const unknown = names.find((name) => !known.includes(name));
  if (unknown !== undefined) {
    command.error(`error: there is no measurement "${unknown}"; there are ${known.join(', ')}`);
  }
  const { full = false, ...given } = command.opts<
    Omit<Options, 'names' | 'operations' | 'manyEntries'> & { full?: boolean; operations?: number }
  >();
  return {
    names,
    ...given,
    operations: given.operations ?? (full ? FULL : SHORT_OPERATIONS),
    manyEntries: full ? FULL : 0,
  };
}

export function positive(text: string): number {
  const value = Number(text);
  if (!/^\d{1,9}$/.test(text) || value === 0)
    throw new InvalidArgumentError('Expected a whole number from 1.');
  return value;
}
