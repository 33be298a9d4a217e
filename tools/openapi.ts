/**
 * Makes openapi.yaml from the schemas of the routes: the routes are the source, so the document cannot drift.
 * `--check` compares instead, and fails on any difference.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { createDocumentServer, documentYaml } from '../src/http/document-server.ts';
import type { Node } from '../src/node/node.ts';
import { version } from '../src/version.ts';

const file = new URL('../openapi.yaml', import.meta.url);
// The routes are only described, never called: no node stands behind them.
const settings = {
  version: version(),
  startedAt: 0,
  current: () => ({}),
  change: () => null,
  allowedOrigins: [],
  bodyTimeoutMs: 0,
  loopLag: { p99Ms: 0, maxMs: 0 },
  journal: { commits: 0, fsyncs: 0 },
};
const yaml = documentYaml(await createDocumentServer({ node: {} as Node, version: version(), settings }));

if (!process.argv.includes('--check')) {
  writeFileSync(file, yaml);
} else if (readFileSync(file, 'utf8') !== yaml) {
  process.stderr.write('openapi.yaml is not what the routes say: run npm run openapi\n');
  process.exitCode = 1;
}
