/** What a target has lost or cut of an archive does not count, and a node makes a new backup or puts it again. */
import assert from 'node:assert/strict';
import { readdirSync, rmSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import { parseArchived, type SegmentName } from '../../src/archive/names.ts';
import { restoreTo } from '../../src/cli/tasks/restore-to.ts';
import { Stage } from '../support/archiver-stage.ts';
import { hasEntries } from '../support/archives.ts';
import { BACKED_UP } from '../support/backups.ts';

const A = BACKED_UP.runId;
const WANTED = { isForced: false, isDry: false, dropsExpired: false };

test('a target that loses its backup while the node runs gets a new one, and the node warns', async (t) => {
  const stage = await Stage.create(t);
  await stage.start();
  stage.write(20);
  await stage.archived();
  rmSync(join(stage.archive.folder, 'shop'), { recursive: true });
  await stage.until('the loss is noticed', () => stage.bases === 2);
  assert.ok(stage.warnings.includes('archive-begins-anew'));
  stage.write(20);
  await stage.archived();
  await stage.restores(A, stage.offset);
});

test('a target that loses its last segment while the node runs gets a new backup', async (t) => {
  const stage = await Stage.create(t);
  await stage.start();
  stage.write(20);
  await stage.archived();
  writeFileSync(stage.archive.path(stage.names().at(-1)?.name as string), '');
  await stage.until('the loss is noticed', () => stage.bases === 2);
  stage.write(20);
  await stage.archived();
  await stage.restores(A, stage.offset);
});

for (const [what, lengthOf] of [
  ['empty', () => 0],
  ['cut', (length: number) => length - 1],
] as const) {
  test(`a backup that is ${what} when the node starts does not count`, async (t) => {
    const stage = await Stage.create(t);
    await stage.start();
    stage.write(20);
    await stage.archived();
    await stage.stop();
    const names = readdirSync(stage.archive.folder, { recursive: true }).map(String);
    const base = stage.archive.path(names.find((name) => name.endsWith('.db')) as string);
    truncateSync(base, lengthOf(statSync(base).size));
    await stage.start();
    stage.write(20);
    await stage.archived();
    assert.equal(stage.bases, 2);
    await stage.restores(A, stage.offset);
  });

  test(`a last segment that is ${what} when the node starts does not count`, async (t) => {
    const stage = await Stage.create(t);
    await stage.start();
    stage.write(20);
    await stage.archived();
    await stage.stop();
    const last = stage.archive.path(stage.names().at(-1)?.name as string);
    truncateSync(last, lengthOf(statSync(last).size));
    await stage.start();
    stage.write(20);
    await stage.archived();
    assert.equal(stage.bases, 2);
    await stage.restores(A, stage.offset);
  });

  for (const kind of ['.db', '.resp.zst']) {
    test(`what ends with ${kind} and gets ${what} while the node runs is noticed, and archived anew`, async (t) => {
      const stage = await Stage.create(t);
      await stage.start();
      stage.write(20);
      await stage.archived();
      const names = readdirSync(stage.archive.folder, { recursive: true }).map(String);
      const found = kind === '.db' ? names.find((name) => name.endsWith(kind)) : stage.names().at(-1)?.name;
      const path = stage.archive.path(found as string);
      truncateSync(path, lengthOf(statSync(path).size));
      await stage.until('the loss is noticed', () => stage.bases === 2);
      stage.write(20);
      await stage.archived();
      await stage.restores(A, stage.offset);
    });
  }

  test(`a last segment that is ${what} costs a new backup, also if the journal still has its bytes`, async (t) => {
    const stage = await Stage.create(t);
    await stage.start();
    stage.write(20);
    await stage.archived();
    await stage.stop();
    const { after, name } = stage.names().at(-1) as SegmentName;
    truncateSync(stage.archive.path(name), lengthOf(statSync(stage.archive.path(name)).size));
    stage.dropped = after;
    await stage.start();
    stage.write(20);
    await stage.archived();
    assert.equal(stage.bases, 2);
    await stage.restores(A, stage.offset);
  });

  test(`a segment of another node that is ${what} is put again`, async (t) => {
    const stage = await Stage.create(t);
    await stage.start();
    const before = stage.offset;
    stage.model.grow(1);
    const name = stage.archive.path(await stage.archive.segment(A, before, stage.offset));
    truncateSync(name, lengthOf(statSync(name).size));
    stage.archiver.committed(stage.offset);
    await stage.archived();
    await stage.restores(A, stage.offset);
  });
}

for (const restarts of [false, true]) {
  const when = restarts ? 'the node starts again' : 'the node runs';
  test(`a backup that was made while the clock was ahead gets another one beside it while ${when}`, async (t) => {
    const stage = await Stage.create(t);
    stage.aheadMs = 24 * 3_600_000;
    await stage.start();
    if (restarts) await stage.stop();
    stage.aheadMs = 0;
    stage.write(20);
    if (restarts) await stage.start();
    const isOfNow = (name: string): boolean => {
      const found = parseArchived(name);
      return found?.kind === 'base' && found.at <= stage.model.last.ms + 1_000;
    };
    await stage.until('another base is there', () =>
      readdirSync(stage.archive.folder, { recursive: true }).map(String).some(isOfNow),
    );
    await stage.archived();
    const made = stage.bases;
    stage.write(20);
    await stage.archived();
    assert.ok(stage.warnings.includes('archive-backup-dated-ahead'));
    const folder = join(stage.work, 'restored');
    const goal = { kind: 'time', at: stage.model.last.ms + 2_000 } as const;
    await restoreTo(stage.archive.folder, folder, goal, null, WANTED);
    hasEntries(folder, stage.model.last.entries, `seed ${stage.seed}`);
    // A chain that began anew while the base was made makes its own.
    assert.ok(stage.bases <= made + 1, `${stage.bases} bases, ${made} before`);
  });
}
