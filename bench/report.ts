/** Writes the results: a table for people, and a file for each study. */
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type Figure, type Goal, isMet } from './figure.ts';
import type { Machine } from './machine.ts';
import type { Options } from './options.ts';
import type { Summary } from './statistics.ts';
import type { Findings, Study } from './study.ts';

const RESULTS = join(import.meta.dirname, 'results');
const HEADINGS = [
  ...['row', 'measure', 'psyncd', 'min–max', 'unit', 'beside', 'its', 'min–max'],
  ...['ratio', 'min–max', 'goal', 'verdict', 'note'],
];

/** @returns the rows of `table`, the headings first */
export function figureRows(figures: readonly Figure[]): readonly (readonly string[])[] {
  const ordered = [...figures].sort((one, other) => one.row - other.row);
  return [HEADINGS, ...ordered.map(cells)];
}

/** @param rows rows with equal numbers of cells @returns the lines of the table, without a line end after the last */
export function table(rows: readonly (readonly string[])[]): string {
  const widths = (rows[0] ?? []).map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)));
  return rows
    .map((row) =>
      row
        .map((cell, column) => cell.padEnd(widths[column] ?? 0))
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}

function cells(figure: Figure): string[] {
  const { row, what, unit, psyncd, beside, ratio, goal, note = '' } = figure;
  return [
    ...[String(row), what, ...(psyncd === null ? ['not measured', ''] : amount(psyncd)), unit],
    ...(beside === undefined ? ['', '', ''] : [beside.name, ...amount(beside.values)]),
    ...(ratio === undefined ? ['', ''] : [hundredths(ratio.median), spread(ratio, hundredths)]),
    ...[goal === undefined ? '' : goalText(goal), verdict(figure), note],
  ];
}

function amount(values: Summary): string[] {
  const format = values.max < 1 ? hundredths : values.max < 100 ? tenths : whole;
  return [format(values.median), spread(values, format)];
}

function goalText({ kind, value, of }: Goal): string {
  const text = of === 'median ratio' ? `ratio ${value}` : value.toLocaleString('en-US');
  return `${kind === 'under' ? '<' : '≥'} ${text}`;
}

function verdict(figure: Figure): string {
  const met = isMet(figure);
  if (met !== null) return met ? 'met' : 'NOT MET';
  return figure.goal === undefined ? '' : 'unknown';
}

export function spread({ min, max }: Summary, format: (value: number) => string): string {
  return `${format(min)}–${format(max)}`;
}

export function whole(value: number): string {
  return Math.round(value).toLocaleString('en-US');
}

export function tenths(value: number): string {
  return value.toFixed(1);
}

export function hundredths(value: number): string {
  return value.toFixed(2);
}

/** @returns the path of the file */
export function saveFindings(
  { name, what }: Study,
  { figures, rows, details }: Findings,
  machine: Machine,
  options: Options,
): Promise<string> {
  return save(name, {
    name,
    what,
    machine,
    options,
    figures: figures.map(judged),
    ...(rows === undefined ? {} : { table: rows }),
    details,
  });
}

/** Saves the whole table of a run. @returns the path of the file */
export function saveFigures(
  figures: readonly Figure[],
  machine: Machine,
  options: Options,
  seconds: number,
): Promise<string> {
  return save('goals', { machine, options, seconds, figures: figures.map(judged) });
}

function judged(figure: Figure): Figure & { readonly met: boolean | null } {
  return { ...figure, met: isMet(figure) };
}

async function save(name: string, result: object): Promise<string> {
  const path = join(RESULTS, `${name}.json`);
  await mkdir(RESULTS, { recursive: true });
  await writeFile(path, `${JSON.stringify(result, null, 2)}\n`);
  return path;
}
