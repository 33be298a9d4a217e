/**
 * Makes the documents that follow from the code: docs/settings.md, docs/metrics.md, docs/cli.md, docs/client-reference.md and
 * the picture of the demo. With `--check` it
 * compares them instead, and fails on any difference. In both cases it fails if a document names a file that does not exist.
 * With `--record-demo` it runs the demo first and draws the new output.
 */
import { cliPage } from './cli-page.ts';
import { clientPage } from './client-page.ts';
import { demoPicture, recordDemo } from './demo-picture.ts';
import { make } from './made-file.ts';
import { metricsPage } from './metrics-page.ts';
import { brokenReferences } from './references.ts';
import { settingsPage } from './settings-page.ts';

if (process.argv.includes('--record-demo')) recordDemo();
make('docs/settings.md', settingsPage(), 'docs');
make('docs/metrics.md', metricsPage(), 'docs');
make('docs/cli.md', cliPage(), 'docs');
make('docs/client-reference.md', clientPage(), 'docs');
make('docs/images/demo.svg', demoPicture(), 'docs');

const broken = brokenReferences();
process.stderr.write(broken.map((line) => `${line}\n`).join(''));
if (broken.length > 0) process.exitCode = 1;
