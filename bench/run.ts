/** `npm run bench`: runs the measurements one after the other; the table to stdout, progress to stderr. */
import { relative } from 'node:path';
import { followers } from './followers.ts';
import { describeMachine } from './machine.ts';
import { type Measurement, measure, type Outcome } from './measurement.ts';
import { parseOptions } from './options.ts';
import { outcomeRows, saveFindings, saveOutcome, table } from './report.ts';
import { get, put } from './requests.ts';
import { restart } from './restart.ts';
import { resync } from './resync.ts';
import { Scope } from './scope.ts';
import { soak } from './soak.ts';
import type { Study } from './study.ts';

const MEASUREMENTS: readonly Measurement[] = [put, get, resync];
/** Only if they are named: they take minutes. */
const STUDIES: readonly Study[] = [followers, restart, soak];
/** What a shell reports of a program that Ctrl-C has ended. */
const INTERRUPTED = 130;
/** A load above this share of the cores, before anything has begun, is somebody else's. */
const BUSY_SHARE = 0.5;

async function main(): Promise<number> {
  const byDefault = MEASUREMENTS.map(({ name }) => name);
  const options = parseOptions(
    process.argv.slice(2),
    [...byDefault, ...STUDIES.map(({ name }) => name)],
    byDefault,
  );
  const { names } = options;
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
    for (const measurement of MEASUREMENTS.filter(({ name }) => names.includes(name))) {
      outcomes.push(
        await inScope(interruption, async (scope) => {
          const outcome = await measure(measurement, scope, options, say);
          say(`${measurement.name}: ${relative('', await saveOutcome(outcome, machine, options))}`);
          return outcome;
        }),
      );
    }
    if (outcomes.length > 0) process.stdout.write(`${table(outcomeRows(outcomes))}\n`);
    for (const study of STUDIES.filter(({ name }) => names.includes(name))) {
      const findings = await inScope(interruption, (scope) => study.run(scope, options, say));
      say(`${study.name}: ${relative('', await saveFindings(study, findings, machine, options))}`);
      process.stdout.write(`${table(findings.rows)}\n`);
    }
    return 0;
  } catch (error) {
    say(interrupted ? 'interrupted' : String(error instanceof Error ? error.stack : error));
    return interrupted ? INTERRUPTED : 1;
  }
}

/** Does it with a scope of its own; an interruption ends both. */
async function inScope<T>(interruption: Promise<never>, work: (scope: Scope) => Promise<T>): Promise<T> {
  const scope = await Scope.open();
  try {
    return await Promise.race([interruption, work(scope)]);
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
