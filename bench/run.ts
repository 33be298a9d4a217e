/** `npm run bench`: runs the measurements one after the other; the table to stdout, progress to stderr. */
import { relative } from 'node:path';
import { describeMachine, type Machine } from './machine.ts';
import { type Measurement, measure, type Outcome } from './measurement.ts';
import { type Options, parseOptions } from './options.ts';
import { saveResult, table } from './report.ts';
import { get, put } from './requests.ts';
import { resync } from './resync.ts';
import { Scope } from './scope.ts';

const MEASUREMENTS: readonly Measurement[] = [put, get, resync];
/** What a shell reports of a program that Ctrl-C has ended. */
const INTERRUPTED = 130;
/** A load above this share of the cores, before anything has begun, is somebody else's. */
const BUSY_SHARE = 0.5;

async function main(): Promise<number> {
  const options = parseOptions(
    process.argv.slice(2),
    MEASUREMENTS.map(({ name }) => name),
  );
  const { names } = options;
  const chosen = MEASUREMENTS.filter(({ name }) => names.length === 0 || names.includes(name));
  let interrupted = false;
  const interruption = new Promise<never>((_, reject) => {
    for (const signal of ['SIGINT', 'SIGTERM'] as const) {
      process.once(signal, () => {
        interrupted = true;
        reject(new Error(`interrupted by ${signal}`));
      });
    }
  });
  // It may come between two measurements, when nobody waits for it.
  interruption.catch(() => undefined);
  try {
    const machine = await describeMachine();
    if (machine.loadBefore > machine.cores * BUSY_SHARE) {
      say(`the machine is busy (load ${machine.loadBefore.toFixed(1)}): the spreads will be wide`);
    }
    const outcomes: Outcome[] = [];
    for (const measurement of chosen) {
      outcomes.push(await runOne(measurement, options, machine, interruption));
    }
    process.stdout.write(`${table(outcomes)}\n`);
    return 0;
  } catch (error) {
    say(interrupted ? 'interrupted' : String(error instanceof Error ? error.stack : error));
    return interrupted ? INTERRUPTED : 1;
  }
}

async function runOne(
  measurement: Measurement,
  options: Options,
  machine: Machine,
  interruption: Promise<never>,
): Promise<Outcome> {
  const scope = await Scope.open();
  try {
    const outcome = await Promise.race([interruption, measure(measurement, scope, options, say)]);
    say(`${measurement.name}: ${relative('', await saveResult(outcome, machine, options))}`);
    return outcome;
  } finally {
    await scope.close();
  }
}

function say(line: string): void {
  process.stderr.write(`${line}\n`);
}

process.exitCode = await main();
// What a failure or an interruption has left behind may keep the event loop going for long.
if (process.exitCode !== 0) process.exit();
