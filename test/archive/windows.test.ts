/** The moments and positions that a list of windows shows can be restored. */
import assert from 'node:assert/strict';
import { readFileSync, statSync, truncateSync, utimesSync, writeFileSync } from 'node:fs';
import test from 'node:test';
import { windowsIn } from '../../src/archive/retention/windows.ts';
import { historyOfBase } from '../../src/cli/tasks/archive-base.ts';
import { listBackups } from '../../src/cli/tasks/targets.ts';
import type { Ancestor } from '../../src/replication/history.ts';
import { offset } from '../../src/replication/position.ts';
import { openTarget } from '../../src/target/open-target.ts';
import { runId } from '../support/arbitraries.ts';
import { position, refuses, restores, type Stage, stage } from '../support/archive-stage.ts';
import { BACKED_UP } from '../support/backups.ts';

const A = BACKED_UP.runId;
const START: number = BACKED_UP.offset;
const B = runId('b');
const C = runId('c');
const HOUR = 3_600_000;

interface State {
  readonly at: number;
  readonly ms: number;
}

async function listed({ archive, work }: Stage, unread: readonly string[] = []) {
  const target = await openTarget(archive.folder, {}, async () => undefined);
  const { windows, untold } = await windowsIn(
    target,
    historyOfBase(target, work, new AbortController().signal),
  );
  assert.deepEqual(
    untold.map(({ runId: each }) => each),
    unread,
  );
  return windows.map(({ from, to }) => ({
    run: to.position.runId,
    from: from.at,
    end: to.position.offset as number,
    to: to.at,
  }));
}

test('the end of a window before a gap can be restored, and no window begins after its end', async (t) => {
  const staged = await stage(t, 1);
  const { archive, random, stream } = staged;
  for (let count = 0; count < 20; count += 1) stream.growAfter(5_000);
  const [end, next] = [10, 15].map((index) => stream.states[index]) as State[] as [State, State];
  await archive.base(START);
  await archive.segment(A, START, end.at);
  await archive.base(next.at);
  await archive.segment(A, next.at, stream.last.at);
  const [first, second] = await listed(staged);
  assert.deepEqual([first?.to, second?.to], [end.ms - 1, stream.last.ms]);
  await restores(
    staged,
    { kind: 'time', at: first?.to as number },
    stream.states[9]?.at as number,
    'the end',
  );
  const short = await stage(t, 1);
  await short.archive.base(START);
  await short.archive.segment(A, START, short.stream.last.at, {
    marks: [[short.stream.last.at, short.stream.states[0]?.ms as number]],
  });
  const [only] = await listed(short);
  assert.ok((only?.from as number) <= (only?.to as number));
  await restores(
    short,
    { kind: 'time', at: only?.to as number },
    short.stream.last.at,
    `seed ${random.seed}`,
  );
});

test('what a node wrote before it was put back has a window of its own, and the times of that one', async (t) => {
  const staged = await stage(t, 40);
  const { archive, random, stream } = staged;
  const [fork, end] = [10, 20].map((index) => stream.states[index]) as State[] as [State, State];
  const at = end.ms + 1_000;
  const lineage: Ancestor[] = [{ runId: A, validTo: offset(fork.at), reason: 'restored', at }];
  for (const name of [await archive.base(START), await archive.segment(A, START, end.at)]) {
    utimesSync(archive.path(name), end.ms / 1_000, end.ms / 1_000);
  }
  const marks: readonly [number, number][] = [[stream.last.at, at + 60_000]];
  await archive.segment(B, fork.at, stream.last.at, { marks }, lineage);
  const [old, restored] = (await listed(staged)).sort((one, other) => (one.to ?? 0) - (other.to ?? 0));
  assert.deepEqual([old?.run, old?.end, old?.to], [A, end.at, end.ms]);
  assert.deepEqual([restored?.run, restored?.from, restored?.to], [B, at, at + 60_000]);
  await restores(staged, position(end.at), end.at, `seed ${random.seed}`);

  // The node that was put back went on elsewhere: since then, no moment says which of them is meant.
  await archive.segment(A, end.at, stream.last.at, { marks: [[stream.last.at, at + 90_000]] });
  const both = await listed(staged);
  assert.deepEqual(both.map(({ run, to }) => [run, to]).sort(), [
    [A, at - 1],
    [B, null],
  ]);
  await restores(staged, { kind: 'time', at: at - 1 }, end.at, `seed ${random.seed}`);
  for (const time of [at, at + 60_000, at + 120_000]) {
    await refuses(staged, { kind: 'time', at: time }, /several histories of that time/);
  }
});

