/** A restore finds the bytes of a history also in what the run IDs after it have archived. */
import assert from 'node:assert/strict';
import { rmSync, utimesSync, writeFileSync } from 'node:fs';
import test from 'node:test';
import { windowsIn } from '../../src/archive/retention/windows.ts';
import type { Ancestor, LineageReason } from '../../src/replication/history.ts';
import { offset, type RunId } from '../../src/replication/position.ts';
import { FolderTarget } from '../../src/target/folder-target.ts';
import { runId } from '../support/arbitraries.ts';
import { position, refuses, restoredTo, restores, stage } from '../support/archive-stage.ts';
import { BACKED_UP } from '../support/backups.ts';

const A = BACKED_UP.runId;
const START: number = BACKED_UP.offset;
const [B, C, D] = [runId('b'), runId('c'), runId('d')];
const HOUR = 3_600_000;

interface State {
  readonly at: number;
  readonly ms: number;
}

test('a position of an old run ID is there if only the node that was promoted has archived its bytes', async (t) => {
  const staged = await stage(t, 40);
  const { archive, random, stream } = staged;
  const what = `seed ${random.seed}`;
  const [archived = START, shared = START] = [10, 30].map((index) => stream.states[index]?.at);
  const promotedAt = (stream.states[30]?.ms as number) + 5;
  const ofB: Ancestor[] = [{ runId: A, validTo: offset(shared), reason: 'promoted', at: promotedAt }];
  await archive.base(START);
  const first = await archive.segment(A, START, archived);
  // The master had archived up to here when it was lost; its replica goes on where the archive ends.
  await archive.segment(B, archived, stream.last.at, {}, ofB);
  const acknowledged = stream.states[20] as { at: number; ms: number };
  await restores(staged, position(acknowledged.at), acknowledged.at, what);
  await restores(staged, position(shared), shared, what);
  await restores(staged, { kind: 'time', at: acknowledged.ms }, acknowledged.at, what);
  await restores(staged, { kind: 'time', at: promotedAt - 1 }, shared, what);
  await refuses(staged, position(shared + 1), new RegExp(`ends after ${A}:${archived}`));

  // Nothing of A is there at all, but its descendants know it, also over a run ID between.
  const ofC: Ancestor[] = [
    { runId: B, validTo: offset(stream.last.at), reason: 'promoted', at: stream.last.ms + 5 },
    ...ofB,
  ];
  await archive.base(START, C, ofC);
  rmSync(archive.path(first));
  await refuses(staged, position(acknowledged.at), /has a gap after/);
  await archive.segment(C, START, archived, {}, ofC);
  await restores(staged, position(acknowledged.at), acknowledged.at, what);
});

test('a damaged segment of another run ID does not keep a restore from what the own segments have', async (t) => {
  const staged = await stage(t, 20);
  const { archive, random, stream } = staged;
  await archive.base(START);
  await archive.segments(A, START, random.random);
  const other = await archive.segment(B, START, stream.last.at);
  writeFileSync(archive.path(other), 'damaged');
  await restores(staged, position(stream.last.at), stream.last.at, `seed ${random.seed}`);
  await refuses(staged, position(stream.last.at + 1), /ends after .* is damaged/);
});

test('a time of a run ID that has archived nothing itself is there if its descendant has archived its bytes', async (t) => {
  const staged = await stage(t, 40);
  const { archive, random, stream } = staged;
  const what = `seed ${random.seed}`;
  const [promoted, back] = [10, 30].map((index) => stream.states[index]) as State[] as [State, State];
  // A node takes over before the next write, however soon that comes.
  const takenOver = (index: number, { ms }: State): number =>
    Math.min(ms + 5, stream.states[index + 1]?.ms ?? ms);
  const ofB: Ancestor[] = [
    { runId: A, validTo: offset(promoted.at), reason: 'promoted', at: takenOver(10, promoted) },
  ];
  const ofC: Ancestor[] = [
    { runId: B, validTo: offset(back.at), reason: 'promoted', at: takenOver(30, back) },
    ...ofB,
  ];
  await archive.base(START);
  await archive.segment(A, START, promoted.at);
  await archive.segment(C, promoted.at, stream.last.at, {}, ofC);
  for (const { at, ms } of [5, 10, 11, 20, 30, 31].map((index) => stream.states[index]) as State[]) {
    await restores(staged, { kind: 'time', at: ms }, at, what);
  }
  await restores(staged, position(stream.states[20]?.at ?? 0, B), stream.states[20]?.at ?? 0, what);
});

