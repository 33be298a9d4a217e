/** What of an archive is deleted: never what a moment that is to be restorable needs, and in the end all else. */
import assert from 'node:assert/strict';
import test from 'node:test';
import type { Coverage } from '../../src/archive/coverage.ts';
import { parseArchived, segmentName } from '../../src/archive/names.ts';
import { holdingsIn } from '../../src/archive/retention/holdings.ts';
import type { BackupTarget } from '../../src/node/ports/backup-target.ts';
import { type History, newHistory, renamed } from '../../src/replication/history.ts';
import { offset } from '../../src/replication/position.ts';
import { runId } from '../support/arbitraries.ts';
import { BEGIN, MemoryTarget } from '../support/memory-archive.ts';
import { seeded } from '../support/random.ts';

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;
const A = runId('a');
const B = runId('b');

/** Whether a position can be restored. */
function reachesAt(target: MemoryTarget, history: History, at: number): boolean {
  return reaches(target.coverage(history), at);
}

function reaches(coverage: Coverage, at: number): boolean {
  const base = coverage.bases.find((each) => each.offset <= at);
  return base !== undefined && (base.offset === at || coverage.reach(base.offset) >= at);
}

/** Whether a position can be restored, and is not that of a backup without segments, on which the rules alone decide. */
function reachesBySegments(coverage: Coverage, at: number): boolean {
  const before = coverage.bases.find((each) => each.offset < at);
  const isReached = before !== undefined && coverage.reach(before.offset) >= at;
  return isReached || (reaches(coverage, at) && coverage.reach(at) > at);
}

function begun(): MemoryTarget {
  const target = new MemoryTarget();
  target.histories.set(A, newHistory(A));
  return target;
}

test('a list with too many objects or gaps is refused while it is read', async () => {
  const listing = (step: number): BackupTarget =>
    ({
      shown: 'the target',
      *list() {
        for (let at = 0; ; at += step) {
          const name = segmentName('shop', A, offset(at), offset(at + 1));
          yield { name, size: 1_000, modified: 0 };
        }
      },
    }) as unknown as BackupTarget;
  await assert.rejects(
    holdingsIn(listing(1), '', {}, { most: 20_000 }),
    /^TargetError: the target has more than 20000 objects/,
  );
  await assert.rejects(holdingsIn(listing(2), '', {}), /has more than 250000 gaps between segments/);
});

test('the first backup of a day stays as long as a moment after it is to be restorable', async () => {
  const target = begun();
  const rules = [{ ageMs: DAY, everyMs: DAY }];
  const first = target.base(A, 0);
  for (let hour = 1; hour <= 30; hour += 1) {
    target.now += HOUR;
    target.segment(A, hour - 1, hour);
    target.base(A, hour);
    await target.prune(rules);
    assert.ok(hour > 24 || target.objects.has(first), `hour ${hour}`);
    for (let at = Math.max(0, hour - 23); at <= hour; at += 1)
      assert.ok(reachesAt(target, newHistory(A), at), `hour ${hour}, at ${at}`);
  }
});

test('a backup after a gap stays, because it is the only one of the segments after it', async () => {
  const target = begun();
  target.base(A, 0);
  target.now += HOUR;
  target.segment(A, 0, 10);
  const afterGap = target.base(A, 20);
  target.segment(A, 20, 30);
  target.now += HOUR;
  target.base(A, 30);
  target.now += MINUTE;
  target.base(A, 31);
  await target.prune([{ ageMs: 30 * DAY, everyMs: 30 * DAY }]);
  assert.ok(target.objects.has(afterGap));
  for (const at of [0, 10, 20, 25, 30]) assert.ok(reachesAt(target, newHistory(A), at), String(at));
});