test('the times of an ancestor stand in the windows of what has all of its bytes, and not in that of a fork before a gap', async (t) => {
  const staged = await stage(t, 1);
  const { archive, random, stream } = staged;
  for (let count = 0; count < 40; count += 1) stream.growAfter(5_000);
  const [fork, end, next, last, later] = [5, 10, 15, 20, 25].map((index) => stream.states[index] as State);
  assert.ok(fork && end && next && last && later);
  const shares = (validTo: number, reason: Ancestor['reason'], at: number): Ancestor[] => [
    { runId: A, validTo: offset(validTo), reason, at },
  ];
  await archive.base(START);
  await archive.segment(A, START, end.at);
  await archive.base(next.at);
  await archive.segment(A, next.at, last.at);
  await archive.segment(C, last.at, later.at, {}, shares(last.at, 'promoted', last.ms + 1));
  const at = later.ms + HOUR;
  const marks: readonly [number, number][] = [[end.at, at + 1_000]];
  await archive.segment(B, fork.at, end.at, { marks }, shares(fork.at, 'restored', at));
  const windows = await listed(staged);
  assert.deepEqual(
    windows.filter(({ run }) => run === B).map(({ from }) => from),
    [at],
  );
  for (const { from, to, run } of windows) {
    assert.ok(from !== null && to !== null);
    for (const time of [from, Math.floor((from + to) / 2), to]) {
      const states = run === C ? stream.states.filter(({ ms }) => ms <= time) : [end];
      const reached = run === B && time < at + 1_000 ? fork : (states.at(-1) as State);
      await restores(staged, { kind: 'time', at: time }, reached.at, `seed ${random.seed}`);
    }
  }
  await refuses(staged, { kind: 'time', at: end.ms + 6_000 }, /has a gap after/);
});

test('a copy that has only backups has the windows of what it shares, and makes the times of the original unsure', async (t) => {
  const staged = await stage(t, 20);
  const { archive, random, stream } = staged;
  const fork = stream.states[10] as State;
  const at = fork.ms + 5;
  await archive.base(START);
  await archive.segment(A, START, stream.last.at);
  await archive.base(fork.at, B, [{ runId: A, validTo: offset(fork.at), reason: 'restored', at }], 5_000);
  const windows = await listed(staged);
  assert.deepEqual(windows.map(({ run, end, to }) => [run, end, to]).sort(), [
    [A, stream.last.at, at - 1],
    [B, fork.at, null],
  ]);
  await restores(staged, { kind: 'time', at: at - 1 }, fork.at, `seed ${random.seed}`);
  await refuses(staged, { kind: 'time', at }, /several histories of that time/);
  await refuses(staged, { kind: 'time', at: stream.last.ms }, /several histories of that time/);
  await restores(staged, { kind: 'time', at: fork.ms }, fork.at, `seed ${random.seed}`);
});

test('damage that hides the history of one run ID leaves the windows before it', async (t) => {
  const staged = await stage(t, 1);
  const { archive, random, stream } = staged;
  for (let count = 0; count < 20; count += 1) stream.growAfter(5_000);
  const [end, next, fork] = [5, 10, 15].map((index) => stream.states[index]) as State[] as [
    State,
    State,
    State,
  ];
  await archive.base(START);
  await archive.segment(A, START, end.at);
  await archive.base(next.at);
  await archive.segment(A, next.at, fork.at);
  const since = fork.ms - 1;
  for (const [from, to] of [
    [15, 16],
    [16, 17],
    [17, 18],
    [18, 19],
    [19, 20],
  ] as const) {
    const [after, upTo] = [stream.states[from]?.at, stream.states[to]?.at] as [number, number];
    const name = await archive.segment(B, after, upTo);
    writeFileSync(archive.path(name), 'damaged');
    utimesSync(archive.path(name), since / 1_000, since / 1_000);
  }
  assert.deepEqual(
    (await listed(staged, [B])).map((each) => [each.end, each.to]),
    [
      [end.at, end.ms - 1],
      [fork.at, since - 1],
    ],
  );
  await restores(
    staged,
    { kind: 'time', at: since - 1 },
    stream.states[14]?.at as number,
    `seed ${random.seed}`,
  );
  await restores(
    staged,
    { kind: 'time', at: end.ms - 1 },
    stream.states[4]?.at as number,
    `seed ${random.seed}`,
  );
  await refuses(staged, { kind: 'time', at: fork.ms }, /several histories .* is damaged/);
  const { windows, unknown } = await listBackups(archive.folder);
  assert.equal(windows?.length, 2);
  assert.match(
    unknown ?? '',
    /is damaged: .*: nobody knows what b{40} has grown out of, so times since 2026-/,
  );
});