test('times after a copy began are refused if the node that was copied has gone on', async (t) => {
  for (const reason of ['restored', 'copied', 'promoted'] as const) {
    const staged = await stage(t, 1);
    const { archive, random, stream } = staged;
    const what = `seed ${random.seed}, ${reason}`;
    for (let count = 0; count < 20; count += 1) stream.growAfter(10_000);
    const fork = stream.states[10] as State;
    const ofB: Ancestor[] = [{ runId: A, validTo: offset(fork.at), reason, at: fork.ms + 5 }];
    await archive.base(START);
    await archive.segments(A, START, random.random);
    await archive.segment(B, fork.at, stream.states[15]?.at ?? 0, {}, ofB);
    await restores(staged, { kind: 'time', at: fork.ms }, fork.at, what);
    for (const at of [fork.ms + 6, stream.last.ms, stream.last.ms + 3_600_000]) {
      await refuses(staged, { kind: 'time', at }, /several histories of that time, a{40} and b{40}: choose/);
    }
    await restores(staged, position(stream.last.at), stream.last.at, what);
  }
});

test('a time before the first backup of a history is not given out of one that had ended', async (t) => {
  const staged = await stage(t, 1);
  const { archive, random, stream } = staged;
  const what = `seed ${random.seed}`;
  for (let count = 0; count < 30; count += 1) stream.growAfter(600_000);
  const state = (index: number): State => stream.states[index] as State;
  const grown = (from: RunId, index: number, reason: LineageReason, shared = state(index).at): Ancestor => ({
    runId: from,
    validTo: offset(shared),
    reason,
    at: state(index).ms + 1_000,
  });
  await archive.base(START);
  await archive.segment(A, START, state(5).at);
  // B was given up for a restore of an older state, so nothing names it.
  await archive.segment(B, state(5).at, state(10).at, {}, [grown(A, 5, 'restored')]);
  const ofC = { ...grown(A, 10, 'restored'), validTo: offset(state(5).at) };
  // The bytes that B has too are others, which C wrote later.
  const { at, ms } = state(11);
  await archive.segment(C, state(5).at, at, { marks: [[at, ms]] }, [ofC]);
  await archive.segment(C, at, state(20).at, {}, [ofC]);
  const ofD = [grown(C, 20, 'rolled-back', 0), { ...ofC, validTo: offset(0) }];
  await archive.base(state(22).at, D, ofD);
  await archive.segment(D, state(22).at, state(30).at, {}, ofD);
  for (const index of [8, 19, 23, 30])
    await restores(
      staged,
      { kind: 'time', at: state(index).ms + 1_000 },
      state(index).at,
      `${what}, ${index}`,
    );
  await refuses(staged, { kind: 'time', at: state(21).ms }, /no backup of before/);
  const target = new FolderTarget(archive.folder);
  const { windows } = await windowsIn(target, () => Promise.reject(new Error('a backup was asked')));
  const shown = windows.filter(({ from, to }) => {
    const [first, last] = [from.at ?? 0, to.at ?? Number.POSITIVE_INFINITY];
    return first <= state(21).ms && state(21).ms <= last;
  });
  assert.deepEqual(shown, [], what);
});

test('a copy that has archived only a backup does not hide that the node that was copied has gone on', async (t) => {
  const staged = await stage(t, 20);
  const { archive, stream } = staged;
  await archive.base(START);
  await archive.segment(A, START, stream.last.at);
  await archive.base(stream.states[10]?.at ?? 0, B);
  await refuses(staged, { kind: 'time', at: stream.last.ms }, /several histories of that time/);
});

