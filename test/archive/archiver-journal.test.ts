/** What the journal keeps for an archive: the archive goes on as long as the journal has what comes next, and nobody guesses what the target has. */
import assert from 'node:assert/strict';
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import test, { type TestContext } from 'node:test';
import { AWAY, Stage } from '../support/archiver-stage.ts';
import { BACKED_UP } from '../support/backups.ts';

const A = BACKED_UP.runId;
const START: number = BACKED_UP.offset;

/** A node whose journal keeps everything for replicas, which is more than the archive may have it keep. */
async function longJournal(t: TestContext): Promise<Stage> {
  const stage = await Stage.create(t);
  stage.needed = START;
  stage.limitBytes = 5_000;
  await stage.start();
  while (stage.offset - START <= 3 * stage.limitBytes) {
    stage.write(1);
    await stage.archived();
  }
  return stage;
}

test('a start with a journal that is longer than --archive-journal-limit goes on where the archive ends', async (t) => {
  const stage = await longJournal(t);
  await stage.stop();
  const end = stage.offset;
  // A killed node leaves writes that are not archived.
  stage.write(2);
  const left = stage.offset;
  await stage.start();
  stage.write(3);
  await stage.archived();
  assert.deepEqual([stage.bases, stage.warnings, stage.archiver.numbers.restarts], [1, [], 0]);
  for (const at of [...stage.model.commits(end, left), stage.offset]) await stage.restores(A, at);
});

test('a journal that is longer than --archive-journal-limit has all that the target did not get while it was away', async (t) => {
  const stage = await longJournal(t);
  const end = stage.offset;
  stage.broken = AWAY;
  while (stage.offset - end <= 2 * stage.limitBytes) stage.write(1);
  stage.broken = null;
  await stage.archived();
  assert.deepEqual([stage.bases, stage.archiver.numbers.restarts], [1, 0]);
  for (const at of stage.model.commits(end, stage.offset).slice(0, 3)) await stage.restores(A, at);
});

test('a target that is away at the start costs a gap only if the journal has dropped what it does not have', async (t) => {
  for (const isLost of [false, true]) {
    const stage = await Stage.create(t);
    stage.limitBytes = 50_000;
    await stage.start();
    stage.write(5);
    await stage.archived();
    const end = stage.offset;
    await stage.stop();
    stage.needed = end;
    stage.write(2);
    stage.needed = Number.POSITIVE_INFINITY;
    stage.broken = AWAY;
    stage.begin();
    await stage.until('the target was asked', () => stage.archiver.numbers.failures > 1);
    const goal = isLost ? 3 * stage.limitBytes : stage.limitBytes / 2;
    while (stage.offset - end <= goal) stage.write(1);
    assert.ok(stage.offset - stage.dropped <= stage.limitBytes, 'the journal has a limit');
    assert.equal(stage.archiver.numbers.restarts, 0);
    stage.broken = null;
    await stage.archived();
    assert.deepEqual([stage.bases, stage.archiver.numbers.restarts], isLost ? [2, 1] : [1, 0]);
    if (isLost) await stage.refuses(A, end + 1, /has a gap after/);
    else for (const at of stage.model.commits(end, stage.offset).slice(0, 3)) await stage.restores(A, at);
    await stage.stop();
  }
});

test('a node that has long archived everything begins nothing anew because it asks the target again', async (t) => {
  const stage = await Stage.create(t);
  stage.limitBytes = 50_000;
  await stage.start();
  while (stage.offset - START <= 3 * stage.limitBytes) {
    stage.write(1);
    await stage.archived();
  }
  const last = stage.names().at(-1)?.name as string;
  rmSync(join(stage.archive.folder, last));
  stage.broken = AWAY;
  await stage.until('the target is asked again', () => stage.archiver.status.position === null);
  stage.write(1);
  assert.equal(stage.archiver.numbers.restarts, 0);
  stage.broken = null;
  await stage.archived();
  await stage.restores(A, stage.offset);
});

test('a nearly full disk gets the oldest of the journal while nobody knows what the target has', async (t) => {
  const stage = await Stage.create(t);
  await stage.start();
  while (stage.offset - START <= 20_000) stage.write(1);
  await stage.archived();
  const end = stage.offset;
  await stage.stop();
  stage.needed = START;
  stage.dropped = START;
  stage.write(2);
  stage.needed = Number.POSITIVE_INFINITY;
  stage.broken = AWAY;
  stage.missing = 5_000;
  stage.begin();
  await stage.until('the journal gave something up', () => stage.dropped > START);
  stage.missing = 0;
  assert.ok(stage.dropped < end);
  stage.broken = null;
  await stage.archived();
  assert.deepEqual([stage.bases, stage.archiver.numbers.restarts], [1, 0]);
  for (const at of stage.model.commits(end, stage.offset)) await stage.restores(A, at);
});

test('a damaged row of the journal costs a gap from there to a new backup, and no other start costs another one', async (t) => {
  const stage = await Stage.create(t);
  await stage.start();
  stage.write(3);
  await stage.archived();
  stage.needed = START;
  stage.broken = AWAY;
  stage.write(3);
  const damaged = stage.offset;
  stage.damagedAfter = damaged;
  stage.write(3);
  stage.broken = null;
  await stage.archived();
  assert.deepEqual([stage.bases, stage.archiver.numbers.restarts], [2, 1]);
  assert.ok(stage.warnings.includes('archive-begins-anew'));
  const anew = stage.offset;
  stage.write(5);
  await stage.archived();
  // All that is before the row is archived.
  await stage.restores(A, damaged);
  for (const at of stage.model.commits(anew, stage.offset)) await stage.restores(A, at);
  await stage.refuses(A, damaged + 1, /has a gap after/);
  await stage.stop();
  await stage.start();
  stage.write(5);
  await stage.archived();
  assert.deepEqual([stage.bases, stage.archiver.numbers.restarts], [2, 0]);
  await stage.restores(A, stage.offset);
});

test('a journal that cannot be read for a while costs nothing', async (t) => {
  const stage = await Stage.create(t);
  await stage.start();
  stage.write(3);
  await stage.archived();
  const end = stage.offset;
  stage.isUnreadable = true;
  stage.write(3);
  await stage.until('it is tried again', () => stage.archiver.numbers.failures > 5);
  assert.equal(stage.archiver.status.failing?.code, 'STORAGE_FAILED');
  stage.isUnreadable = false;
  await stage.archived();
  assert.deepEqual([stage.bases, stage.archiver.numbers.restarts], [1, 0]);
  for (const at of stage.model.commits(end, stage.offset)) await stage.restores(A, at);
});
