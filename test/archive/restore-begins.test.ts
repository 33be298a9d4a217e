/** A restore to a time takes the history that the nodes were on, also if the clock of a node was ahead when that began. */

import assert from 'node:assert/strict';
import { utimesSync } from 'node:fs';
import test from 'node:test';
import { Catalogue } from '../../src/archive/catalogue.ts';
import { Begins } from '../../src/archive/periods/begins.ts';
import { historyOfBase } from '../../src/cli/tasks/archive-base.ts';
import type { Ancestor, LineageReason } from '../../src/replication/history.ts';
import { offset, type RunId } from '../../src/replication/position.ts';
import { FolderTarget } from '../../src/target/folder-target.ts';
import { runId } from '../support/arbitraries.ts';
import { refuses, restores, type Stage, stage } from '../support/archive-stage.ts';
import { BACKED_UP } from '../support/backups.ts';
import { reached } from '../support/reached.ts';

const A = BACKED_UP.runId;
const START: number = BACKED_UP.offset;
const [B, C] = [runId('b'), runId('c')];
const MINUTE_MS = 60_000;
const YEAR_MS = 365 * 24 * 60 * MINUTE_MS;

interface State {
  readonly at: number;
  readonly ms: number;
}

/** A stage with a commit in each minute. */
async function minutes(t: Parameters<typeof stage>[0], commits: number) {
  const staged = await stage(t, 1);
  for (let count = 0; count < commits; count += 1) staged.stream.growAfter(MINUTE_MS);
  const state = (index: number): State => staged.stream.states[index] as State;
  return { staged, state, what: `seed ${staged.random.seed}` };
}

/** The archive of A up to a commit, and of B from another one on. */
async function twoRuns(
  { archive }: Stage,
  state: (index: number) => State,
  lineage: readonly Ancestor[],
  [end, begin, last]: readonly [number, number, number],
): Promise<void> {
  await archive.base(START);
  for (let index = 0; index < end; index += 5) {
    await archive.segment(A, state(index).at, state(Math.min(end, index + 5)).at);
  }
  for (let index = begin; index < last; index += 5) {
    await archive.segment(B, state(index).at, state(Math.min(last, index + 5)).at, {}, lineage);
  }
}

test('a run ID that was taken while the clock was ahead counts from its first write', async (t) => {
  for (const reason of ['unclean-stop', 'promoted'] as const) {
    for (const ahead of reason === 'promoted' ? [2 * MINUTE_MS] : [YEAR_MS]) {
      const { staged, state, what } = await minutes(t, 40);
      const at = state(20).ms + 1_000 + ahead;
      const lineage: Ancestor[] = [{ runId: A, validTo: offset(state(20).at), reason, at }];
      await twoRuns(staged, state, lineage, [20, 20, 40]);
      for (const index of [10, 20, 21, 40]) {
        await restores(staged, { kind: 'time', at: state(index).ms }, state(index).at, `${what}, ${reason}`);
      }
      await staged.archive.base(state(30).at, B, lineage);
      await restores(staged, { kind: 'time', at: state(35).ms }, state(35).at, what);
    }
  }
});

test('a run ID that was taken while the clock was ahead counts also if it wrote by that clock at first', async (t) => {
  const { staged, state, what } = await minutes(t, 20);
  const { archive, stream } = staged;
  stream.growAfter(YEAR_MS);
  for (let count = 0; count < 4; count += 1) stream.growAfter(MINUTE_MS);
  stream.growAfter(-YEAR_MS);
  for (let count = 0; count < 20; count += 1) stream.growAfter(MINUTE_MS);
  const at = state(20).ms + YEAR_MS;
  const lineage: Ancestor[] = [{ runId: A, validTo: offset(state(20).at), reason: 'unclean-stop', at }];
  await twoRuns(staged, state, lineage, [20, 20, 45]);
  for (const [begin, end] of [
    [20, 25],
    [25, 30],
  ] as const) {
    const seconds = state(27).ms / 1_000;
    utimesSync(
      archive.path(await archive.segment(B, state(begin).at, state(end).at, {}, lineage)),
      seconds,
      seconds,
    );
  }
  await archive.base(state(35).at, B, lineage);
  for (const index of [10, 20, 36, 45]) {
    await restores(staged, { kind: 'time', at: state(index).ms }, state(index).at, `${what}, ${index}`);
  }
});

