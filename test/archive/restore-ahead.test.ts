/**
 * A clock that was ahead for a while, and was set right, hides no later writes from a restore to a time. Random nodes with a model, which knows
 * when each byte was written.
 */
import assert from 'node:assert/strict';
import test from 'node:test';
import { ArchiveError } from '../../src/archive/archive-error.ts';
import { CommitTimes } from '../../src/archive/commit-times.ts';
import { type Reached, replay } from '../../src/archive/restoring/replay.ts';
import { routeTo } from '../../src/archive/restoring/route.ts';
import { windowsIn } from '../../src/archive/retention/windows.ts';
import type { BackupTarget } from '../../src/node/ports/backup-target.ts';
import { newHistory } from '../../src/replication/history.ts';
import { offset } from '../../src/replication/position.ts';
import { runId } from '../support/arbitraries.ts';
import { Counter, MemoryTarget, NO_BASE } from '../support/memory-archive.ts';
import { seeded } from '../support/random.ts';

const SECOND = 1_000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
const YEAR = 365 * 24 * HOUR;
const ROUNDS = Number(process.env.AHEAD_ROUNDS ?? 40);
const A = runId('a');

/** A node that writes a byte at a time and archives. */
class Writer {
  readonly target = new MemoryTarget();
  /** When each byte was written, by a clock that is right. */
  readonly written: number[] = [];
  /** How much the clock of the node is ahead of the right one, and the clock of the target, in milliseconds. */
  aheadMs = 0;
  targetAheadMs = 0;
  #now = this.target.now;
  #archived = 0;
  #times = new CommitTimes(offset(0), this.#now);

  constructor() {
    this.target.histories.set(A, newHistory(A));
    this.base();
  }

  /** What a clock says that is right, in milliseconds since 1970. */
  get now(): number {
    return this.#now;
  }

  pass(ms: number): void {
    this.#now += Math.floor(ms);
    this.target.now = this.#now + this.targetAheadMs;
  }

