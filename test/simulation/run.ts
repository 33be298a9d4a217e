/**
 * `npm run simulate -- [--from 1] [--seeds 1000] [--seconds N] [--trace] [--twice] [--counts]`
 *
 * Runs one seed after the other, and stops at the first that breaks a promise: it prints which, the last things that
 * happened, and how to repeat it. Exit code 0: all were kept; 1: one was broken; 2: wrong usage.
 */
import { parseArgs } from 'node:util';
import { type Outcome, simulate } from './simulation.ts';

const PROGRESS_MS = 5_000;
const LAST_LINES = 40;

const { values } = parseArgs({
  options: {
    from: { type: 'string', default: '1' },
    seeds: { type: 'string', default: '1000' },
    /** Ends after so much real time, however many seeds that were. */
    seconds: { type: 'string', default: 'Infinity' },
    /** Prints everything that happens. */
    trace: { type: 'boolean', default: false },
    /** Runs each seed twice: it has to be the same run. */
    twice: { type: 'boolean', default: false },
    /** Prints how often what happened. */
    counts: { type: 'boolean', default: false },
  },
});
const [from, seeds, seconds] = [Number(values.from), Number(values.seeds), Number(values.seconds)];
if (!Number.isSafeInteger(from) || !Number.isSafeInteger(seeds) || Number.isNaN(seconds)) {
  console.error(
    'usage: npm run simulate -- [--from SEED] [--seeds N] [--seconds N] [--trace] [--twice] [--counts]',
  );
  process.exit(2);
}

const startedAt = performance.now();
let toldAt = startedAt;
let steps = 0;
let seed = from;
const counts = new Map<string, number>();
for (; seed < from + seeds && performance.now() - startedAt < seconds * 1_000; seed += 1) {
  const outcome = await simulate(seed, values.trace ? Number.MAX_SAFE_INTEGER : LAST_LINES);
  steps += outcome.steps;
  for (const [what, count] of outcome.counts) counts.set(what, (counts.get(what) ?? 0) + count);
  if (values.trace) console.log(outcome.lines.join('\n'));
  if (outcome.broken !== null) end(outcome, outcome.broken);
  if (values.twice) {
    const { hash } = await simulate(seed, LAST_LINES);
    if (hash !== outcome.hash) end(outcome, `run twice it is two runs: ${outcome.hash} and ${hash}`);
  }
  if (performance.now() - toldAt > PROGRESS_MS) {
    toldAt = performance.now();
    console.log(`${seed - from + 1} seeds, ${steps} steps`);
  }
}
tellCounts();
const elapsedSeconds = ((performance.now() - startedAt) / 1_000).toFixed(1);
console.log(`${seed - from} seeds from ${from}, ${steps} steps, ${elapsedSeconds} s: every promise was kept`);

function end(outcome: Outcome, broken: string): never {
  if (!values.trace) console.log(outcome.lines.join('\n'));
  tellCounts();
  console.log(`\nseed ${outcome.seed}: ${broken}`);
  console.log(`npm run simulate -- --from ${outcome.seed} --seeds 1 --trace`);
  process.exit(1);
}

function tellCounts(): void {
  if (!values.counts) return;
  for (const [what, count] of [...counts].sort(([a], [b]) => (a < b ? -1 : 1)))
    console.log(`${count}\t${what}`);
}
