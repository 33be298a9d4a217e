/** A segment that is damaged does not keep a restore from its bytes if another object of the archive has them. */
import assert from 'node:assert/strict';
import { readFileSync, renameSync, rmSync, statSync, truncateSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import type { Goal } from '../../src/archive/restoring/route.ts';
import { restoreTo } from '../../src/cli/tasks/restore-to.ts';
import { below, position, refuses, restores, type Stage, stage } from '../support/archive-stage.ts';
import { BACKED_UP } from '../support/backups.ts';

const A = BACKED_UP.runId;
const START: number = BACKED_UP.offset;

/** Changes a byte of an object, which keeps its time. */
function damage({ archive, random }: Stage, name: string): void {
  const path = archive.path(name);
  const bytes = readFileSync(path);
  const at = below(random, bytes.length);
  bytes[at] = (bytes[at] as number) ^ 1;
  writeFileSync(path, bytes);
  utimesSync(path, 1, 1);
}

for (const what of ['cut', 'changed', 'empty', 'misnamed'] as const) {
  test(`a restore takes an older backup and the segments after it if the newest one is ${what}`, async (t) => {
    const staged = await stage(t, 40);
    const { archive, random, stream, work } = staged;
    const [early, middle] = [10, 20].map((index) => stream.states[index]?.at) as [number, number];
    const end = stream.last.at;
    const oldest = await archive.base(START);
    const segments = [await archive.segment(A, START, middle), await archive.segment(A, middle, end)];
    const newest = await archive.base(what === 'misnamed' ? early : middle);
    const path = archive.path(newest.replace(`/${early}-`, `/${middle}-`));
    if (what === 'cut') truncateSync(path, statSync(path).size / 2);
    else if (what === 'empty') truncateSync(path, 0);
    else if (what === 'changed') damage(staged, newest);
    else renameSync(archive.path(newest), path);
    const goals: [Goal, number][] = [
      [position(middle), middle],
      [position(end), end],
      [{ kind: 'time', at: stream.last.ms + 1_000 }, end],
    ];
    for (const [goal, offset] of goals) await restores(staged, goal, offset, `seed ${random.seed}`);
    const wanted = { isForced: false, isDry: true, dropsExpired: false };
    const { lines } = await restoreTo(archive.folder, join(work, 'restored'), position(end), null, wanted);
    assert.ok(
      lines.some((line) => line.includes('.db is damaged: an older backup')),
      lines.join('\n'),
    );
    // That the history had come to the damaged backup shows the gap before it.
    rmSync(archive.path(segments[1] as string));
    rmSync(archive.path(segments[0] as string));
    await archive.segment(A, START, early);
    const [[there], , [now]] = goals as [[Goal], unknown, [Goal]];
    const said = /is (?:damaged|the backup).*; without it, the archive has a gap/;
    for (const goal of [there, now]) await refuses(staged, goal, said);
    rmSync(archive.path(oldest));
    for (const goal of [there, now])
      await refuses(staged, goal, /; without it, the archive does not reach back/);
  });
}

test('a restore takes the bytes of a damaged segment from another one that has them', async (t) => {
  const staged = await stage(t, 40);
  const { archive, random, stream, work } = staged;
  const what = `seed ${random.seed}`;
  const at = (index: number): number => stream.states[index]?.at as number;
  const end = stream.last.at;
  await archive.base(START);
  const first = await archive.segment(A, START, at(20));
  const second = await archive.segment(A, at(20), end);
  // Another node has archived the same with other ends.
  const [early, middle] = [await archive.segment(A, START, at(10)), await archive.segment(A, at(10), at(30))];
  const goals: [Goal, number][] = [
    [position(end), end],
    [position(at(15)), at(15)],
    [{ kind: 'time', at: stream.last.ms }, end],
    [{ kind: 'time', at: stream.states[15]?.ms as number }, at(15)],
  ];
  damage(staged, first);
  for (const [goal, offset] of goals) await restores(staged, goal, offset, what);
  const wanted = { isForced: false, isDry: true, dropsExpired: false };
  const { lines } = await restoreTo(archive.folder, join(work, 'restored'), position(end), null, wanted);
  assert.ok(
    lines.some((line) => line.includes(`${first} is damaged`)),
    lines.join('\n'),
  );

  // What is before a backup is asked for the times of its writes.
  const base = await archive.base(at(15));
  for (const [goal, offset] of goals) await restores(staged, goal, offset, what);
  rmSync(archive.path(base));

  damage(staged, middle);
  for (const [goal] of goals) await refuses(staged, goal, new RegExp(`(${first}|${middle}) is damaged`));
  await restores(staged, position(at(10)), at(10), what);
  await archive.segment(A, at(10), at(20));
  for (const [goal, offset] of goals) await restores(staged, goal, offset, what);
  damage(staged, early);
  damage(staged, second);
  for (const [goal] of goals) await refuses(staged, goal, /is damaged/);
});

test('damage before a backup keeps a restore only from times at which the target did not have it yet', async (t) => {
  const staged = await stage(t, 1);
  const { archive, random, stream } = staged;
  for (let count = 0; count < 30; count += 1) stream.growAfter(5_000);
  const what = `seed ${random.seed}`;
  const state = (index: number) => stream.states[index] as { at: number; ms: number };
  const got = (name: string, ms: number): void => utimesSync(archive.path(name), ms / 1_000, ms / 1_000);
  await archive.base(START);
  const names: string[] = [];
  for (const end of [10, 20, 30]) {
    names.push(await archive.segment(A, state(end - 10).at, state(end).at));
    got(names.at(-1) as string, state(end).ms + 3_000);
  }
  await archive.base(state(20).at);
  const before = names[1] as string;
  damage(staged, before);
  got(before, state(20).ms + 3_000);
  for (const index of [21, 25, 30]) {
    await restores(staged, { kind: 'time', at: state(index).ms }, state(index).at, what);
  }
  await restores(staged, { kind: 'time', at: state(30).ms + 86_400_000 }, state(30).at, what);
  await refuses(staged, { kind: 'time', at: state(20).ms + 2_000 }, new RegExp(`${before} is damaged`));
  await refuses(staged, { kind: 'time', at: state(15).ms }, new RegExp(`${before} is damaged`));
});
