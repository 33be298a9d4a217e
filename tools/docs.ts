/**
 * Makes the documents that follow from the code: docs/settings.md, docs/cli.md and the picture of the demo. `--check` compares
 * them instead, and also checks that the files that the documents name are there; it fails on any difference.
 * `--record-demo` runs the demo first, and draws what it says.
 */
import { cliPage } from './cli-page.ts';
import { demoPicture, recordDemo } from './demo-picture.ts';
import { make } from './made-file.ts';
import { brokenReferences } from './references.ts';
import { settingsPage } from './settings-page.ts';

if (process.argv.includes('--record-demo')) recordDemo();
make('docs/settings.md', settingsPage(), 'docs');
make('docs/cli.md', cliPage(), 'docs');
make('docs/images/demo.svg', demoPicture(), 'docs');

const broken = brokenReferences();
process.stderr.write(broken.map((line) => `${line}\n`).join(''));
if (broken.length > 0) process.exitCode = 1;