test('a copy that has only backups counts as what its backup says that it has grown out of', async (t) => {
  const staged = await stage(t, 20);
  const { archive, random, stream } = staged;
  const what = `seed ${random.seed}`;
  const fork = stream.states[10] as State;
  const at = stream.last.ms + 1_000;
  const ofB: Ancestor[] = [{ runId: A, validTo: offset(fork.at), reason: 'restored', at }];
  await archive.base(START);
  await archive.segment(A, START, stream.last.at);
  await archive.base(fork.at, B, ofB, at + 60_000 - fork.ms);
  await restores(staged, { kind: 'time', at: at - 1 }, stream.last.at, what);
  // The node was put back, and has made its backup a minute later.
  for (const later of [1, 30_000, 120_000]) {
    await restores(staged, { kind: 'time', at: at + later }, fork.at, what);
  }
  await restores(staged, position(fork.at, B), fork.at, what);
});

test('a node that was promoted and has archived only a backup has taken over', async (t) => {
  const staged = await stage(t, 40);
  const { archive, random, stream } = staged;
  const [shared, end] = [10, 12].map((index) => stream.states[index]) as State[] as [State, State];
  const at = shared.ms + 1;
  const ofB: Ancestor[] = [{ runId: A, validTo: offset(shared.at), reason: 'promoted', at }];
  await archive.base(START);
  await archive.segment(A, START, end.at);
  await archive.base(shared.at, B, ofB, 2);
  const asked = Math.max(end.ms, shared.ms + 3_000);
  await restores(staged, { kind: 'time', at: asked }, shared.at, `seed ${random.seed}`);
});

test('damage that hides the history of one run ID keeps a restore only from times since that began', async (t) => {
  const staged = await stage(t, 40);
  const { archive, random, stream } = staged;
  const what = `seed ${random.seed}`;
  const [fork, back] = [20, 30].map((index) => stream.states[index]) as State[] as [State, State];
  const at = fork.ms + 5;
  const got = (name: string, ms: number): void => utimesSync(archive.path(name), ms / 1_000, ms / 1_000);
  await archive.base(START);
  got(await archive.segment(A, START, fork.at), at);
  // Its segments, all of which are damaged, came five seconds after the last one of A.
  const ofB: Ancestor[] = [{ runId: A, validTo: offset(fork.at), reason: 'promoted', at }];
  const names: string[] = [];
  for (const index of [21, 22, 23, 24, 25, 26]) {
    const [after, end] = [stream.states[index - 1]?.at, stream.states[index]?.at] as [number, number];
    names.push(await archive.segment(B, after, end, {}, ofB));
    writeFileSync(archive.path(names.at(-1) as string), 'damaged');
    got(names.at(-1) as string, at + 5_000);
  }
  await restores(staged, { kind: 'time', at: fork.ms }, fork.at, what);
  const { lines, result } = await restoredTo(staged, { kind: 'time', at: fork.ms });
  assert.deepEqual((result.archive as { unread: unknown }).unread, [B]);
  assert.match(lines.join(), /the history of b{40} cannot be read, so nobody knows .* is damaged/);
  await restores(staged, position(fork.at), fork.at, what);
  const since = at + 5_000;
  const several = /several histories of that time, a{40} and b{40}: choose .* is damaged/;
  for (const time of [since, since + 1_000]) await refuses(staged, { kind: 'time', at: time }, several);

  // A history that began when the archive had got everything of B is not touched by the damage.
  const restoredAt = since + 1_000;
  const ofC: Ancestor[] = [{ runId: A, validTo: offset(back.at), reason: 'restored', at: restoredAt }];
  const base = await archive.base(back.at, C, ofC, restoredAt + 1_000 - back.ms);
  got(base, restoredAt + 1_000);
  await restores(staged, { kind: 'time', at: restoredAt + 60_000 }, back.at, what);
  await refuses(staged, { kind: 'time', at: since }, several);

  // One segment that can be read is enough, however many newer ones are damaged.
  const first = names[0] as string;
  await archive.segment(B, fork.at, stream.states[21]?.at as number, {}, ofB);
  got(first, since);
  await restores(staged, { kind: 'time', at: at + 1 }, fork.at, what);
});

