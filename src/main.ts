#!/usr/bin/env node
import module from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { endOnSignals } from './runtime/early-stop.ts';
import { startSmall } from './runtime/process-memory.ts';

// Before anything else is imported: better-sqlite3 crashes with a segmentation fault on a Node that is too old.
const NEEDED = [22, 18] as const;
const [major = 0, minor = 0] = process.versions.node.split('.').map(Number);
if (major < NEEDED[0] || (major === NEEDED[0] && minor < NEEDED[1])) {
  process.stderr.write(
    `psyncd needs Node.js ${NEEDED.join('.')} or newer; this is ${process.versions.node}\n`,
  );
  process.exit(1);
}
// Half of the time of a start is compilation. Node keeps compiled code for the next start, in its usual folder; if it cannot write
// there, nothing changes. The variable is set because worker threads, and the process after `startSmall`, look only at it.
process.env.NODE_COMPILE_CACHE ??= join(tmpdir(), 'node-compile-cache');
if (process.argv[2] === 'serve') {
  startSmall();
  // Before the modules of the node are loaded, which takes most of the time of a start.
  endOnSignals();
}
module.enableCompileCache();
const { run } = await import('./cli/program.ts');
await run(process.argv);
