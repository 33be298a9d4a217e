/** What the archive says of itself while it has a gap, and after it: never that more can be restored than can. */
import assert from 'node:assert/strict';
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import { offset } from '../../src/replication/position.ts';
import { runId } from '../support/arbitraries.ts';
import { AWAY, Stage } from '../support/archiver-stage.ts';
import { BACKED_UP } from '../support/backups.ts';

const A = BACKED_UP.runId;
const B = runId('b');

function at(offsetThere: number, run = A) {
  return { runId: run, offset: offset(offsetThere) };
}

/** A node whose archive began anew while the target is away. @returns it, and where the old part ends */
async function begunAnew(stage: Stage): Promise<{ readonly end: number; readonly endedAt: number }> {
  stage.limitBytes = 20_000;
  await stage.start();
  stage.write(10);
  await stage.archived();
  const { at: end, ms: endedAt } = stage.model.last;
  stage.broken = AWAY;
  while (stage.archiver.numbers.restarts === 0) stage.write(1);
  return { end, endedAt };
}

test('after the archive began anew, all counts as missing after the old part until the new backup is there', async (t) => {
  const stage = await Stage.create(t);
  const { end, endedAt } = await begunAnew(stage);
  const begun = stage.model.last.ms;
  const isTold = (): void => {
    const { archiver } = stage;
    assert.equal(archiver.numbers.lagBytes, stage.offset - end);
    assert.deepEqual([archiver.status.position, archiver.status.at], [at(end), endedAt]);
    assert.deepEqual(archiver.status.gap, { after: at(end), to: null, at: begun });
    assert.equal(archiver.numbers.isWhole, false);
  };
  isTold();
  stage.write(3);
  isTold();
  // The target takes segments again, but no backup.
  stage.makesBases = false;
  stage.broken = null;
  await stage.until('what came after is there', () => stage.names().at(-1)?.end === stage.offset);
  isTold();
  stage.makesBases = true;
  await stage.archived();
  assert.equal(stage.archiver.numbers.lagBytes, 0);
  assert.deepEqual(stage.archiver.status.position, at(stage.offset));
  const base = stage.offset;
  assert.deepEqual(stage.archiver.status.gap, { after: at(end), to: at(base), at: begun });
  stage.write(5);
  await stage.archived();
  assert.deepEqual(stage.archiver.status.gap, { after: at(end), to: at(base), at: begun });
  await stage.refuses(A, base - 1, /has a gap after|does not reach back/);
  for (const each of [end, base, stage.offset]) await stage.restores(A, each);
});

test('a gap that grows before its backup is there counts once', async (t) => {
  const stage = await Stage.create(t);
  const { end } = await begunAnew(stage);
  const begun = stage.offset;
  while (stage.offset - begun <= 3 * stage.limitBytes) stage.write(1);
  assert.equal(stage.archiver.numbers.restarts, 1);
  assert.deepEqual(stage.archiver.status.gap?.after, at(end));
  assert.equal(stage.archiver.numbers.lagBytes, stage.offset - end);
});

test('an archive that a new backup makes whole does not fail any more, also if nothing is left for a segment', async (t) => {
  const stage = await Stage.create(t);
  stage.limitBytes = 20_000;
  await stage.start();
  stage.broken = AWAY;
  stage.write(2);
  await stage.until('the target was asked', () => stage.archiver.numbers.failures > 0);
  while (stage.archiver.numbers.restarts === 0) stage.write(1);
  stage.broken = null;
  await stage.archived();
  assert.equal(stage.archiver.status.failing, null);
});

test('a node that starts while its archive has no new backup yet says what is missing', async (t) => {
  const stage = await Stage.create(t);
  const { end } = await begunAnew(stage);
  await stage.stop();
  stage.broken = null;
  stage.makesBases = false;
  stage.begin();
  await stage.until('the target has answered', () => stage.archiver.numbers.restarts === 1);
  assert.equal(stage.archiver.numbers.lagBytes, stage.offset - end);
  assert.deepEqual(stage.archiver.status.position, at(end));
  assert.deepEqual([stage.archiver.status.gap?.after, stage.archiver.status.gap?.to], [at(end), null]);
  stage.makesBases = true;
  await stage.archived();
  assert.deepEqual(stage.archiver.status.gap?.to, at(stage.offset));
});

test('an archive that never got its first backup has nothing that can be restored, and no gap', async (t) => {
  const stage = await Stage.create(t);
  stage.limitBytes = 20_000;
  stage.makesBases = false;
  stage.begin();
  await stage.until('the target has answered', () => stage.archiver.numbers.objects !== null);
  stage.write(3);
  assert.deepEqual([stage.archiver.status.position, stage.archiver.numbers.lagBytes], [null, stage.offset]);
  stage.broken = AWAY;
  const begun = stage.offset;
  while (stage.offset - begun <= 3 * stage.limitBytes) stage.write(1);
  assert.deepEqual([stage.archiver.status.gap, stage.archiver.numbers.restarts], [null, 0]);
  stage.broken = null;
  stage.makesBases = true;
  await stage.archived();
  assert.deepEqual([stage.archiver.status.gap, stage.archiver.numbers.lagBytes], [null, 0]);
  await stage.restores(A, stage.offset);
});

test('a target that lost everything has nothing that can be restored until it got a new backup', async (t) => {
  const stage = await Stage.create(t);
  await stage.start();
  stage.write(10);
  await stage.archived();
  stage.makesBases = false;
  rmSync(join(stage.archive.folder, 'shop'), { recursive: true });
  await stage.until('the loss is noticed', () => stage.archiver.numbers.restarts === 1);
  assert.deepEqual([stage.archiver.status.position, stage.archiver.numbers.lagBytes], [null, stage.offset]);
  assert.deepEqual([stage.archiver.status.gap?.after, stage.archiver.status.gap?.to], [null, null]);
  stage.makesBases = true;
  await stage.archived();
  assert.deepEqual(stage.archiver.status.gap?.to, at(stage.offset));
});

for (const later of [0, 4]) {
  test(`a node that was restored to a moment within a segment, and wrote ${later} times, has no gap`, async (t) => {
    const stage = await Stage.stopped(t, [12]);
    const withins = stage.names().map(({ after, end }) => stage.model.commits(after, end - 1).at(-1));
    const restored = withins.findLast((each) => each !== undefined);
    assert.ok(restored !== undefined, 'a segment has several writes');
    while (stage.offset > restored) stage.model.rewind(1);
    // A restored folder has an empty journal, and knows the hash where it begins.
    stage.dropped = restored;
    stage.needed = restored;
    stage.chainFrom = offset(restored);
    stage.rename(B, restored);
    stage.write(later);
    await stage.start();
    assert.deepEqual(
      [stage.warnings, stage.archiver.numbers.restarts, stage.archiver.status.gap],
      [[], 0, null],
    );
    assert.equal(
      stage.bases,
      2,
      'nothing proves the bytes in the middle of a segment, so there is a new backup',
    );
    stage.write(5);
    await stage.archived();
    const ends = stage.model.commits(restored - 1, stage.offset);
    for (const each of [...ends.slice(0, 3), ...ends.slice(-2)]) await stage.restores(B, each);
  });
}
