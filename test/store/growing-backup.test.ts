/** A backup that takes the stream after it: it does not fill the disk. */
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import { checkBackup } from '../../src/store/backup/check-backup.ts';
import { GrowingBackup } from '../../src/store/backup/growing-backup.ts';
import { Encoder } from '../../src/stream/encoder.ts';
import { BACKED_UP, makeBackup } from '../support/backups.ts';
import { temporaryFolder } from '../support/cluster.ts';

const HISTORY = { runId: BACKED_UP.runId, lineage: [] };
const MIB = 1024 * 1024;

test('the room on the disk is looked at before the backup is copied, and again while the stream comes', async (t) => {
  const folder = await temporaryFolder(t);
  const base = join(folder, 'base.db');
  await makeBackup(base, []);
  const manifest = await checkBackup(base, '0.1.0');
  const full = new Error('no room');
  const path = join(folder, 'growing');
  await assert.rejects(
    GrowingBackup.begin(base, manifest, HISTORY, path, () => Promise.reject(full)),
    full,
  );
  assert.ok(!existsSync(path));
  const looks: number[] = [];
  const growing = await GrowingBackup.begin(base, manifest, HISTORY, path, async (_, bytes) => {
    if (looks.push(bytes) > 2) throw full;
  });
  t.after(() => growing.discard());
  const encoder = new Encoder();
  encoder.add({ kind: 'set', key: 'k', value: Buffer.alloc(MIB), expiresAt: null });
  const { bytes } = encoder.finish();
  await assert.rejects(async () => {
    for (let mib = 0; mib < 64; mib += 1) await growing.push(bytes);
  }, full);
  assert.equal(looks.length, 3);
  assert.ok((looks[2] as number) < 18 * MIB, `${looks[2]} bytes without a look`);
});