test('a run ID that has archived nothing counts from the first write of one that has grown out of it', async (t) => {
  const { staged, state, what } = await minutes(t, 40);
  const ofB: Ancestor = {
    runId: A,
    validTo: offset(state(20).at),
    reason: 'promoted',
    at: state(20).ms + YEAR_MS,
  };
  const ofC: Ancestor = { ...ofB, runId: B, reason: 'unclean-stop', at: state(20).ms + 1_000 };
  const { archive } = staged;
  await archive.base(START);
  await archive.segment(A, START, state(20).at);
  for (const index of [20, 30])
    await archive.segment(C, state(index).at, state(index + 10).at, {}, [ofC, ofB]);
  for (const index of [10, 20, 21, 40]) {
    await restores(staged, { kind: 'time', at: state(index).ms }, state(index).at, `${what}, ${index}`);
  }
});

test('between the last write of a node and the first one of a copy with a wrong begin, one has to choose', async (t) => {
  for (const reason of ['restored', 'promoted'] as const satisfies LineageReason[]) {
    const { staged, state, what } = await minutes(t, 40);
    const { archive } = staged;
    const at = state(20).ms + 1_000 + YEAR_MS;
    const lineage: Ancestor[] = [{ runId: A, validTo: offset(state(10).at), reason, at }];
    await archive.base(START);
    await archive.segment(A, START, state(20).at);
    const marks: readonly [number, number][] = [[state(30).at, state(30).ms]];
    await archive.segment(B, state(10).at, state(30).at, { marks }, lineage);
    await archive.segment(B, state(30).at, state(40).at, {}, lineage);
    for (const index of [5, 15, 20, 30, 40]) {
      await restores(staged, { kind: 'time', at: state(index).ms }, state(index).at, `${what}, ${reason}`);
    }
    for (const index of [21, 29]) {
      await refuses(staged, { kind: 'time', at: state(index).ms }, /several histories of that time/);
    }
  }
});

test('a new master whose clock is behind that of the old one, which has lost writes, makes only times around that ambiguous', async (t) => {
  const [fork, left] = [97, 100];
  for (const behindMs of [70_000, 60 * MINUTE_MS]) {
    const staged = await stage(t, 1);
    const { archive, stream } = staged;
    const what = `seed ${staged.random.seed}, ${behindMs} ms behind`;
    for (let count = 0; count < 140; count += 1) stream.growAfter(count === fork ? 120 * MINUTE_MS : 5_000);
    const state = (index: number): State => stream.states[index] as State;
    const at = state(left).ms + 2_000;
    const lineage: Ancestor[] = [{ runId: A, validTo: offset(state(fork).at), reason: 'promoted', at }];
    await archive.base(START);
    for (let index = 0; index < left; index += 10)
      await archive.segment(A, state(index).at, state(index + 10).at);
    const marks = Array.from(
      { length: 8 },
      (_, index) => [state(fork + 1 + index).at, at + 1_000 * (index + 1) - behindMs] as const,
    );
    await archive.segment(B, state(fork).at, state(105).at, { marks }, lineage);
    for (let index = 105; index < 135; index += 10)
      await archive.segment(B, state(index).at, state(index + 10).at, {}, lineage);
    for (const index of [50, 95, 110])
      await restores(
        staged,
        { kind: 'time', at: state(index).ms + 1_000 },
        state(index).at,
        `${what}, ${index}`,
      );
  }
});

