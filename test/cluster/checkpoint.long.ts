/** The journal's WAL is moved into psyncd.db by a thread, while writes go on. */
import assert from 'node:assert/strict';
import { open, readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import test from 'node:test';
import { Cluster, converged } from '../support/cluster.ts';

const MIB = 1024 * 1024;
/** Where SQLite would make the checkpoint in a commit. */
const BOUND_BYTES = 128 * MIB;

/** How often the WAL has begun anew, as its header says: since it was made, whose number is 0. */
async function begunAnew(folder: string): Promise<number> {
  const wal = await open(join(folder, 'psyncd.db-wal'));
  try {
    const { buffer } = await wal.read(Buffer.alloc(4), 0, 4, 12);
    return buffer.readUInt32BE();
  } finally {
    await wal.close();
  }
}

test('under writers the WALs of a master and its replica begin anew before their bound, and a stop leaves none', async (t) => {
  const cluster = await Cluster.create(t);
  const master = await cluster.start('master');
  const replica = await cluster.start('replica', '--replica-of', master.wsUrl);
  await converged(master, replica);
  const folders = [cluster.data('master'), cluster.data('replica')];
  const before = await Promise.all(folders.map(begunAnew));
  const began = async (): Promise<boolean> => {
    const now = await Promise.all(folders.map(begunAnew));
    return now.every((count, index) => count > (before[index] as number));
  };
  const value = 'x'.repeat(500_000);
  let written = 0;
  for (; !(await began()) && written < BOUND_BYTES - 8 * MIB; written += value.length) {
    await master.client.set(`k${written % 7}`, value);
  }
  assert.ok(await began(), `not within ${written} bytes`);
  for (const folder of folders) {
    const { size } = await stat(join(folder, 'psyncd.db-wal'));
    assert.ok(size < BOUND_BYTES, `the WAL has ${size} bytes`);
  }
  await converged(master, replica);
  assert.equal(await replica.stop(), 0);
  assert.equal(await master.stop(), 0);
  for (const folder of folders) {
    const files = await readdir(folder);
    assert.deepEqual(
      files.filter((name) => !name.endsWith('.db')),
      [],
    );
  }
});
