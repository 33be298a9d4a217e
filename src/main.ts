#!/usr/bin/env node
// Before anything else is imported: better-sqlite3 crashes with a segmentation fault on a Node that is too old.
const NEEDED = [22, 18] as const;
const [major = 0, minor = 0] = process.versions.node.split('.').map(Number);
if (major < NEEDED[0] || (major === NEEDED[0] && minor < NEEDED[1])) {
  process.stderr.write(
    `psyncd needs Node.js ${NEEDED.join('.')} or newer; this is ${process.versions.node}\n`,
  );
  process.exit(1);
}
const { run } = await import('./cli/program.ts');
await run(process.argv);
