/** What is deleted of an archive is never what a time needs, however the clock of the node was set. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { ArchiveError } from '../../src/archive/archive-error.ts';
import { CommitTimes, type Mark } from '../../src/archive/commit-times.ts';
import { replay } from '../../src/archive/restoring/replay.ts';
import { type Goal, routeTo } from '../../src/archive/restoring/route.ts';
import { windowsIn } from '../../src/archive/retention/windows.ts';
import type { BackupTarget } from '../../src/node/ports/backup-target.ts';
import { horizonOf } from '../../src/node/upkeep/backup-prune.ts';
import { newHistory } from '../../src/replication/history.ts';
import { offset } from '../../src/replication/position.ts';
import { runId } from '../support/arbitraries.ts';
import { Counter, MemoryTarget, NO_BASE } from '../support/memory-archive.ts';
import { seeded } from '../support/random.ts';

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;
const A = runId('a');

/** What a restore says: the offset that it reaches, whether it says that the clock was set back; or that it cannot be done. */
interface Restored {
  readonly at: number | null;
  readonly isSaid: boolean;
}

async function restored(target: MemoryTarget, ms: number): Promise<Restored> {
  const goal: Goal = { kind: 'time', at: ms };
  const catalogue = await target.catalogue();
  try {
    const route = await routeTo(catalogue, goal);
    const into = new Counter(route.base.offset);
    const { hasEarlierTimes, isOfBefore } = await replay(catalogue, route, goal, into);
    return { at: into.offset, isSaid: hasEarlierTimes || isOfBefore };
  } catch (error) {
    if (!(error instanceof ArchiveError)) throw error;
    return { at: null, isSaid: true };
  }
}

/** A node that writes a byte at a time and archives, with a clock that is set now and then. */
class Life {
  readonly target = new MemoryTarget();
  at = 0;
  archived = 0;
  /** How much the clock of the node is ahead of that of the target, in milliseconds. */
  aheadMs = 0;
  times = new CommitTimes(offset(0), this.now);

  constructor() {
    this.target.histories.set(A, newHistory(A));
  }

  get now(): number {
    return this.target.now + this.aheadMs;
  }

  pass(ms: number): void {
    this.target.now += Math.floor(ms);
  }

  write(): void {
    this.at += 1;
    this.times.committed(offset(this.at), this.now);
  }

  base(): string {
    return this.target.base(A, this.at, this.now);
  }

  /** @param isKept whether the target gets the segment */
  archive(isKept = true): void {
    const [after, end] = [offset(this.archived), offset(this.at)];
    if (after === end) return;
    const marks: readonly Mark[] = this.times.between(after, end);
    if (isKept) this.target.segment(A, after, end, undefined, marks);
    this.archived = end;
    this.times.forget(end);
  }

  /** Somebody copies the objects to another target, which gives them times of its own. */
  copied(random: () => number): void {
    const { objects, now } = this.target;
    for (const [name, object] of objects) {
      objects.set(name, { ...object, modified: now + Math.floor(random() * MINUTE) });
    }
    this.pass(MINUTE);
  }

  /** Writes, and archives that. */
  writes(...waits: number[]): void {
    for (const ms of waits) {
      this.pass(ms);
      this.write();
      this.archive();
    }
  }
}

test('a backup stays if a time needs it that a later one has writes after, as the clock was set back', async () => {
  const life = new Life();
  // The target has the same clock, as a folder has: 10:00, 12:00, and then 9:00 again.
  const [ten, nine] = [life.now, life.now - HOUR];
  const needed = life.base();
  life.writes(HOUR, HOUR);
  life.target.now = nine;
  life.base();
  life.writes(MINUTE);
  const end = ten + 5 * HOUR;
  life.target.now = end;
  const wanted = { kind: 'time', at: ten + 1.5 * HOUR } as const;
  const before = await restored(life.target, wanted.at);
  assert.equal(before.at, 1);
  const rules = [{ ageMs: 4 * HOUR, everyMs: HOUR }];
  assert.ok(horizonOf(rules, end) > ten);
  await life.target.prune(rules);
  assert.deepEqual(await restored(life.target, wanted.at), before);
  assert.ok(life.target.objects.has(needed));
});

