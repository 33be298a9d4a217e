/** A restore to a time after which nothing is archived says first of which moment the state is. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import test from 'node:test';
import type { Goal } from '../../src/archive/restoring/route.ts';
import { restoreTo } from '../../src/cli/tasks/restore-to.ts';
import { type Stage, stage } from '../support/archive-stage.ts';
import { BACKED_UP } from '../support/backups.ts';

const A = BACKED_UP.runId;
const START: number = BACKED_UP.offset;
const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;

/** @returns the first line of a restore, and what its JSON says of the times */
async function told({ archive, work }: Stage, goal: Goal) {
  const wanted = { isForced: false, isDry: true, dropsExpired: false };
  const { lines, result } = await restoreTo(archive.folder, join(work, 'restored'), goal, null, wanted);
  const { askedTime, reachedTime, isEnd } = result.archive as Record<string, unknown>;
  return { line: lines[0] ?? '', times: [askedTime, reachedTime, isEnd] };
}

function iso(ms: number): string {
  return new Date(ms).toISOString();
}

test('after the last archived write, a restore says of when that is and how much earlier', async (t) => {
  const staged = await stage(t, 10);
  const { archive, random, stream } = staged;
  await archive.base(START);
  await archive.segments(A, START, random.random);
  const { ms } = stream.last;
  const asked = ms + 2 * HOUR_MS + 13 * MINUTE_MS + 5_000;
  const late = await told(staged, { kind: 'time', at: asked, now: asked });
  assert.equal(
    late.line,
    `asked for ${iso(asked)}; the last archived write is of ${iso(ms)}, 2 h 13 min earlier: ` +
      'the archive ends there, and does not say whether something was written after that',
  );
  assert.deepEqual(late.times, [asked, ms, true]);
  const toCome = await told(staged, { kind: 'time', at: asked, now: asked - 1 });
  assert.match(toCome.line, /^asked for \S+, which is to come; the last archived write is of/);
  const exact = await told(staged, { kind: 'time', at: ms, now: asked });
  assert.match(exact.line, new RegExp(`is of ${iso(ms)}: the archive ends there`));
});

test('a target that has backups and no segments says of when the backup is', async (t) => {
  const staged = await stage(t, 10);
  const { archive, stream } = staged;
  await archive.base(stream.last.at);
  const { ms } = stream.last;
  const asked = ms + 52_000;
  const { line, times } = await told(staged, { kind: 'time', at: asked, now: asked });
  assert.equal(
    line,
    `asked for ${iso(asked)}; the last backup before it is of ${iso(ms)}, 52 s earlier: ` +
      'the archive ends there, as no segment follows, and does not say whether something was written after that',
  );
  assert.deepEqual(times, [asked, ms, true]);
});

test('before the last archived write, and for a position, a restore says nothing of an end', async (t) => {
  const staged = await stage(t, 10);
  const { archive, random, stream } = staged;
  await archive.base(START);
  await archive.segments(A, START, random.random);
  const { ms } = stream.states[5] ?? stream.last;
  const inside = await told(staged, { kind: 'time', at: ms, now: ms + HOUR_MS });
  assert.match(inside.line, /^would be restored/);
  assert.deepEqual(inside.times, [ms, ms, false]);
  const end = { runId: A, offset: stream.last.at } as Extract<Goal, { kind: 'position' }>['position'];
  const byPosition = await told(staged, { kind: 'position', position: end });
  assert.match(byPosition.line, /^would be restored/);
  assert.deepEqual(byPosition.times, [null, stream.last.ms, false]);
});
