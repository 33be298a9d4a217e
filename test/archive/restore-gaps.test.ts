/** A restore to a time never gives what was there before a gap as the end of the archive. */
import { unlinkSync, writeFileSync } from 'node:fs';
import test from 'node:test';
import type { Ancestor } from '../../src/replication/history.ts';
import { offset } from '../../src/replication/position.ts';
import { runId } from '../support/arbitraries.ts';
import { position, refuses, restores, stage } from '../support/archive-stage.ts';
import { BACKED_UP } from '../support/backups.ts';

const A = BACKED_UP.runId;
const START: number = BACKED_UP.offset;
const B = runId('b');

interface State {
  readonly at: number;
  readonly ms: number;
}

test('a backup after a gap proves the gap, before any segment follows it', async (t) => {
  const staged = await stage(t, 1);
  const { archive, random, stream } = staged;
  for (let count = 0; count < 20; count += 1) stream.growAfter(5_000);
  const what = `seed ${random.seed}`;
  const [end, inside] = [10, 15].map((index) => stream.states[index]) as State[] as [State, State];
  await archive.base(START);
  await archive.segment(A, START, end.at);
  await restores(staged, { kind: 'time', at: inside.ms }, end.at, what);
  const base = await archive.base(stream.last.at);
  const gap = new RegExp(`has a gap after ${A}:${end.at}`);
  for (const { ms } of [stream.states[11] as State, inside])
    await refuses(staged, { kind: 'time', at: ms }, gap);
  await restores(staged, { kind: 'time', at: end.ms - 1 }, stream.states[9]?.at as number, what);
  // Without that backup, what another history shares proves it as well.
  unlinkSync(archive.path(base));
  const at = stream.last.ms + 5;
  const lineage: Ancestor[] = [{ runId: A, validTo: offset(stream.last.at), reason: 'promoted', at }];
  await archive.base(stream.last.at, B, lineage);
  stream.growAfter(60_000);
  await archive.segment(B, stream.states.at(-2)?.at as number, stream.last.at, {}, lineage);
  await refuses(staged, { kind: 'time', at: inside.ms }, gap);
});

test('a backup that stayed after the segments around it were deleted is no end of the archive', async (t) => {
  const staged = await stage(t, 1);
  const { archive, stream } = staged;
  for (let count = 0; count < 20; count += 1) stream.growAfter(5_000);
  const [old, first] = [5, 15].map((index) => stream.states[index]) as State[] as [State, State];
  await archive.base(old.at);
  await archive.base(first.at);
  await refuses(staged, { kind: 'time', at: first.ms - 4_000 }, new RegExp(`has a gap after ${A}:${old.at}`));
});

test('a damaged segment does not keep a restore from what is before it', async (t) => {
  const staged = await stage(t, 30);
  const { archive, random, stream } = staged;
  const what = `seed ${random.seed}`;
  const cuts = [10, 20, 30].map((index) => stream.states[index]) as State[];
  const before = stream.states[5] as State;
  await archive.base(START);
  const names: string[] = [];
  let after = START;
  for (const { at } of cuts) {
    names.push(await archive.segment(A, after, at));
    after = at;
  }
  writeFileSync(archive.path(names.at(-1) as string), 'damaged');
  for (const goal of [{ kind: 'time', at: before.ms } as const, position(before.at)]) {
    await restores(staged, goal, before.at, what);
  }
  for (const goal of [{ kind: 'time', at: stream.last.ms } as const, position(stream.last.at)]) {
    await refuses(staged, goal, /is damaged/);
  }
  // A dead history beside, with a damaged newest segment.
  stream.growAfter(60_000);
  await archive.base(stream.last.at, B);
  stream.growAfter(1_000);
  await archive.segment(B, stream.states.at(-2)?.at as number, stream.last.at);
  await restores(staged, { kind: 'time', at: stream.last.ms }, stream.last.at, what);
});
