/**
 * What an archiver puts into a target, a restore gives back: each position and each time that the list of windows shows. Random lives of a
 * node with a model, which knows what the node had at each time.
 */
import assert from 'node:assert/strict';
import test from 'node:test';
import { ArchiveError } from '../../src/archive/archive-error.ts';
import type { Goal } from '../../src/archive/restoring/route.ts';
import { windowsIn } from '../../src/archive/retention/windows.ts';
import { historyOfBase } from '../../src/cli/tasks/archive-base.ts';
import type { TargetObject } from '../../src/node/ports/backup-target.ts';
import type { RunId } from '../../src/replication/position.ts';
import { FolderTarget } from '../../src/target/folder-target.ts';
import { LivedNode } from '../support/lived-node.ts';
import { seeded } from '../support/random.ts';
import { type Reached, reached } from '../support/reached.ts';

const ROUNDS = Number(process.env.LIVED_ROUNDS ?? 2);
const STEPS = 6;

function given(node: LivedNode, goal: Goal): Promise<Reached | ArchiveError> {
  const { archive, work } = node.stage;
  const hashOf = (run: RunId, at: number): bigint | null =>
    node.statesOf(run).find((state) => state.at === at)?.hash ?? null;
  return reached(new FolderTarget(archive.folder), goal, work, hashOf).catch((error: unknown) => {
    if (error instanceof ArchiveError) return error;
    throw error;
  });
}

/** A folder that lists its objects in another order. */
class OtherOrder extends FolderTarget {
  override async *list(...given: Parameters<FolderTarget['list']>): ReturnType<FolderTarget['list']> {
    const objects: TargetObject[] = [];
    for await (const each of super.list(...given)) objects.unshift(each);
    yield* objects;
  }
}

async function windowsOf({ stage: { archive, work } }: LivedNode, kind = FolderTarget) {
  const target = new kind(archive.folder);
  const { signal } = new AbortController();
  const { windows } = await windowsIn(target, historyOfBase(target, work, signal), { signal });
  return windows;
}

/** Checks the ends of each window, and some positions and times in it, and some times of the whole life. */
async function check(node: LivedNode, what: string): Promise<void> {
  const windows = await windowsOf(node);
  const shown = (all: typeof windows): readonly string[] => all.map((each) => JSON.stringify(each)).sort();
  assert.deepEqual(shown(await windowsOf(node, OtherOrder)), shown(windows), `${what}: in another order`);
  const times: { readonly time: number; readonly isShown: boolean }[] = [];
  for (const { from, to } of windows) {
    const { runId, offset } = from.position;
    const states = node.statesOf(runId).filter(({ at }) => at >= offset && at <= to.position.offset);
    const picked = [states.at(-1), states[node.below(states.length)]];
    for (const state of picked) {
      assert.ok(state !== undefined, `${what}: ${runId}:${offset} is no position`);
      const position = { runId, offset: state.at as typeof offset };
      const found = await given(node, { kind: 'position', position });
      const where = `${what}: position ${runId}:${state.at}`;
      assert.ok(!(found instanceof ArchiveError), `${where}: ${String(found)}`);
      assert.deepEqual([found.offset, found.hash], [state.at, state.hash], where);
    }
    if (from.at === null || to.at === null) continue;
    for (const part of [0, node.below(1_000) / 1_000, 1])
      times.push({ time: from.at + Math.floor(part * (to.at - from.at)), isShown: true });
  }
  const begun = node.past[0]?.from as number;
  for (let count = 0; count < 5; count += 1)
    times.push({ time: begun + node.below(node.now - begun), isShown: false });
  for (const { time, isShown } of times) {
    const found = await given(node, { kind: 'time', at: time });
    const where = `${what}: time ${new Date(time).toISOString()}`;
    if (found instanceof ArchiveError) {
      assert.ok(!isShown, `${where}: ${String(found)}`);
      continue;
    }
    if (node.isClockWrong || node.hasLost) continue;
    const had = node.hadAt(time).map(({ at, hash }) => `${at} ${hash}`);
    const got = `${found.offset} ${found.hash}`;
    assert.ok(had.includes(got), `${where}: gives ${found.runId}:${got}, not ${had.join(' or ')}`);
  }
}

test('what the list of windows shows can be restored also if the archive has lost a segment', async (t) => {
  const random = seeded();
  for (let round = 0; round < ROUNDS; round += 1) {
    const node = await LivedNode.begun(t, random);
    for (let step = 0; step < STEPS; step += 1) await node.step();
    await node.stage.stop();
    node.loses();
    await check(node, `round ${round}, ${node.story}`);
  }
});

for (const isWrong of [false, true]) {
  const clocks = isWrong ? 'a clock that jumps' : 'a right clock';
  test(`what the list of windows shows can be restored, and is what a node with ${clocks} had then`, async (t) => {
    const random = seeded();
    for (let round = 0; round < ROUNDS; round += 1) {
      const node = await LivedNode.begun(t, random);
      for (let step = 0; step < STEPS; step += 1) {
        if (isWrong && node.below(2) === 0) node.jump();
        await node.step();
      }
      await node.stage.stop();
      await check(node, `round ${round}, ${node.story}`);
    }
  });
}