test('segments that end before the window go, a limited number at a time', async () => {
  const target = begun();
  target.base(A, 0);
  for (let at = 0; at < 50; at += 1) target.segment(A, at, at + 1);
  target.base(A, 50);
  target.now += 2 * DAY;
  const newest = target.segment(A, 50, 51);
  target.base(A, 51);
  const rules = [{ ageMs: DAY, everyMs: HOUR }];
  assert.equal((await target.prune(rules, null, 20)).segments, 20);
  assert.equal((await target.prune(rules, null, 20)).segments, 20);
  // The segment with the last byte of the backup stays.
  assert.equal((await target.prune(rules, null, 20)).segments, 9);
  assert.equal((await target.prune(rules, null, 20)).segments, 0);
  assert.ok(target.objects.has(newest));
  for (const at of [50, 51]) assert.ok(reachesAt(target, newHistory(A), at));
});

test('what has the name of a backup and is none lets nothing be deleted, and a file with the name of a segment stays', async () => {
  const target = begun();
  const base = target.base(A, 0);
  const segment = target.segment(A, 0, 10);
  const [foreign, letter] = [
    target.base(A, 20, BEGIN, Buffer.alloc(4_096, 'x')),
    target.segment(A, 2, 3, Buffer.alloc(99)),
  ];
  target.segment(A, 10, 20);
  target.now += 3 * DAY;
  target.segment(A, 20, 30);
  const rules = [{ ageMs: DAY, everyMs: HOUR }];
  await target.prune(rules);
  for (const name of [base, segment, foreign]) assert.ok(target.objects.has(name), name);
  target.objects.delete(foreign);
  target.now -= 2 * DAY;
  target.base(A, 20);
  target.now += 2 * DAY;
  assert.equal((await target.prune(rules)).segments, 1);
  assert.ok(!target.objects.has(segment) && target.objects.has(letter));
});

for (const kind of ['empty', 'cut'] as const) {
  test(`a backup behind a segment that is ${kind} stays, because the one before does not stand in for it`, async () => {
    const target = begun();
    target.base(A, 0);
    for (let at = 0; at < 60; at += 10) target.segment(A, at, at + 10);
    const name = target.segment(A, 10, 20);
    const { bytes } = (await target.taken(name)) as { readonly bytes: Buffer };
    target.segment(A, 10, 20, bytes.subarray(0, kind === 'cut' ? bytes.length - 1 : 0));
    for (const at of [5, 20, 40, 50, 60]) target.base(A, at, target.now + at * 1_000);
    target.now += 5 * MINUTE;
    const { deleted } = await target.prune([{ ageMs: DAY, everyMs: HOUR }]);
    const offsets = deleted.map(({ position }): number => position.offset);
    assert.ok(offsets.includes(5) && offsets.includes(50) && !offsets.includes(20), offsets.join());
    target.objects.delete(name);
    for (const at of [0, 5, 10, 20, 30, 45, 55, 60])
      assert.ok(reachesAt(target, newHistory(A), at), String(at));
  });
}

for (const count of [1, 4]) {
  test(`a wrong bit in what one of ${count} segments says of its history lets nothing be deleted that is needed`, async () => {
    const target = begun();
    const forked = renamed(newHistory(A), { runId: B, validTo: offset(15), reason: 'promoted', at: BEGIN });
    target.histories.set(B, forked);
    target.base(A, 0);
    for (let at = 0; at < 40; at += 10) target.segment(A, at, at + 10);
    // The old master has gone on for a while.
    target.base(A, 35);
    let last = '';
    for (let index = 1; index <= count; index += 1) {
      if (index === count) target.now += 3 * DAY;
      last = target.segment(B, 5 + index * 10, 15 + index * 10);
    }
    const { bytes } = (await target.taken(last)) as { readonly bytes: Buffer };
    const at = bytes.indexOf(`${A}:15`) + A.length + 1;
    // 15 becomes 55.
    bytes[at] = (bytes[at] as number) ^ 4;
    const pruned = target.prune([{ ageMs: DAY, everyMs: HOUR }]);
    if (count === 1) await assert.rejects(pruned, /is damaged/);
    else await pruned;
    for (let end = 0; end < 15 + count * 10; end += 5) assert.ok(reachesAt(target, forked, end), String(end));
  });
}