test('a backup stays if the one before it is of a later time, as the clock was ahead', async () => {
  const life = new Life();
  life.base();
  life.writes(MINUTE);
  // The archive begins anew.
  life.write();
  life.archive(false);
  life.aheadMs = 40 * DAY;
  life.base();
  life.aheadMs = 0;
  life.writes(HOUR);
  life.base();
  life.writes(HOUR, HOUR);
  life.base();
  const wanted = life.now - MINUTE;
  const before = await restored(life.target, wanted - HOUR);
  assert.ok(before.at !== null);
  life.pass(2 * DAY);
  life.base();
  await life.target.prune([{ ageMs: 10 * DAY, everyMs: 10 * DAY }]);
  assert.deepEqual(await restored(life.target, wanted - HOUR), before);
});

test('a backup stays that alone serves times after the clock was set back', async () => {
  const life = new Life();
  life.base();
  life.writes(HOUR, HOUR, HOUR, HOUR);
  life.aheadMs = -3 * HOUR;
  life.writes(MINUTE);
  const needed = life.base();
  life.pass(4 * HOUR);
  const wanted = life.now;
  life.writes(HOUR, HOUR);
  life.copied(() => 0);
  const before = await restored(life.target, wanted);
  assert.equal(before.at, 5);
  life.base();
  await life.target.prune([{ ageMs: 30 * DAY, everyMs: 30 * DAY }]);
  assert.deepEqual(await restored(life.target, wanted), before);
  assert.ok(life.target.objects.has(needed));
});

test('each time of a window gives the same after a deletion, however the clock is set', async (t) => {
  const random = seeded();
  t.diagnostic(`seed ${random.seed}`);
  for (const hasOwnClock of [false, true]) {
    for (let round = 0; round < 6; round += 1) {
      const what = `seed ${random.seed}, round ${round}, ${hasOwnClock ? 'two clocks' : 'one clock'}`;
      await live(random.random, hasOwnClock, what);
    }
  }
});

/** @param hasOwnClock whether the clock of the target is always right; else it is that of the node */
async function live(random: () => number, hasOwnClock: boolean, what: string): Promise<void> {
  const life = new Life();
  const { target } = life;
  const rules = [
    { ageMs: (2 + Math.floor(random() * 10)) * HOUR, everyMs: (1 + Math.floor(random() * 5)) * HOUR },
    { ageMs: (12 + Math.floor(random() * 20)) * HOUR, everyMs: (1 + Math.floor(random() * 24)) * HOUR },
  ];
  life.base();
  for (let step = 0; step < 150; step += 1) {
    life.pass(random() * 40 * MINUTE);
    life.write();
    if (random() < 0.7) life.archive(random() < 0.97);
    if (random() < 0.3) life.base();
    if (random() < 0.08) {
      const by = (random() - 0.5) * 8 * HOUR;
      if (hasOwnClock) life.aheadMs = random() < 0.5 ? 0 : Math.floor(by);
      else target.now += Math.floor(by);
    }
    if (random() < 0.02) life.copied(random);
    if (random() < 0.07) await pruned(life, random, rules, `${what}, step ${step}`);
  }
}

/** Deletes, and compares what restores give before and after. */
async function pruned(
  life: Life,
  random: () => number,
  rules: readonly { readonly ageMs: number; readonly everyMs: number }[],
  what: string,
): Promise<void> {
  const { target, now } = life;
  const horizon = horizonOf(rules, now);
  const moments: number[] = [];
  const { windows } = await windowsIn(target as unknown as BackupTarget, NO_BASE);
  for (const { from, to } of windows) {
    if (from.at === null || to.at === null || to.at < horizon) continue;
    const first = Math.max(from.at, horizon);
    for (const part of [0, random(), random(), random(), 1]) {
      moments.push(first + Math.floor(part * (to.at - first)));
    }
  }
  const before = new Map<number, Restored>();
  for (const ms of moments) before.set(ms, await restored(target, ms));
  await target.prune(rules, null, 1_000, now);
  for (const [ms, had] of before) {
    if (had.at === null) continue;
    const has = await restored(target, ms);
    const message = `${what}: ${new Date(ms).toISOString()} gave ${had.at}, and gives ${has.at}`;
    assert.equal(has.at, had.at, message);
  }
}
