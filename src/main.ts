#!/usr/bin/env node
import module from 'node:module';

// Before anything else is imported: better-sqlite3 crashes with a segmentation fault on a Node that is too old.
const NEEDED = [22, 18] as const;
const [major = 0, minor = 0] = process.versions.node.split('.').map(Number);
if (major < NEEDED[0] || (major === NEEDED[0] && minor < NEEDED[1])) {
  process.stderr.write(
    `psyncd needs Node.js ${NEEDED.join('.')} or newer; this is ${process.versions.node}\n`,
  );
  process.exit(1);
}
// Half of a start is compiling. What has been compiled is kept (in the system's temp folder, or NODE_COMPILE_CACHE) for
// the next one; where that is not possible nothing changes.
module.enableCompileCache();
const { run } = await import('./cli/program.ts');
await run(process.argv);
