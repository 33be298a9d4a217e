/** The command line of `npm run bench`. */
import { Command, InvalidArgumentError } from 'commander';

export interface Options {
  /** Measurements to run, by name. */
  readonly names: readonly string[];
  /** Undefined: what the measurement says. */
  readonly rounds?: number;
  /** How long one server is under load in one round. */
  readonly seconds: number;
  /** Entries of a full resync, and of a restart. */
  readonly entries: number;
  /** How long a soak lasts. */
  readonly minutes: number;
}

/** Prints help or what is wrong, and ends the process, where there is nothing to run. */
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
    .option('--rounds <N>', 'rounds after the warm-up (default: 5, resync 3)', positive)
    .option('--minutes <M>', 'how long soak lasts', positive, 3)
    .option('--seconds <S>', 'how long one server is under load in one round', positive, 5)
    .option('--entries <N>', 'entries of the full resync and of restart', positive, 1_000_000)
    .exitOverride((error) => process.exit(error.exitCode === 0 ? 0 : 2))
    .parse(argv, { from: 'user' });
  const names = command.args.length === 0 ? byDefault : command.args;
  const unknown = names.find((name) => !known.includes(name));
  if (unknown !== undefined) {
    command.error(`error: there is no measurement "${unknown}"; there are ${known.join(', ')}`);
  }
  return { names, ...command.opts<Omit<Options, 'names'>>() };
}

export function positive(text: string): number {
  const value = Number(text);
  if (!/^\d{1,9}$/.test(text) || value === 0)
    throw new InvalidArgumentError('Expected a whole number from 1.');
  return value;
}
