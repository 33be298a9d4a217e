/** A backup of another history under the same run ID and offset is never restored, nor are segments applied to it. */
import assert from 'node:assert/strict';
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import type { Goal } from '../../src/archive/restoring/route.ts';
import { restoreTo } from '../../src/cli/tasks/restore-to.ts';
import { formatHash } from '../../src/replication/history-hash.ts';
import { position, refuses, restores, type Stage, stage } from '../support/archive-stage.ts';
import { BACKED_UP, forged, withoutHash } from '../support/backups.ts';

const A = BACKED_UP.runId;
const START: number = BACKED_UP.offset;
const NOTE = 'no history hash proves';

/** Puts a base whose history hash is another one. @returns its name */
async function foreignBase({ archive }: Stage, at: number, hash = 5n): Promise<string> {
  const name = await archive.base(at);
  await forged(archive.path(name), (db) => db.prepare('UPDATE backup SET hash = ?').run(formatHash(hash)));
  return name;
}

async function linesOf({ archive, work }: Stage, goal: Goal): Promise<string> {
  const wanted = { isForced: false, isDry: true, dropsExpired: false };
  const { lines } = await restoreTo(archive.folder, join(work, 'restored'), goal, null, wanted);
  return lines.join('\n');
}

test('a backup of another history is refused by the segment with its last byte', async (t) => {
  const staged = await stage(t, 1);
  const { archive, random, stream } = staged;
  for (let count = 0; count < 20; count += 1) stream.growAfter(5_000);
  const [cut = START, inside = START, end = START] = [10, 15, 20].map((index) => stream.states[index]?.at);
  const [cutMs = 0, insideMs = 0] = [10, 15].map((index) => stream.states[index]?.ms);
  await archive.base(START);
  await archive.segment(A, START, cut);
  for (const at of [cut, inside]) {
    const goals: Goal[] = [position(at), { kind: 'time', at: (at === cut ? cutMs : insideMs) + 1_000 }];
    const base = await foreignBase(staged, at);
    const message = new RegExp(
      `${base} is of another history: its hash at byte ${at} is not that of shop/.*zst`,
    );
    if (at === cut) for (const goal of goals) await refuses(staged, goal, message);
    await archive.segment(A, cut, end);
    for (const goal of [...goals, position(end)]) await refuses(staged, goal, /is of another history/);
    rmSync(archive.path(base));
    for (const goal of goals) await restores(staged, goal, at, `seed ${random.seed}`);
    await archive.base(at);
    for (const goal of goals) await restores(staged, goal, at, `seed ${random.seed}`);
    assert.ok(!(await linesOf(staged, position(end))).includes(NOTE));
  }
});

test('a segment with which hashes begin anew proves nothing of a backup that has another hash', async (t) => {
  const staged = await stage(t, 20);
  const { archive, random, stream } = staged;
  const cut = stream.states[10]?.at as number;
  const end = stream.last.at;
  await archive.segment(A, cut, end, { beginsChain: true });
  const base = await foreignBase(staged, cut);
  await refuses(staged, position(end), new RegExp(`${base} may be of another history: .* at byte ${cut} `));
  // The segment before the backup has the same hash: the node lost it after that.
  await archive.base(START);
  const before = await archive.segment(A, START, cut, { hashAfter: 5n, hashBefore: null });
  await restores(staged, position(end), end, `seed ${random.seed}`);
  assert.ok((await linesOf(staged, position(end))).includes(`${NOTE} that what follows byte ${cut} `));
  // The backup was made after that.
  await archive.base(cut);
  await restores(staged, position(end), end, `seed ${random.seed}`);
  rmSync(archive.path(before));
});

test('a restore says that nothing proves what follows a backup without a history hash', async (t) => {
  const staged = await stage(t, 20);
  const { archive, random, stream } = staged;
  const end = stream.last.at;
  await archive.base(START);
  await archive.segment(A, START, end);
  assert.ok(!(await linesOf(staged, position(end))).includes(NOTE));
  const name = await archive.base(START);
  await withoutHash(archive.path(name));
  await restores(staged, position(end), end, `seed ${random.seed}`);
  assert.ok((await linesOf(staged, position(end))).includes(`${NOTE} that what follows byte ${START} `));
});