test('a backup that was cut lets nothing be deleted', async () => {
  const target = begun();
  const whole = target.base(A, 0);
  const before = target.segment(A, 0, 10);
  const cut = target.base(A, 10, BEGIN, Buffer.alloc(2_048, 'b'));
  target.segment(A, 10, 20);
  target.now += 3 * DAY;
  target.base(A, 20);
  await target.prune([{ ageMs: 2 * DAY, everyMs: HOUR }]);
  for (const name of [whole, before]) assert.ok(target.objects.has(name), name);
  target.objects.delete(cut);
  for (let at = 0; at <= 20; at += 1) assert.ok(reachesAt(target, newHistory(A), at), String(at));
});

test('a clock that was once wrong lets nothing be deleted that is needed', async () => {
  const target = begun();
  const base = target.base(A, 0);
  const segment = target.segment(A, 0, 10);
  // By its name it is of the year 2001, and the target got it now.
  target.base(A, 10, Date.UTC(2001, 0, 1));
  target.now += HOUR;
  target.base(A, 11, target.now + 900 * DAY);
  target.base(A, 12);
  await target.prune([{ ageMs: DAY, everyMs: DAY }]);
  assert.ok(target.objects.has(base) && target.objects.has(segment));
});

test('a node deletes nothing of a history that is not its own, nor what that needs of its own', async () => {
  const target = begun();
  const own = newHistory(A);
  const other = renamed(own, { runId: B, validTo: offset(15), reason: 'promoted', at: BEGIN });
  target.histories.set(B, other);
  target.base(A, 0);
  for (const at of [0, 10, 20]) target.segment(A, at, at + 10);
  target.base(A, 30);
  target.segment(B, 15, 25);
  target.now += 3 * DAY;
  target.segment(A, 30, 40);
  target.segment(B, 25, 35);
  target.base(A, 40);
  const rules = [{ ageMs: DAY, everyMs: HOUR }];
  await target.prune(rules, own);
  for (const at of [20, 35]) assert.ok(reachesAt(target, other, at), String(at));
  assert.ok(
    !target.objects.has(segmentName('shop', A, offset(20), offset(30))) || reachesAt(target, own, 40),
  );
  const broken = begun();
  broken.base(A, 0);
  broken.segment(A, 0, 10);
  broken.base(A, 10);
  broken.segment(B, 10, 20, Buffer.from('no segment'));
  broken.now += 3 * DAY;
  broken.base(A, 20);
  const before = [...broken.objects.keys()];
  await assert.rejects(broken.prune(rules, own), /is damaged/);
  assert.deepEqual([...broken.objects.keys()], before);
});

test('what a node wrote after it was copied stays, however old it is, if the copy archives there too', async () => {
  const target = begun();
  const own = newHistory(A);
  target.base(A, 0);
  target.segment(A, 0, 10);
  target.now += HOUR;
  const copy = renamed(own, { runId: B, validTo: offset(5), reason: 'restored', at: target.now });
  target.histories.set(B, copy);
  target.now += MINUTE;
  target.segment(B, 5, 8);
  target.now += HOUR;
  target.segment(A, 10, 20);
  target.now += 30 * DAY;
  await target.prune([{ ageMs: DAY, everyMs: HOUR }]);
  for (const at of [10, 20]) assert.ok(reachesAt(target, own, at), String(at));
  assert.ok(reachesAt(target, copy, 8));
});

