/** Fifty positions and fifty times, drawn at random, of an archive with several run IDs, backups and doubled segments. */
import assert from 'node:assert/strict';
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import type { Goal } from '../../src/archive/restoring/route.ts';
import { restoreTo } from '../../src/cli/tasks/restore-to.ts';
import type { Ancestor } from '../../src/replication/history.ts';
import { offset, type RunId } from '../../src/replication/position.ts';
import { runId } from '../support/arbitraries.ts';
import { BEGUN_AT, hasEntries, ModelStream, TestArchive } from '../support/archives.ts';
import { BACKED_UP } from '../support/backups.ts';
import { temporaryFolder } from '../support/cluster.ts';
import { seeded } from '../support/random.ts';

const GOALS = 50;
const START: number = BACKED_UP.offset;
const WANTED = { isForced: false, isDry: false, dropsExpired: false };

test('a restore has what was there at any position and any time', async (t) => {
  const { random, seed } = seeded();
  t.diagnostic(`seed ${seed}`);
  const below = (limit: number): number => Math.floor(random() * limit);
  const [folder, work] = [await temporaryFolder(t), await temporaryFolder(t)];
  const stream = new ModelStream(random);
  const archive = new TestArchive(folder, stream);
  // Three run IDs, each of which goes on with the bytes of the one before.
  let lineage: readonly Ancestor[] = [];
  let from = START;
  const runs: { readonly run: RunId; readonly from: number; readonly to: number }[] = [];
  await archive.base(START);
  for (const run of [BACKED_UP.runId, runId('b'), runId('c')]) {
    stream.grow(60 + below(60));
    const end = stream.last.at;
    await archive.segments(run, from, random, lineage);
    // Another node has archived some of it too.
    await archive.segments(run, stream.stateAt(from + below(end - from)).at, random, lineage);
    await archive.base(stream.stateAt(from + below(end - from)).at, run, lineage);
    runs.push({ run, from, to: end });
    lineage = [{ runId: run, validTo: offset(end), reason: 'promoted', at: stream.last.ms + 5 }, ...lineage];
    from = end;
  }
  const restored = join(work, 'restored');
  const check = async (goal: Goal, at: number, what: string): Promise<void> => {
    const { result } = await restoreTo(folder, restored, goal, null, WANTED);
    const message = `${what}; repeat with PSYNCD_SEED=${seed}`;
    assert.equal((result.backup as { offset: number }).offset, at, message);
    hasEntries(restored, stream.stateAt(at).entries, message);
    rmSync(restored, { recursive: true });
  };
  for (let round = 0; round < GOALS; round += 1) {
    const { run, from: first, to } = runs[below(runs.length)] as (typeof runs)[number];
    const at = first + below(to - first + 1);
    const position = { runId: run, offset: offset(at) };
    await check({ kind: 'position', position }, stream.stateAt(at).at, `position ${run[0]}:${at}`);
    // The second of the first backup is over after a second.
    const time = BEGUN_AT + 1_000 + below(stream.last.ms - BEGUN_AT);
    await check({ kind: 'time', at: time }, stream.stateOf(time).at, `time ${time - BEGUN_AT}`);
  }
});
