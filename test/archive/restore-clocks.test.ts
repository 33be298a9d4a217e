/** A restore to a time has no later writes, also if the clock of the node was set back before a backup was made. */
import assert from 'node:assert/strict';
import { utimesSync } from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import type { Goal } from '../../src/archive/restoring/route.ts';
import { restoreTo } from '../../src/cli/tasks/restore-to.ts';
import { listBackups } from '../../src/cli/tasks/targets.ts';
import { restores, stage } from '../support/archive-stage.ts';
import { BEGUN_AT } from '../support/archives.ts';
import { BACKED_UP } from '../support/backups.ts';

const A = BACKED_UP.runId;
const START: number = BACKED_UP.offset;
const HOUR_MS = 3_600_000;

test('a backup of a clock that was set back is not taken if it has writes of later times', async (t) => {
  const staged = await stage(t, 1);
  const { archive, random, stream } = staged;
  const what = `seed ${random.seed}`;
  // The commits: 05:00, 09:30, and by a clock that was set back 08:00, 08:15 and 08:30.
  for (const hours of [4.5, -1.5, 0.25, 0.25]) stream.growAfter(hours * HOUR_MS);
  const [, early = START, late = START, back = START, next = START, last = START] = stream.states.map(
    ({ at }) => at,
  );
  const time: Goal = { kind: 'time', at: BEGUN_AT + 4 * HOUR_MS };
  const archived = async (after: number, end: number, hours: number): Promise<void> => {
    const modified = (BEGUN_AT + hours * HOUR_MS) / 1_000;
    utimesSync(archive.path(await archive.segment(A, after, end)), modified, modified);
  };
  await archive.base(START);
  await archived(START, late, 4.6);
  await archived(late, back, 5.1);
  await restores(staged, time, early, what);
  await archive.base(back);
  await restores(staged, time, early, what);
  // The segments right before the next backup have no later times.
  await archived(back, next, 5.3);
  await archived(next, last, 5.6);
  await archive.base(last);
  await restores(staged, time, early, what);
  await restores(staged, { kind: 'time', at: BEGUN_AT + 5 * HOUR_MS }, last, what);
});

test('a backup is taken although long before it the clock was ahead of that of the target', async (t) => {
  const staged = await stage(t, 1);
  const { archive, random, stream } = staged;
  for (const hours of [9_000, -8_999, 0.25, 0.25]) stream.growAfter(hours * HOUR_MS);
  const [, , ahead = START, right = START, , last = START] = stream.states.map(({ at }) => at);
  await archive.base(START);
  for (const [after, end] of [
    [START, ahead],
    [ahead, right],
    [right, last],
  ] as const) {
    const modified = (BEGUN_AT + 1.6 * HOUR_MS) / 1_000;
    utimesSync(archive.path(await archive.segment(A, after, end)), modified, modified);
  }
  await archive.base(last);
  await restores(staged, { kind: 'time', at: BEGUN_AT + 2 * HOUR_MS }, last, `seed ${random.seed}`);
});

test('a restore that ends because the clock was ahead for a moment says so', async (t) => {
  const { archive, stream, work } = await stage(t, 1);
  for (const hours of [24, -23.9, 0.1, 0.1]) stream.growAfter(hours * HOUR_MS);
  const [, early = START, , back = START, next = START, last = START] = stream.states.map(({ at }) => at);
  const ahead = stream.states[2]?.at as number;
  await archive.base(START);
  // A folder has the clock of the node, so its time may be right.
  utimesSync(
    archive.path(await archive.segment(A, START, ahead)),
    BEGUN_AT / 1_000 + 90_000,
    BEGUN_AT / 1_000 + 90_000,
  );
  await archive.segment(A, ahead, back);
  const wanted = { isForced: false, isDry: true, dropsExpired: false };
  const goal: Goal = { kind: 'time', at: BEGUN_AT + 2 * HOUR_MS };
  const restored = async () => {
    const { lines, result } = await restoreTo(archive.folder, join(work, 'restored'), goal, null, wanted);
    const { offset } = result.backup as { offset: number };
    return { offset, isSaid: lines.some((line) => line.includes('the clock of the node was set back')) };
  };
  assert.deepEqual(await restored(), { offset: early, isSaid: true });
  await archive.segment(A, back, next);
  await archive.segment(A, next, last);
  assert.deepEqual(await restored(), { offset: early, isSaid: true });
  // By the clock of who restores, it cannot.
  const now = BEGUN_AT + 3 * HOUR_MS;
  const { lines: said, result } = await restoreTo(
    archive.folder,
    join(work, 'restored'),
    { ...goal, now },
    null,
    wanted,
  );
  assert.equal((result.backup as { offset: number }).offset, last);
  assert.ok(said.some((line) => line.includes(`the clock of the node was ahead after byte ${early}`)));
  const sane = await stage(t, 10);
  await sane.archive.base(START);
  await sane.archive.segment(A, START, sane.stream.last.at);
  const { lines } = await restoreTo(
    sane.archive.folder,
    join(sane.work, 'restored'),
    { kind: 'time', at: sane.stream.states[5]?.ms as number },
    null,
    wanted,
  );
  assert.ok(!lines.some((line) => line.includes('set back')));
});

test('a time of before the first backup was made is doubtful if the clock was behind then', async (t) => {
  const MINUTE_MS = 60_000;
  for (const [behindMs, got] of [
    [40 * 24 * HOUR_MS, BEGUN_AT],
    [BEGUN_AT - 3 * MINUTE_MS, 3 * MINUTE_MS],
  ] as const) {
    const { archive, stream, work } = await stage(t, 1);
    for (let count = 0; count < 5; count += 1) stream.growAfter(MINUTE_MS);
    const base = await archive.base(START, A, [], -behindMs);
    utimesSync(archive.path(base), got / 1_000, got / 1_000);
    await archive.segment(A, START, stream.last.at);
    const isDoubtful = async (at: number): Promise<boolean> => {
      const wanted = { isForced: false, isDry: true, dropsExpired: false };
      const goal: Goal = { kind: 'time', at };
      const { lines, result } = await restoreTo(archive.folder, join(work, 'restored'), goal, null, wanted);
      const isSaid = lines.some((line) => line.includes('the clock of the node was behind'));
      assert.equal((result.archive as { mayBeLater: boolean }).mayBeLater, isSaid);
      return isSaid;
    };
    assert.equal(await isDoubtful(BEGUN_AT - 30 * 24 * HOUR_MS), true);
    assert.equal(await isDoubtful(BEGUN_AT + 3 * MINUTE_MS), false);
    const { unknown } = await listBackups(archive.folder);
    assert.match(unknown ?? '', new RegExp(`${base} only .*the clock of the node was behind`));
  }
  const right = await stage(t, 5);
  const made = await right.archive.base(START);
  utimesSync(right.archive.path(made), BEGUN_AT / 1_000 + 600, BEGUN_AT / 1_000 + 600);
  await right.archive.segment(A, START, right.stream.last.at);
  assert.equal((await listBackups(right.archive.folder)).unknown, null);
});
