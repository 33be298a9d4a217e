/**
 * Makes docs/images/demo.svg, a picture of a terminal with the recorded output of `npm run demo -- --once`
 * (docs/images/demo.txt). `npm run docs -- --record-demo` runs the demo and records it anew.
 */
import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const RECORDING = new URL('../docs/images/demo.txt', import.meta.url);
const MAIN = fileURLToPath(new URL('../src/main.ts', import.meta.url));

/** Runs the demo and records its output, which has no progress bar because it does not go to a terminal. */
export function recordDemo(): void {
  const output = execFileSync(process.execPath, [MAIN, 'demo', '--once'], { encoding: 'utf8' });
  writeFileSync(RECORDING, output);
}

/** Width of the picture in characters. A longer line continues in the next one, indented. */
const COLUMNS = 96;
const CHARACTER_WIDTH = 8.4;
const LINE_HEIGHT = 21;
const MARGIN = 20;
const TITLE_HEIGHT = 34;

/** @returns the recorded output as SVG */
export function demoPicture(): string {
  const text = readFileSync(RECORDING, 'utf8').trimEnd();
  const lines = ['$ npm run demo -- --once', ...text.split('\n')].flatMap(wrapped);
  const width = Math.ceil(COLUMNS * CHARACTER_WIDTH + 2 * MARGIN);
  const height = TITLE_HEIGHT + lines.length * LINE_HEIGHT + MARGIN;
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" role="img" aria-labelledby="title">
<title id="title">The output of the demo: an import, a partial resync, a full resync and a restart, each checked</title>
<style>
.window { fill: #f6f8fa; stroke: #8c959f; }
.button { fill: #8c959f; }
text { font: 14px ui-monospace, Menlo, Consolas, 'DejaVu Sans Mono', monospace; fill: #1f2328; white-space: pre; }
.done { fill: #116329; }
@media (prefers-color-scheme: dark) {
  .window { fill: #0d1117; }
  text { fill: #e6edf3; }
  .done { fill: #56d364; }
}
</style>
<rect class="window" x="0.5" y="0.5" width="${width - 1}" height="${height - 1}" rx="8"/>
${[0, 1, 2].map((index) => `<circle class="button" cx="${MARGIN + index * 18}" cy="18" r="5"/>`).join('\n')}
${lines.map(drawn).join('\n')}
</svg>
`;
}

function wrapped(line: string): readonly string[] {
  const rows: string[] = [];
  let row = '';
  for (const word of line.split(' ')) {
    if (row !== '' && row.length + 1 + word.length > COLUMNS) {
      rows.push(row);
      row = `  ${word}`;
    } else row = row === '' ? word : `${row} ${word}`;
  }
  return [...rows, row];
}

function drawn(line: string, index: number): string {
  const escaped = line.replaceAll('&', '&amp;').replaceAll('<', '&lt;');
  const y = TITLE_HEIGHT + (index + 0.8) * LINE_HEIGHT;
  const text = escaped.replace('✓', '<tspan class="done">✓</tspan>');
  return `<text x="${MARGIN}" y="${y.toFixed(1)}">${text}</text>`;
}
