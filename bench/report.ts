/** What comes out: a table for people, and a file for each measurement. */
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Machine } from './machine.ts';
import { type Outcome, whole } from './measurement.ts';
import type { Options } from './options.ts';
import type { Summary } from './statistics.ts';
import type { Findings, Study } from './study.ts';

const RESULTS = join(import.meta.dirname, 'results');
const HEADINGS = [
  ...['name', 'psyncd', 'min–max', 'limit', 'min–max', 'unit', 'limited by'],
  ...['ratio', 'min–max', 'better', 'CPU ratio', 'generator busy'],
];

/** @returns the rows of `table`, the headings first */
export function outcomeRows(outcomes: readonly Outcome[]): readonly (readonly string[])[] {
  return [HEADINGS, ...outcomes.map(row)];
}

/** @param rows cells, as many in each @returns lines, the last without a line end */
export function table(rows: readonly (readonly string[])[]): string {
  const widths = (rows[0] ?? []).map((_, column) =>
    Math.max(...rows.map((cells) => cells[column]?.length ?? 0)),
  );
  return rows
    .map((cells) =>
      cells
        .map((cell, column) => cell.padEnd(widths[column] ?? 0))
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}

function row({ measurement, psyncd, limit, ratio, cpuRatio, generatorBusy }: Outcome): string[] {
  const { name, unit, limitName, better } = measurement;
  return [
    ...[name, whole(psyncd.median), spread(psyncd, whole), whole(limit.median), spread(limit, whole)],
    ...[unit, limitName, hundredths(ratio.median), spread(ratio, hundredths), better],
    cpuRatio === null ? '' : hundredths(cpuRatio.median),
    generatorBusy === null ? '' : hundredths(generatorBusy.median),
  ];
}

export function spread({ min, max }: Summary, format: (value: number) => string): string {
  return `${format(min)}–${format(max)}`;
}

export function hundredths(value: number): string {
  return value.toFixed(2);
}

/** @returns the path of the file */
export function saveOutcome(outcome: Outcome, machine: Machine, options: Options): Promise<string> {
  const { measurement, ...numbers } = outcome;
  const { name, what, unit, limitName, better } = measurement;
  const { seconds, entries } = options;
  return save(name, {
    name,
    what,
    unit,
    limitName,
    better,
    machine,
    options: { seconds, entries },
    ...numbers,
  });
}

/** @returns the path of the file */
export function saveFindings(
  { name, what }: Study,
  { rows, details }: Findings,
  machine: Machine,
  { entries, minutes }: Options,
): Promise<string> {
  return save(name, { name, what, machine, options: { entries, minutes }, table: rows, details });
}

async function save(name: string, result: object): Promise<string> {
  const path = join(RESULTS, `${name}.json`);
  await mkdir(RESULTS, { recursive: true });
  await writeFile(path, `${JSON.stringify(result, null, 2)}\n`);
  return path;
}
