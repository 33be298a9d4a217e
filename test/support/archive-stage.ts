/** An archive in a folder for tests of restores, with what they check each time. */
import assert from 'node:assert/strict';
import { readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import type { Goal } from '../../src/archive/restoring/route.ts';
import type { Outcome } from '../../src/cli/tasks/restore.ts';
import { restoreTo } from '../../src/cli/tasks/restore-to.ts';
import { offset, type Position } from '../../src/replication/position.ts';
import { hasEntries, ModelStream, TestArchive } from './archives.ts';
import { BACKED_UP } from './backups.ts';
import { temporaryFolder } from './cluster.ts';
import { type Seeded, seeded } from './random.ts';

const WANTED = { isForced: false, isDry: false, dropsExpired: false };

export interface Stage {
  readonly archive: TestArchive;
  readonly stream: ModelStream;
  readonly work: string;
  readonly random: Seeded;
}

/** An archive of A with a base at the begin and segments of all commits. */
export async function stage(t: TestContext, commits: number): Promise<Stage> {
  const random = seeded();
  t.diagnostic(`seed ${random.seed}`);
  const work = await temporaryFolder(t);
  const folder = await temporaryFolder(t);
  const stream = new ModelStream(random.random);
  stream.grow(commits);
  return { archive: new TestArchive(folder, stream), stream, work, random };
}

export function position(at: number, run = BACKED_UP.runId): Goal {
  return { kind: 'position', position: { runId: run, offset: offset(at) } as Position };
}

export function below(random: Seeded, limit: number): number {
  return Math.floor(random.random() * limit);
}

/** Restores, and checks that the folder has the state of that offset. */
export async function restores(
  { archive, stream, work }: Stage,
  goal: Goal,
  at: number,
  what: string,
): Promise<void> {
  const folder = join(work, 'restored');
  const { result } = await restoreTo(archive.folder, folder, goal, null, WANTED);
  const backup = result.backup as { offset: number; commitTime: number };
  assert.equal(backup.offset, at, what);
  if (goal.kind === 'time') assert.ok(backup.commitTime <= goal.at, `${what}: of ${backup.commitTime}`);
  hasEntries(folder, stream.stateAt(at).entries, what);
  assert.deepEqual(readdirSync(work), ['restored'], what);
  rmSync(folder, { recursive: true });
}

/** @returns what a restore says; the folder is gone again */
export async function restoredTo({ archive, work }: Stage, goal: Goal): Promise<Outcome> {
  const folder = join(work, 'restored');
  const outcome = await restoreTo(archive.folder, folder, goal, null, WANTED);
  rmSync(folder, { recursive: true });
  return outcome;
}

/** Checks that a restore fails with one line, and leaves nothing. */
export async function refuses({ archive, work }: Stage, goal: Goal, message: RegExp): Promise<void> {
  await assert.rejects(restoreTo(archive.folder, join(work, 'restored'), goal, null, WANTED), (error) => {
    assert.ok(error instanceof Error);
    assert.match(error.message, message);
    assert.match(error.message, /^[^\n]+$/);
    assert.ok(['ArchiveError', 'BackupError', 'CheckError'].includes(error.name), error.stack);
    return true;
  });
  assert.deepEqual(readdirSync(work), []);
}