  write(): void {
    this.pass(SECOND);
    this.written.push(this.#now);
    this.#times.committed(offset(this.written.length), this.#now + this.aheadMs);
    this.pass(SECOND);
  }

  archive(): void {
    this.pass(0);
    const [after, end] = [offset(this.#archived), offset(this.written.length)];
    if (after === end) return;
    this.target.segment(A, after, end, null, this.#times.between(after, end));
    this.#archived = end;
    this.#times.forget(end);
  }

  base(): void {
    this.pass(0);
    this.target.base(A, this.written.length, this.#now + this.aheadMs);
    this.pass(SECOND);
  }

  /** Writes, and archives that. */
  writes(count: number): void {
    for (let index = 0; index < count; index += 1) this.write();
    this.archive();
  }

  /** The number of bytes that were written by a time. */
  upTo(time: number): number {
    return this.written.filter((ms) => ms <= time).length;
  }

  /** @param knowsNow whether the clock of who restores is right */
  async restored(at: number, knowsNow = false): Promise<Reached & { readonly at: number }> {
    const goal = { kind: 'time', at, ...(knowsNow && { now: this.#now }) } as const;
    const catalogue = await this.target.catalogue();
    const route = await routeTo(catalogue, goal);
    const into = new Counter(route.base.offset);
    return { ...(await replay(catalogue, route, goal, into)), at: into.offset };
  }
}

test('a write with a time far ahead hides no later ones, if the target got it before that time', async () => {
  for (const inOneSegment of [false, true]) {
    const node = new Writer();
    node.writes(3);
    node.aheadMs = YEAR;
    node.write();
    node.aheadMs = 0;
    if (!inOneSegment) node.archive();
    node.writes(3);
    node.writes(3);
    const right = node.written.filter((_, index) => index !== 3);
    for (const time of right) {
      const { at, aheadFrom } = await node.restored(time);
      assert.equal(at, node.upTo(time));
      assert.equal(aheadFrom, at > 3 ? 3 : null);
    }
    const before = await node.restored((node.written[3] as number) + 1);
    assert.equal(before.at, 3);
  }
});

test('a write that a folder got while the clock was ahead hides no later ones from one whose clock is right', async () => {
  const node = new Writer();
  node.writes(3);
  [node.aheadMs, node.targetAheadMs] = [YEAR, YEAR];
  node.writes(2);
  const alone = await node.restored(node.now - SECOND, true);
  assert.deepEqual([alone.at, alone.isOfBefore], [3, true]);
  [node.aheadMs, node.targetAheadMs] = [0, 0];
  node.writes(3);
  node.writes(3);
  assert.equal((await node.restored(node.now, true)).at, node.written.length);
  assert.equal((await node.restored(node.written[6] as number, true)).at, 7);
  const blind = await node.restored(node.now);
  assert.deepEqual([blind.at, blind.hasEarlierTimes], [3, true]);
});

test('a backup is taken although a write in the segment before it has a time far ahead', async () => {
  const node = new Writer();
  node.writes(3);
  node.aheadMs = YEAR;
  node.write();
  node.aheadMs = 0;
  node.write();
  node.base();
  node.writes(3);
  node.writes(3);
  const catalogue = await node.target.catalogue();
  for (const time of [node.written[5] as number, node.now]) {
    const { base } = await routeTo(catalogue, { kind: 'time', at: time });
    assert.equal(base.offset, 5);
    assert.equal((await node.restored(time)).at, node.upTo(time));
  }
  const { windows } = await windowsIn(node.target as unknown as BackupTarget, NO_BASE);
  assert.deepEqual(
    windows.map(({ to }) => to.at),
    [node.written.at(-1)],
  );
});

test('a restore does not pass a gap because the clock was ahead before it', async () => {
  const node = new Writer();
  node.writes(3);
  node.aheadMs = YEAR;
  node.write();
  node.aheadMs = 0;
  node.writes(2);
  const last = node.written.at(-1) as number;
  const name = [...node.target.objects.keys()].length;
  node.writes(3);
  const lost = [...node.target.objects.keys()][name] as string;
  node.writes(3);
  node.target.objects.delete(lost);
  assert.equal((await node.restored(last - 1)).at, 5);
  await assert.rejects(node.restored(node.now), ArchiveError);
});

test('a target whose clock is behind changes no restore of a node whose clock is right', async () => {
  const node = new Writer();
  node.targetAheadMs = -HOUR;
  for (let index = 0; index < 5; index += 1) node.writes(3);
  node.base();
  for (let index = 0; index < 5; index += 1) node.writes(3);
  for (const time of node.written) assert.equal((await node.restored(time, true)).at, node.upTo(time));
});

test('what was written while the clock was behind is of no earlier time than what is before it', async () => {
  for (const behind of [HOUR, 50 * YEAR]) {
    for (const isFolder of [false, true]) {
      const node = new Writer();
      for (let index = 0; index < 5; index += 1) node.writes(3);
      const last = node.now;
      node.pass(10 * MINUTE);
      node.aheadMs = -behind;
      if (isFolder) node.targetAheadMs = -behind;
      for (let index = 0; index < 3; index += 1) node.writes(3);
      [node.aheadMs, node.targetAheadMs] = [0, 0];
      for (let index = 0; index < 3; index += 1) node.writes(3);
      for (const time of [last, last + 5 * MINUTE]) {
        const { at, behindFrom } = await node.restored(time, true);
        // A folder has the same clock: then nobody can tell which of the times are right.
        assert.deepEqual([at, behindFrom], isFolder ? [24, 15] : [15, null]);
      }
      const { at, behindFrom } = await node.restored(node.now, true);
      assert.deepEqual([at, behindFrom], [node.written.length, null]);
    }
  }
});

test('a clock that falls behind for a while lets a restore take nothing of later', async () => {
  for (const behind of [HOUR, 50 * YEAR]) {
    const node = new Writer();
    for (let index = 0; index < 5; index += 1) node.writes(3);
    // What is not archived yet is archived by the clock that is behind.
    node.write();
    [node.aheadMs, node.targetAheadMs] = [-behind, -behind];
    for (let index = 0; index < 5; index += 1) node.writes(3);
    [node.aheadMs, node.targetAheadMs] = [0, 0];
    for (let index = 0; index < 5; index += 1) node.writes(3);
    for (const time of node.written.slice(0, 15)) {
      const { at } = await node.restored(time, true);
      assert.ok(at <= node.upTo(time), `${at} of ${node.upTo(time)}`);
    }
  }
});

test('a restore never takes what was written later, and all of before once the clock is right', async (t) => {
  const random = seeded();
  t.diagnostic(`seed ${random.seed}`);
  const below = (limit: number): number => Math.floor(random.random() * limit);
  let [passed, missed] = [0, 0];
  for (let round = 0; round < ROUNDS; round += 1) {
    const what = `seed ${random.seed}, round ${round}`;
    const node = new Writer();
    const isAhead = new Set<number>();
    for (let step = 0; step < 40; step += 1) {
      node.pass(below(3) === 0 ? below(3 * HOUR) : below(10 * SECOND));
      if (node.aheadMs > 0) isAhead.add(node.written.length);
      node.write();
      if (below(2) === 0) node.archive();
      if (below(12) === 0) node.base();
      if (below(6) === 0) node.aheadMs = [0, 0, HOUR, YEAR][below(4)] as number;
    }
    node.archive();
    for (const [index, time] of node.written.entries()) {
      const { at, aheadFrom, hasEarlierTimes, isOfBefore } = await node.restored(time);
      assert.ok(at <= index + 1, `${what}: ${at} at ${index + 1}`);
      if (aheadFrom !== null) passed += 1;
      // What the target got after the time that it claims may have been written then.
      if (!isAhead.has(index) && !hasEarlierTimes && !isOfBefore) assert.equal(at, index + 1, what);
      if (!isAhead.has(index) && at !== index + 1) missed += 1;
    }
  }
  t.diagnostic(`${passed} restores passed a time that was ahead, ${missed} stopped there`);
  assert.ok(passed > 0);
});
