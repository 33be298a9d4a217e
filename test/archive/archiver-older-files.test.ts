/** A node that was put back to older files never archives as if it had the bytes that it has lost. */
import assert from 'node:assert/strict';
import { readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import test, { type TestContext } from 'node:test';
import type { SegmentName } from '../../src/archive/names.ts';
import { openSegment } from '../../src/archive/segment-reader.ts';
import { runId } from '../support/arbitraries.ts';
import { AWAY, Stage } from '../support/archiver-stage.ts';
import type { State } from '../support/archives.ts';
import { BACKED_UP } from '../support/backups.ts';

const A = BACKED_UP.runId;
const HOUR_MS = 3_600_000;

test('a node whose files are older than its archive goes on under a new run ID', async (t) => {
  const { stage } = await Stage.putBack(t);
  stage.outdatedAs = runId('f');
  const shared = stage.offset;
  await stage.start();
  stage.write(20);
  await stage.archived();
  assert.deepEqual([stage.outdatedCalls, stage.bases], [1, 1]);
  await stage.restores(runId('f'), stage.offset);
  await stage.restores(runId('f'), shared);
});

test('a node that may not read why its files seem older takes no new run ID, and archives nothing until it may', async (t) => {
  const { stage } = await Stage.putBack(t);
  stage.outdatedAs = runId('f');
  const names = stage.names().length;
  stage.isReadable = false;
  stage.begin();
  await stage.until('the archive fails', () => stage.archiver.status.failing?.code === 'NO_ACCESS');
  assert.deepEqual([stage.outdatedCalls, stage.names().length], [0, names]);
  stage.isReadable = true;
  stage.write(20);
  await stage.archived();
  assert.equal(stage.outdatedCalls, 1);
  await stage.restores(runId('f'), stage.offset);
});

test('a node that may only list and put goes on behind what it has archived', async (t) => {
  const stage = await Stage.stopped(t, [6, 14]);
  stage.isReadable = false;
  await stage.start();
  stage.write(20);
  await stage.archived();
  assert.deepEqual([stage.outdatedCalls, stage.bases], [0, 1]);
  await stage.restores(A, stage.offset);
});

for (const kind of ['whole', 'cut'] as const) {
  const goesOn = kind === 'whole' ? 'goes on under a new run ID' : 'keeps its run ID';
  test(`a node whose archive has lost a segment and has a ${kind} one of later bytes than the node ${goesOn}`, async (t) => {
    const stage = await Stage.stopped(t, [6, 6, 6]);
    const [before, lost, last] = stage.names().slice(-3) as [SegmentName, SegmentName, SegmentName];
    rmSync(stage.archive.path(lost.name));
    if (kind === 'cut') truncateSync(stage.archive.path(last.name), 200);
    stage.model.rewind(stage.model.commits(lost.after, stage.offset).length);
    stage.dropped = before.after;
    stage.outdatedAs = runId('f');
    await stage.start();
    assert.equal(stage.history.runId, kind === 'whole' ? runId('f') : A);
    stage.write(5);
    await stage.archived();
    await stage.restores(stage.history.runId, stage.offset);
  });
}

test('a node does not replace what a clone of it has archived under its run ID, and goes on under a new one', async (t) => {
  const stage = await Stage.create(t);
  stage.outdatedAs = runId('f');
  await stage.start();
  stage.write(5);
  await stage.archived();
  const before = stage.offset;
  stage.write(1);
  const path = stage.archive.path(await stage.archive.segment(A, before, stage.offset, { hashAfter: 1n }));
  const ofClone = readFileSync(path);
  await stage.until('the node has another run ID', () => stage.history.runId === runId('f'));
  await stage.archived();
  assert.deepEqual(readFileSync(path), ofClone);
  stage.write(5);
  await stage.archived();
  await stage.restores(runId('f'), stage.offset);
});

test('a node whose files are older goes on under a new run ID, also if it has written past its archive', async (t) => {
  const { stage, end } = await Stage.putBack(t);
  stage.outdatedAs = runId('f');
  stage.began = stage.offset;
  stage.needed = stage.dropped;
  while (stage.offset <= end) stage.write(10);
  await stage.start();
  stage.write(20);
  await stage.archived();
  assert.deepEqual([stage.outdatedCalls, stage.bases], [1, 1]);
  for (const { at } of stage.model.states.filter((state) => state.at >= end).slice(0, 5))
    await stage.restores(runId('f'), at);
  await stage.restores(runId('f'), stage.began);
});

test('a node that has started twice with older files shares with its archive only what hashes prove', async (t) => {
  const { stage, end } = await Stage.putBack(t);
  const putBackTo = stage.dropped;
  stage.outdatedAs = runId('f');
  stage.needed = stage.dropped;
  stage.write(4);
  // The second start: what the first one wrote is not in the archive.
  stage.began = stage.offset;
  while (stage.offset <= end) stage.write(10);
  await stage.start();
  stage.write(20);
  await stage.archived();
  assert.deepEqual(
    stage.history.lineage.map(({ validTo }): number => validTo),
    [putBackTo],
  );
  for (const { at } of stage.model.states.filter((state) => state.at >= putBackTo).slice(0, 4))
    await stage.restores(runId('f'), at);
});

test('what a node proves to share with its archive is what the hash at the end says, and nothing before the target answers', async (t) => {
  const stage = await Stage.create(t);
  await stage.start();
  stage.write(10);
  await stage.archived();
  await stage.stop();
  const end = stage.offset;
  stage.needed = end;
  // What the node wrote while it archived nothing is in no segment.
  stage.write(10);
  stage.broken = AWAY;
  stage.begin();
  await stage.until('it has asked', () => stage.archiver.status.failing !== null);
  assert.equal(stage.archiver.proven, null);
  stage.broken = null;
  await stage.archived();
  assert.equal(stage.archiver.proven, end);
  stage.rename(runId('f'), end);
  assert.equal(stage.archiver.proven, null);
  // What the new run ID does not share is archived.
  await stage.archived();
});

test('a node whose journal cannot prove what it shares with its archive makes a new backup', async (t) => {
  const { stage, end } = await Stage.putBack(t);
  stage.outdatedAs = runId('f');
  stage.write(4);
  // With long writes it has got past the end of the archive: then nothing tells that the bytes there are others.
  const isOutdated = stage.offset <= end;
  stage.dropped = stage.offset;
  stage.began = stage.offset;
  stage.needed = stage.dropped;
  while (stage.offset <= end) stage.write(10);
  await stage.start();
  stage.write(20);
  await stage.archived();
  assert.deepEqual([stage.history.lineage[0]?.validTo, stage.bases], [isOutdated ? 0 : undefined, 2]);
  await stage.restores(stage.history.runId, stage.offset);
});

test('an end inside of a segment of an ancestor is not believed without a hash', async (t) => {
  const { stage, end } = await Stage.putBack(t);
  const proven = stage.dropped;
  stage.needed = proven;
  stage.write(8);
  const cut = stage.model.commits(proven, end).at(-1) as number;
  // A segment of before goes beyond the cut.
  stage.rename(runId('f'), cut < end ? cut : end - 1);
  stage.write(20);
  await stage.start();
  await stage.archived();
  assert.equal(stage.bases, 2);
  await stage.restores(runId('f'), stage.offset);
});

test('a node that keeps its run ID makes a new backup when the archive has other bytes', async (t) => {
  const { stage, end } = await Stage.putBack(t);
  stage.needed = stage.offset;
  while (stage.offset <= end) stage.write(10);
  await stage.start();
  stage.write(20);
  await stage.archived();
  assert.deepEqual([stage.outdatedCalls, stage.bases], [1, 2]);
  await stage.restores(A, stage.offset);
});

/** Checks that times of before the node took the run ID f are those of what it has lost, and later ones those of f. */
async function keepsTimes(stage: Stage, lost: State): Promise<void> {
  const { lineage } = stage.history;
  const at = lineage[0]?.at as number;
  assert.ok((lineage[0]?.validTo as number) < (stage.renamedAt as number), 'it had more than what it shares');
  const had = stage.model.stateAt(stage.renamedAt as number);
  for (const time of [lost.ms, Math.floor((lost.ms + at) / 2), at - 1])
    await stage.restoresTime(time, lost, `${at - time} ms before`);
  for (const time of [at, at + 1]) await stage.restoresTime(time, had, `${time - at} ms after`);
  await stage.restoresTime(stage.model.last.ms, stage.model.last, 'the last time');
}

/** A node that was put back, has written since, and hears of it two hours after its last write of before. */
async function lateHeard(t: TestContext): Promise<{ readonly stage: Stage; readonly lost: State }> {
  const { stage, lost } = await Stage.putBack(t);
  stage.outdatedAs = runId('f');
  stage.needed = stage.dropped;
  stage.write(3);
  stage.waited = lost.ms + 2 * HOUR_MS - stage.model.last.ms;
  return { stage, lost };
}

test('a time of before a node was put back gives what it had then, and later ones what it has since', async (t) => {
  const { stage, lost } = await lateHeard(t);
  await stage.start();
  stage.waited += HOUR_MS;
  stage.write(5);
  await stage.archived();
  await keepsTimes(stage, lost);
});

test('a time of before a node was put back is kept also if the node was stopped before it archived again', async (t) => {
  const { stage, lost } = await lateHeard(t);
  stage.onOutdated = () => {
    stage.broken = AWAY;
  };
  stage.begin();
  await stage.until('it has a new run ID', () => stage.history.runId === runId('f'));
  await stage.stop();
  stage.broken = null;
  stage.waited += HOUR_MS;
  stage.write(5);
  await stage.start();
  await keepsTimes(stage, lost);
});

test('a time of before a replica has shown that a node was put back is kept', async (t) => {
  const { stage, lost } = await lateHeard(t);
  stage.outdatedAs = null;
  const shared = stage.dropped;
  stage.broken = AWAY;
  stage.begin();
  stage.write(3);
  stage.waited = HOUR_MS;
  stage.rename(runId('f'), shared);
  stage.broken = null;
  await stage.archived();
  stage.waited += HOUR_MS;
  stage.write(5);
  await stage.archived();
  await keepsTimes(stage, lost);
});

/** Changes a bit of the history hash at the end of a segment. */
function flipHash(stage: Stage, name: string): void {
  const path = stage.archive.path(name);
  const bytes = readFileSync(path);
  const at = bytes.indexOf('"hashAfter":"') + '"hashAfter":"'.length;
  const digit = bytes[at] as number;
  // Another hexadecimal digit.
  bytes[at] = digit ^ ('af'.includes(String.fromCharCode(digit)) ? 2 : 1);
  writeFileSync(path, bytes);
}

test('a wrong bit in the last segment gives the node no new run ID, and the segment is archived again', async (t) => {
  const stage = await Stage.stopped(t, Array(3).fill(6));
  const last = stage.names().at(-1) as SegmentName;
  stage.dropped = last.after;
  flipHash(stage, last.name);
  await stage.start();
  assert.equal(stage.outdatedCalls, 0);
  await stage.restores(A, stage.offset);
  await openSegment(stage.archive.path(last.name));
});

test('a wrong bit in a segment takes nothing from what the node shares with the archive', async (t) => {
  const stage = await Stage.stopped(t, Array(7).fill(4));
  stage.model.rewind(2);
  stage.dropped = BACKED_UP.offset;
  const shared = stage.names().filter(({ end }) => end <= stage.offset);
  for (const { name } of shared.slice(0, -1)) flipHash(stage, name);
  stage.outdatedAs = runId('f');
  await stage.start();
  assert.deepEqual(
    stage.history.lineage.map(({ validTo }): number => validTo),
    [shared.at(-1)?.end],
  );
});

for (const isMaking of [false, true]) {
  const when = isMaking ? 'is being made' : 'was made';
  test(`a new run ID that shares less than the backup that ${when} gets another backup`, async (t) => {
    const stage = await Stage.create(t);
    stage.needed = BACKED_UP.offset;
    stage.write(5);
    const began = stage.offset;
    stage.write(5);
    let release = (): void => undefined;
    if (isMaking) {
      stage.baseHeld = new Promise<void>((resolve) => {
        release = resolve;
      });
      stage.begin();
      await stage.until('the target has answered', () => stage.archiver.pinned === stage.offset);
      stage.write(4);
    } else {
      await stage.start();
      stage.write(4);
      await stage.archived();
    }
    // Another node has shown that it has other bytes after the start of this one.
    stage.rename(runId('b'), began);
    assert.equal(stage.archiver.numbers.isWhole, false);
    stage.write(5);
    if (isMaking) {
      await stage.until('the archive goes on', () => stage.names().some((name) => name.runId === runId('b')));
      stage.baseHeld = Promise.resolve();
      release();
    }
    await stage.archived();
    await stage.restores(runId('b'), stage.offset);
    const before = stage.offset;
    stage.write(5);
    await stage.archived();
    for (const at of stage.model.commits(before, stage.offset)) await stage.restores(runId('b'), at);
  });
}

test('what a new run ID does not share with the old one is archived, also if nothing is written after it', async (t) => {
  const stage = await Stage.create(t);
  stage.needed = BACKED_UP.offset;
  await stage.start();
  stage.write(5);
  await stage.archived();
  const began = stage.offset;
  stage.write(5);
  await stage.archived();
  stage.rename(runId('b'), began);
  assert.ok(stage.archiver.numbers.lagBytes > 0);
  await stage.archived();
  assert.equal(stage.bases, 1);
  await stage.restores(runId('b'), stage.offset);
});