test('what a node wrote after it was copied stays also if the clock of the copy was ahead', async () => {
  for (const aheadMs of [10 * MINUTE, 365 * DAY]) {
    const target = begun();
    const own = newHistory(A);
    target.base(A, 0);
    target.segment(A, 0, 10);
    target.now += HOUR;
    const at = target.now + aheadMs;
    target.histories.set(B, renamed(own, { runId: B, validTo: offset(5), reason: 'restored', at }));
    target.now += MINUTE;
    target.segment(B, 5, 8);
    target.now += MINUTE;
    target.segment(A, 10, 20);
    target.now += 30 * DAY;
    target.base(B, 8);
    target.now += 2 * DAY;
    await target.prune([{ ageMs: DAY, everyMs: HOUR }]);
    for (const each of [10, 20]) assert.ok(reachesAt(target, own, each), String(each));
  }
});

test('the last state of a node that was put back stays as long as the moments before that are to be restorable', async () => {
  const target = begun();
  const own = newHistory(A);
  target.base(A, 0);
  target.segment(A, 0, 5);
  target.base(A, 5);
  target.segment(A, 5, 10);
  target.now += 30 * DAY;
  target.histories.set(B, renamed(own, { runId: B, validTo: offset(5), reason: 'restored', at: target.now }));
  target.base(B, 5);
  target.segment(B, 5, 8);
  const rules = [{ ageMs: 10 * DAY, everyMs: HOUR }];
  target.now += 5 * DAY;
  await target.prune(rules);
  assert.ok(reachesAt(target, own, 10));
  target.now += 30 * DAY;
  target.segment(B, 8, 9);
  target.base(B, 9);
  target.now += 11 * DAY;
  await target.prune(rules);
  assert.ok(!reachesAt(target, own, 10));
});

test('each moment that is to be restorable stays so, whatever happens to the nodes', async (t) => {
  const random = seeded();
  t.diagnostic(`seed ${random.seed}`);
  for (let round = 0; round < 8; round += 1) await live(random.random, `seed ${random.seed}, round ${round}`);
});

/** Days of a node that writes, backs up, is away, and is promoted; each hour somebody deletes. */
async function live(random: () => number, what: string): Promise<void> {
  const target = begun();
  const rules = [
    { ageMs: 6 * HOUR, everyMs: HOUR },
    { ageMs: DAY, everyMs: (1 + Math.floor(random() * 24)) * HOUR },
  ];
  let history = newHistory(A);
  let at = 0;
  const reached: { readonly at: number; readonly ms: number }[] = [];
  target.base(A, 0);
  for (let step = 0; step < 200; step += 1) {
    target.now += Math.floor(random() * 40 * MINUTE);
    const length = 1 + Math.floor(random() * 5);
    if (random() < 0.9) target.segment(history.runId, at, at + length);
    at += length;
    // Another node has archived the same with other ends.
    if (random() < 0.2) target.segment(history.runId, Math.max(0, at - 4), at);
    if (random() < 0.3) target.base(history.runId, at);
    if (random() < 0.02) {
      const next = runId('bcdef'[Math.floor(random() * 5)] as string);
      if (history.runId !== next && !history.lineage.some(({ runId: run }) => run === next)) {
        history = renamed(history, { runId: next, validTo: offset(at), reason: 'promoted', at: target.now });
        target.histories.set(next, history);
      }
    }
    reached.push({ at, ms: target.now });
    if (random() < 0.3) {
      const coverage = target.coverage(history);
      const before = reached.filter(
        (moment) => moment.ms >= target.now - DAY && reachesBySegments(coverage, moment.at),
      );
      await target.prune(rules, random() < 0.5 ? history : null, random() < 0.5 ? 5 : 1_000);
      const after = target.coverage(history);
      for (const moment of before)
        assert.ok(reaches(after, moment.at), `${what}, step ${step}: ${moment.at} is gone`);
    }
  }
  await target.prune(rules);
  // What an old master has archived after a promotion is needed for longer.
  if (history.lineage.length > 0) return;
  const first = target.coverage(history).bases.filter(({ at: time }) => time <= target.now - DAY);
  const left = [...target.objects.keys()].map(parseArchived).filter((found) => found?.kind === 'segment');
  for (const { end } of left as { readonly end: number }[]) assert.ok(end >= (first[0]?.offset ?? 0), what);
}