test('segments that are all damaged leave the times before them if a backup says the history', async (t) => {
  const staged = await stage(t, 20);
  const { archive, random, stream } = staged;
  const what = `seed ${random.seed}`;
  const end = stream.states[10] as State;
  await archive.base(START);
  await archive.base(end.at);
  const names = [10, 12, 14, 16, 18].map(async (index) => {
    const [after, upTo] = [stream.states[index]?.at, stream.states[index + 2]?.at] as [number, number];
    writeFileSync(archive.path(await archive.segment(A, after, upTo)), 'damaged');
  });
  await Promise.all(names);
  await restores(staged, position(end.at), end.at, what);
  await refuses(staged, { kind: 'time', at: stream.last.ms }, /is damaged/);
});

test('a node that went on for a moment after another one was promoted does not keep a restore from later times', async (t) => {
  const staged = await stage(t, 40);
  const { archive, random, stream } = staged;
  const [shared, promoted] = [10, 12].map((index) => stream.states[index]) as State[] as [State, State];
  const ofB: Ancestor[] = [{ runId: A, validTo: offset(shared.at), reason: 'promoted', at: shared.ms + 5 }];
  await archive.base(START);
  await archive.segment(A, START, promoted.at);
  await archive.segment(B, shared.at, stream.last.at, {}, ofB);
  await restores(staged, { kind: 'time', at: stream.last.ms }, stream.last.at, `seed ${random.seed}`);
});

test('of two restores of one node, times after the second one have what that one gave', async (t) => {
  const staged = await stage(t, 40);
  const { archive, random, stream } = staged;
  const [first, second, end] = [10, 5, 20].map((index) => stream.states[index]) as State[] as [
    State,
    State,
    State,
  ];
  const restored = (of: State, at: number): Ancestor[] => [
    { runId: A, validTo: offset(of.at), reason: 'restored', at },
  ];
  await archive.base(START);
  await archive.segment(A, START, end.at);
  // The first restore: its writes follow, and end before the second one.
  const firstAt = end.ms + 1_000;
  await archive.segment(
    B,
    first.at,
    end.at,
    { marks: [[end.at, firstAt + 1_000]] },
    restored(first, firstAt),
  );
  const secondAt = firstAt + 5_000;
  const marks: readonly [number, number][] = [[stream.last.at, secondAt + 60_000]];
  await archive.segment(C, second.at, stream.last.at, { marks }, restored(second, secondAt));
  const what = `seed ${random.seed}`;
  await restores(staged, { kind: 'time', at: secondAt - 1 }, end.at, what);
  await restores(staged, { kind: 'time', at: secondAt + 1 }, second.at, what);
  await restores(staged, { kind: 'time', at: secondAt + 60_000 }, stream.last.at, what);
});

test('a run ID that has only backups has all that it has grown out of, also if another one has forked before it began', async (t) => {
  const staged = await stage(t, 40);
  const { archive, random, stream } = staged;
  const [fork, end] = [10, 30].map((index) => stream.states[index]) as State[] as [State, State];
  const [tookOver, wentBack] = [end.ms + HOUR, end.ms + 4 * HOUR];
  const shares = (validTo: number, of: RunId, reason: LineageReason, at: number): Ancestor => {
    return { runId: of, validTo: offset(validTo), reason, at };
  };
  await archive.base(START);
  await archive.segment(A, START, end.at);
  // Nothing is written under B, and C goes on from before it began, so that C says less of what B has grown out of.
  await archive.base(end.at, B, [shares(end.at, A, 'promoted', tookOver)], 3 * HOUR);
  const ofC = [shares(fork.at, B, 'restored', wentBack), shares(fork.at, A, 'promoted', tookOver)];
  const marks: readonly [number, number][] = [[end.at, wentBack + 5_000]];
  await archive.segment(C, fork.at, end.at, { marks }, ofC);
  const what = `seed ${random.seed}`;
  await restores(staged, { kind: 'time', at: tookOver + HOUR }, end.at, what);
  await restores(staged, { kind: 'time', at: wentBack + 1_000 }, fork.at, what);
});
