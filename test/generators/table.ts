/** The table of docs/sdk.md, which `npm run sdk` writes. */
import { readFileSync, writeFileSync } from 'node:fs';
import type { Generator } from './generators.ts';

const PAGE = new URL('../../docs/sdk.md', import.meta.url);
const BEGIN = '<!-- Made by `npm run sdk`; do not edit. -->\n\n';
const END = '\n<!-- The end of what `npm run sdk` makes. -->\n';

/**
 * Writes the table into docs/sdk.md, between its two comments.
 * @param rows what each generator could do: by column null, or why not
 */
export function writeTable(
  rows: readonly (readonly [Generator, Readonly<Partial<Record<string, string | null>>>])[],
  columns: readonly string[],
): void {
  const page = readFileSync(PAGE, 'utf8');
  const [begin, end] = [page.indexOf(BEGIN), page.indexOf(END)];
  if (begin === -1 || end === -1) throw new Error('docs/sdk.md has no place for the table');
  const lines = [
    ['generator', ...columns],
    ['---', ...columns.map(() => '---')],
    ...rows.map(([{ packages }, found]) => [
      packages.map((name) => `\`${name}\` ${versionOf(name)}`).join(', '),
      ...columns.map((column) => (found[column] === null ? 'yes' : 'no')),
    ]),
  ].map((cells) => `| ${cells.join(' | ')} |\n`);
  writeFileSync(PAGE, page.slice(0, begin) + BEGIN + lines.join('') + page.slice(end));
}

/** @returns the version that package.json names, which is exact */
function versionOf(name: string): string {
  const { dependencies } = JSON.parse(
    readFileSync(new URL('clients/package.json', import.meta.url), 'utf8'),
  ) as {
    readonly dependencies: Readonly<Record<string, string>>;
  };
  return dependencies[name] ?? '';
}