test('what a node puts while its clock is behind says nothing of when its run ID began', async (t) => {
  for (const reason of ['restored', 'unclean-stop'] as const) {
    for (const [behind, index] of [
      ['backup', 15],
      ['segment', 15],
      ['segment', 19],
    ] as const) {
      for (const isCopied of [false, true]) {
        const { staged, state, what } = await minutes(t, 20);
        const { archive, work } = staged;
        // A copied target has new times.
        const puts = async (name: Promise<string>, { ms }: State): Promise<void> => {
          const seconds = (ms + (isCopied ? 60 * MINUTE_MS : 900)) / 1_000;
          utimesSync(archive.path(await name), seconds, seconds);
        };
        const [fork, left] = [4, 8];
        const at = state(left).ms + 1_000;
        const lineage: Ancestor[] = [{ runId: A, validTo: offset(state(fork).at), reason, at }];
        await puts(archive.base(START), state(0));
        await puts(archive.segment(A, START, state(fork).at), state(fork));
        await puts(archive.segment(A, state(fork).at, state(left).at), state(left));
        const { at: first, ms } = state(left + 1);
        const header = { marks: [[first, ms]] as const };
        await puts(archive.segment(B, state(fork).at, first, header, lineage), state(left + 1));
        for (let each = left + 1; each < 20; each += 1) {
          const [before, next] = [state(each), state(each + 1)];
          const wrong = behind === 'segment' && each === index ? { marks: [[next.at, 5_000]] as const } : {};
          await puts(archive.segment(B, before.at, next.at, wrong, lineage), next);
        }
        if (behind === 'backup')
          await puts(archive.base(state(index).at, B, lineage, 5_000 - state(index).ms), state(index));
        for (const each of [2, 6, 10, 19]) {
          const goal = { kind: 'time', at: state(each).ms + 500 } as const;
          const found = await reached(new FolderTarget(archive.folder), goal, work, hashIn(staged));
          assert.equal(
            found.offset,
            state(each).at,
            `${what}, ${reason}, ${behind} ${index}, ${isCopied}, ${each}`,
          );
        }
      }
    }
  }
});

test('a backup of before its run ID began does not contradict that, if what came first agrees with the clock of the target', async (t) => {
  const { staged, state, what } = await minutes(t, 20);
  const { archive } = staged;
  const at = state(8).ms + 1_000;
  const lineage: Ancestor[] = [{ runId: A, validTo: offset(state(4).at), reason: 'rolled-back', at }];
  await twoRuns(staged, state, lineage, [8, 8, 20]);
  const first = await archive.segment(B, state(4).at, state(8).at, { marks: [[state(8).at, at]] }, lineage);
  utimesSync(archive.path(first), (at + 900) / 1_000, (at + 900) / 1_000);
  await archive.base(state(12).at, B, lineage, at - 2_000 - state(12).ms);
  await restores(staged, { kind: 'time', at: at - 1 }, state(8).at, what);
});

function hashIn({ stream }: Stage): (run: RunId, at: number) => bigint {
  return (_run, at) => stream.stateAt(at).hash;
}

test('when a run ID began does not depend on the order of the list', async (t) => {
  const { staged, state, what } = await minutes(t, 50);
  const { archive, work } = staged;
  const ofB: Ancestor = {
    runId: A,
    validTo: offset(state(20).at),
    reason: 'unclean-stop',
    at: state(20).ms + YEAR_MS,
  };
  await twoRuns(staged, state, [ofB], [20, 20, 40]);
  // C goes on from before B began, and shares less of A than B does.
  const validTo = offset(state(5).at);
  const ofC: Ancestor = { runId: B, validTo, reason: 'restored', at: state(41).ms };
  const marks: readonly [number, number][] = [[state(50).at, state(50).ms]];
  await archive.segment(C, state(5).at, state(50).at, { marks }, [ofC, { ...ofB, validTo }]);
  const target = new FolderTarget(archive.folder);
  const { signal } = new AbortController();
  const catalogue = await Catalogue.read(target, null, work, signal, historyOfBase(target, work, signal));
  const { told } = await catalogue.histories();
  const [one, other] = [await Begins.of(catalogue, told), await Begins.of(catalogue, told.toReversed())];
  assert.deepEqual(one.after(ofB), other.after(ofB), what);
  await restores(staged, { kind: 'time', at: state(20).ms }, state(20).at, what);
  await restores(staged, { kind: 'time', at: state(30).ms }, state(30).at, what);
});
