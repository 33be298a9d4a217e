/**
 * `npm run bench`: runs the studies one after the other; prints the table to standard output and progress to standard
 * error.
 */
import { relative } from 'node:path';
import { BUILT_MAIN, buildProgram } from '../tools/program.ts';
import { access } from './access.ts';
import { backup } from './backup.ts';
import { Dataset } from './dataset.ts';
import type { Figure } from './figure.ts';
import { followers } from './followers.ts';
import { describeMachine } from './machine.ts';
import { memory } from './memory.ts';
import { metrics } from './metrics.ts';
import { parseOptions } from './options.ts';
import { peers } from './peers.ts';
import { propagation } from './propagation.ts';
import { reconnect } from './reconnect.ts';
import { figureRows, saveFigures, saveFindings, table } from './report.ts';
import { get, getCold, put, putAlways, putReplica } from './requests.ts';
import { restart } from './restart.ts';
import { resync } from './resync.ts';
import { Scope } from './scope.ts';
import { soak } from './soak.ts';
import { stalls } from './stalls.ts';
import type { Study } from './study.ts';
import { sustained } from './sustained.ts';

/** The studies that have goals, in the order of the goals. */
const GOALS: readonly Study[] = [
  ...[put, putReplica, putAlways, get, getCold, peers, sustained],
  ...[resync, reconnect, propagation, restart, memory, stalls, access, metrics, backup],
];
/** Studies that run only if they are named, because they have no goals. */
const OTHERS: readonly Study[] = [followers, soak];
const STUDIES = [...GOALS, ...OTHERS];
/** Exit code of a program that Ctrl-C has ended, as shells report it. */
const INTERRUPTED = 130;
/** Share of the cores above which the load before the start comes from other programs. */
const BUSY_SHARE = 0.5;

async function main(): Promise<number> {
  const byDefault = GOALS.map(({ name }) => name);
  const known = STUDIES.map(({ name }) => name);
  const options = parseOptions(process.argv.slice(2), known, byDefault);
  let interrupted = false;
  const interruption = new Promise<never>((_, reject) => {
    for (const signal of ['SIGINT', 'SIGTERM'] as const) {
      process.once(signal, () => {
        interrupted = true;
        reject(new Error(`interrupted by ${signal}`));
      });
    }
  });
  // Between two studies nothing awaits this promise, and its rejection must not end the process.
  interruption.catch(() => undefined);
  const startedAt = performance.now();
  const figures: Figure[] = [];
  const failed: string[] = [];
  const dataset = new Dataset(BUILT_MAIN);
  try {
    const machine = await describeMachine();
    await buildProgram();
    if (machine.loadBefore > machine.cores * BUSY_SHARE) {
      say(`the machine is busy (load ${machine.loadBefore.toFixed(1)}): the spreads will be wide`);
    }
    for (const study of STUDIES.filter(({ name }) => options.names.includes(name))) {
      try {
        const findings = await inScope(interruption, dataset, (scope) => study.run(scope, options, say));
        figures.push(...findings.figures);
        say(`${study.name}: ${relative('', await saveFindings(study, findings, machine, options))}`);
        if (findings.rows !== undefined) process.stdout.write(`${table(findings.rows)}\n\n`);
      } catch (error) {
        if (interrupted) throw error;
        // The other studies are still useful.
        failed.push(study.name);
        say(`${study.name}: ${textOf(error)}`);
      }
    }
    const seconds = Math.round((performance.now() - startedAt) / 1000);
    if (byDefault.every((name) => options.names.includes(name))) {
      say(`all of it: ${relative('', await saveFigures(figures, machine, options, seconds))}`);
    }
    if (failed.length > 0) say(`no figures of ${failed.join(', ')}`);
    return failed.length > 0 ? 1 : 0;
  } catch (error) {
    say(interrupted ? 'interrupted' : textOf(error));
    return interrupted ? INTERRUPTED : 1;
  } finally {
    // After an interruption this prints the figures that were measured before it.
    if (figures.length > 0) process.stdout.write(`${table(figureRows(figures))}\n`);
    await dataset.close();
  }
}

/** Runs `work` with a scope of its own; an interruption ends both. */
async function inScope<T>(
  interruption: Promise<never>,
  dataset: Dataset,
  work: (scope: Scope) => Promise<T>,
): Promise<T> {
  const scope = await Scope.open(dataset);
  try {
    return await Promise.race([interruption, work(scope)]);
  } finally {
    await scope.close();
  }
}

function textOf(error: unknown): string {
  return String(error instanceof Error ? error.stack : error);
}

function say(line: string): void {
  process.stderr.write(`${line}\n`);
}

process.exitCode = await main();
// Leftovers of a failure or an interruption may keep the event loop alive for long.
if (process.exitCode !== 0) process.exit();
