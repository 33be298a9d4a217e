/**
 * Makes openapi.yaml from the schemas of the routes: the routes are the source, so the document cannot drift.
 * `--check` compares instead, and fails on any difference.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { stringify } from 'yaml';
import { version } from '../src/app.ts';
import { createServer } from '../src/http/server.ts';
import type { Node } from '../src/node/node.ts';

const file = new URL('../openapi.yaml', import.meta.url);
const silent = { info: () => undefined, warn: () => undefined, error: () => undefined };
// The routes are only described, never called: no node stands behind them.
const server = await createServer({ node: {} as Node, log: silent, version: version() });
await server.ready();
const document = stringify(server.swagger(), { aliasDuplicateObjects: false, lineWidth: 110 });
const yaml = `# Made by \`npm run openapi\` from the schemas in src/http; do not edit.\n${document}`;
await server.close();

if (!process.argv.includes('--check')) {
  writeFileSync(file, yaml);
} else if (readFileSync(file, 'utf8') !== yaml) {
  process.stderr.write('openapi.yaml is not what the routes say: run npm run openapi\n');
  process.exitCode = 1;
}