test('a window begins with the first time that one of its backups serves', async (t) => {
  const staged = await stage(t, 1);
  const { archive, random, stream } = staged;
  for (let count = 0; count < 20; count += 1) stream.growAfter(5_000);
  const [middle, back] = [10, 15].map((index) => stream.states[index]) as State[] as [State, State];
  await archive.base(START, A, [], 365 * 24 * 3_600_000);
  await archive.segment(A, START, middle.at);
  await archive.segment(A, middle.at, stream.last.at);
  await archive.base(middle.at);
  await archive.base(back.at);
  const [only] = await listed(staged);
  const from = Math.floor(middle.ms / 1_000) * 1_000 + 999;
  assert.deepEqual([only?.from, only?.to], [from, stream.last.ms]);
  const what = `seed ${random.seed}`;
  await restores(staged, { kind: 'time', at: from }, middle.at, what);
  await restores(staged, { kind: 'time', at: stream.last.ms }, stream.last.at, what);
  await refuses(staged, { kind: 'time', at: from - 1 }, /no backup of before/);
  await restores(staged, position(middle.at), middle.at, what);
});

test('no window has a segment that is cut or empty, nor begins with a backup that is cut', async (t) => {
  for (const [from, to] of [
    [5, 10],
    [15, 20],
  ] as const) {
    for (const left of [0, 0.5]) {
      const staged = await stage(t, 1);
      const { archive, random, stream } = staged;
      for (let count = 0; count < 19; count += 1) stream.growAfter(5_000);
      const state = (index: number): State => stream.states[index] as State;
      await archive.base(START);
      for (const begin of [0, 5, 10, 15]) {
        const name = await archive.segment(A, state(begin).at, state(begin + 5).at);
        const path = archive.path(name);
        if (begin === from) truncateSync(path, Math.floor(left * statSync(path).size));
        utimesSync(path, state(begin + 5).ms / 1_000, state(begin + 5).ms / 1_000);
      }
      if (to < 20) await archive.base(state(to).at);
      const what = `seed ${random.seed}, ${from}, ${left}`;
      const windows = await listed(staged);
      const [before, after, ...others] = windows.sort((one, other) => one.end - other.end);
      assert.deepEqual([before?.end, before?.to], [state(from).at, state(from).ms - 1], what);
      assert.equal(after?.end, to < 20 ? state(20).at : undefined, what);
      // What is left of the segment may not tell whether the backup behind it has writes of later times.
      if (to < 20) assert.ok([null, state(20).ms].includes(after?.to as number | null), what);
      assert.deepEqual(others, [], what);
      for (const each of windows) {
        for (const time of [each.from, each.to]) {
          if (time === null) continue;
          const wanted = stream.stateOf(time).at;
          await restores(staged, { kind: 'time', at: time }, wanted, what);
        }
      }
      await refuses(staged, { kind: 'time', at: state(from).ms }, /damaged/);
      await refuses(staged, position(state(from + 1).at), /damaged/);
    }
  }
  const staged = await stage(t, 1);
  const { archive, stream } = staged;
  for (let count = 0; count < 10; count += 1) stream.growAfter(5_000);
  const middle = stream.states[5] as State;
  const first = archive.path(await archive.base(START));
  await archive.base(middle.at);
  await archive.segment(A, START, stream.last.at);
  const bytes = readFileSync(first);
  writeFileSync(first, bytes.subarray(0, 8_192));
  const { windows } = await listBackups(archive.folder);
  assert.deepEqual(
    windows?.map(({ from }) => from.position),
    [`${A}:${middle.at}`],
  );
  await refuses(staged, position(START), /damaged/);
});
