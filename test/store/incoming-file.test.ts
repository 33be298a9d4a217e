/** A snapshot that arrives, and a disk that does not take it. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import { promisify } from 'node:util';
import { temporaryFolder } from '../support/cluster.ts';

const MODULE = new URL('../../src/store/keyspace/incoming-file.ts', import.meta.url).href;
/** The longest file that the process may write, in KiB. */
const LIMIT_KIB = 64;
const PROGRAM = `
  const { IncomingFile } = await import(${JSON.stringify(MODULE)});
  const file = await IncomingFile.create(process.argv[2], 2, 1 << 20);
  const found = [];
  for (const part of [Buffer.alloc(40 * 1024), Buffer.alloc(40 * 1024)]) {
    found.push(await file.write([part]).then(() => 'written', ({ code }) => code));
  }
  await file.discard();
  console.log(JSON.stringify(found));`;

test('a snapshot that the disk does not take says why, with the code of the system', async (t) => {
  const folder = await temporaryFolder(t);
  const program = join(folder, 'program.mjs');
  writeFileSync(program, PROGRAM);
  const { stdout } = await promisify(execFile)('bash', [
    '-c',
    `ulimit -f ${LIMIT_KIB}; exec "$0" "$@"`,
    process.execPath,
    program,
    join(folder, 'keyspace-2.db'),
  ]);
  assert.deepEqual(JSON.parse(stdout), ['written', 'EFBIG']);
});
