#!/usr/bin/env node
import module from 'node:module';
import { compileCacheFolder } from './runtime/compile-cache.ts';
import { endOnSignals } from './runtime/early-stop.ts';
import { startSmall } from './runtime/memory/process-memory.ts';

// Before anything else is imported: better-sqlite3 crashes with a segmentation fault on a Node that is too old.
const NEEDED = [22, 18] as const;
const [major = 0, minor = 0] = process.versions.node.split('.').map(Number);
if (major < NEEDED[0] || (major === NEEDED[0] && minor < NEEDED[1])) {
  process.stderr.write(
    `psyncd needs Node.js ${NEEDED.join('.')} or newer; this is ${process.versions.node}\n`,
  );
  process.exit(1);
}
// The variable is set because worker threads, and the process after `startSmall`, look only at it.
const compiled = process.env.NODE_COMPILE_CACHE ?? compileCacheFolder();
if (compiled !== null) process.env.NODE_COMPILE_CACHE = compiled;
if (process.argv[2] === 'serve') {
  startSmall();
  // Before the modules of the node are loaded, which takes most of the time of a start.
  endOnSignals();
}
if (compiled !== null) module.enableCompileCache();
const { run } = await import('./cli/program.ts');
await run(process.argv);
