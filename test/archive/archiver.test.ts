/** What a node archives while it runs: everything, in order, and never at the cost of its writes. */
import assert from 'node:assert/strict';
import { existsSync, mkdirSync, readdirSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import { committedAt, type Mark } from '../../src/archive/commit-times.ts';
import type { SegmentName } from '../../src/archive/names.ts';
import { Attempts, BASE_PACE } from '../../src/archive/running/attempts.ts';
import { openSegment } from '../../src/archive/segment-reader.ts';
import { restoreTo } from '../../src/cli/tasks/restore-to.ts';
import { TargetError } from '../../src/node/ports/backup-target.ts';
import { newHistory } from '../../src/replication/history.ts';
import { offset } from '../../src/replication/position.ts';
import { runId } from '../support/arbitraries.ts';
import { AWAY, SEGMENT_BYTES, Stage } from '../support/archiver-stage.ts';
import { BEGUN_AT, hasEntries } from '../support/archives.ts';
import { BACKED_UP } from '../support/backups.ts';

const A = BACKED_UP.runId;
const WANTED = { isForced: false, isDry: false, dropsExpired: false };
/** The timers of a stage ring only when the test says so. */
const LIMIT_MS = 5_000;

test('everything is archived without a gap, and the journal keeps nothing for it then', async (t) => {
  const stage = await Stage.create(t);
  stage.write(10);
  await stage.start();
  stage.write(40);
  await stage.archived();
  stage.write(5);
  await stage.archived();
  assert.equal(stage.bases, 1);
  assert.deepEqual(stage.warnings, []);
  assert.equal(stage.dropped, stage.offset);
  assert.equal(stage.archiver.numbers.lastSuccess, stage.model.last.ms);
  const { at: end, ms } = stage.model.last;
  const position = { runId: A, offset: offset(end) };
  assert.deepEqual(stage.archiver.status, { position, at: ms, hasBase: true, gap: null, failing: null });
  let at = (stage.names()[0] as SegmentName).after as number;
  for (const { after, end, name } of stage.names()) {
    assert.equal(after, at);
    at = end;
    const { header } = await openSegment(stage.archive.path(name));
    assert.deepEqual([header.hashBefore, header.hashAfter], [stage.hashAt(after), stage.hashAt(end)]);
    assert.equal(header.marks.at(-1)?.[0], end);
  }
  assert.equal(at, stage.offset);
  await stage.restores(A, stage.offset);
  await stage.restores(A, stage.offset - 1);
});

test('a node that starts again goes on where its archive ends, and makes no other base', async (t) => {
  const stage = await Stage.create(t);
  await stage.start();
  stage.write(20);
  await stage.archived();
  await stage.stop();
  const before = stage.names();
  // Nothing is dropped while the node does not run.
  stage.write(0);
  const { dropped } = stage;
  await stage.start();
  stage.write(20);
  await stage.archived();
  const after = stage.names().slice(before.length);
  assert.equal(after[0]?.after, before.at(-1)?.end);
  assert.ok(dropped <= (after[0]?.after as number));
  assert.equal(stage.bases, 1);
  await stage.restores(A, stage.offset);
});

test('a newer backup in the target makes no gap when the node starts again', async (t) => {
  const stage = await Stage.create(t);
  await stage.start();
  stage.write(20);
  await stage.archived();
  const end = stage.offset;
  stage.broken = AWAY;
  stage.write(5);
  await stage.stop();
  await stage.archive.base(stage.offset);
  stage.broken = null;
  await stage.start();
  stage.write(5);
  await stage.archived();
  assert.equal(stage.bases, 1);
  const later = stage.model.states.filter(({ at }) => at > end);
  for (const { at } of later.filter((_, index) => index % 3 === 0)) await stage.restores(A, at);
});

test('a gap that the journal cannot fill is left, and the archive goes on at the next backup', async (t) => {
  const stage = await Stage.create(t);
  await stage.start();
  stage.write(20);
  await stage.archived();
  const end = stage.offset;
  await stage.stop();
  stage.write(5);
  const backup = stage.offset;
  await stage.archive.base(backup);
  stage.needed = stage.offset;
  stage.write(5);
  assert.equal(stage.dropped, backup);
  await stage.start();
  stage.write(5);
  await stage.archived();
  assert.equal(stage.bases, 1);
  for (const at of [end, backup, stage.offset]) await stage.restores(A, at);
});

test('a journal that does not reach back to the archive makes it begin anew, with a base', async (t) => {
  const stage = await Stage.create(t);
  await stage.start();
  stage.write(20);
  await stage.archived();
  const end = stage.offset;
  await stage.stop();
  stage.write(20);
  assert.equal(stage.dropped, stage.offset);
  await stage.start();
  stage.write(20);
  await stage.archived();
  assert.deepEqual([stage.bases, stage.warnings], [2, ['archive-begins-anew']]);
  await stage.restores(A, stage.offset);
  await stage.restores(A, end);
  await stage.refuses(A, end + 1, /has a gap after|is in no segment/);
});

test('while the target is away, the journal waits up to its limit, and then the archive begins anew', async (t) => {
  const stage = await Stage.create(t);
  stage.limitBytes = 100_000;
  await stage.start();
  stage.write(10);
  await stage.archived();
  const end = stage.offset;
  stage.broken = AWAY;
  stage.write(2);
  await stage.until('the target was asked', () => stage.archiver.numbers.failures > 1);
  assert.equal(stage.dropped, end);
  assert.ok(stage.archiver.numbers.lagBytes > 0);
  assert.deepEqual(stage.warnings, ['archive-failed']);
  while (stage.archiver.numbers.restarts === 0) {
    stage.write(1);
    assert.ok(stage.offset - stage.dropped <= stage.limitBytes, 'the journal has a limit');
  }
  assert.ok(stage.warnings.includes('archive-begins-anew'));
  stage.write(3);
  stage.broken = null;
  await stage.archived();
  assert.equal(stage.bases, 2);
  await stage.restores(A, stage.offset);
  await stage.restores(A, end);
  await stage.refuses(A, end + 1, /has a gap after/);
});

test('a target that comes back in time costs neither a gap nor a base', async (t) => {
  const stage = await Stage.create(t);
  await stage.start();
  stage.write(5);
  await stage.archived();
  stage.broken = AWAY;
  stage.write(30);
  await stage.until('the target was asked', () => stage.archiver.numbers.failures > 2);
  stage.broken = null;
  await stage.archived();
  assert.deepEqual([stage.bases, stage.archiver.numbers.restarts], [1, 0]);
  for (const state of stage.model.states.slice(6, 12)) await stage.restores(A, state.at);
});

test('a target that is away when the node starts makes nothing wait', async (t) => {
  const stage = await Stage.create(t);
  stage.broken = AWAY;
  stage.begin();
  stage.write(30);
  await stage.until('the target was asked', () => stage.archiver.numbers.failures > 1);
  assert.equal(stage.archiver.numbers.lastSuccess, null);
  const { position, hasBase, failing } = stage.archiver.status;
  assert.deepEqual([position, hasBase, failing?.code], [null, false, 'TARGET_UNREACHABLE']);
  stage.broken = null;
  await stage.archived();
  await stage.restores(A, stage.offset);
});

test('a nearly full disk gets what the journal keeps for the archive', async (t) => {
  const stage = await Stage.create(t);
  await stage.start();
  stage.write(10);
  await stage.archived();
  stage.broken = AWAY;
  stage.missing = 1;
  while (stage.archiver.numbers.lagBytes <= 2 * SEGMENT_BYTES) stage.write(1);
  await stage.until('the journal gave up', () => stage.archiver.numbers.restarts === 1);
  assert.equal(stage.dropped, stage.offset);
  stage.missing = 0;
  stage.broken = null;
  stage.write(10);
  await stage.archived();
  await stage.restores(A, stage.offset);
});

test('a put that never ends holds neither the stop of the node nor its writes', async (t) => {
  const stage = await Stage.create(t);
  stage.limitBytes = 20_000;
  await stage.start();
  stage.write(5);
  await stage.archived();
  stage.hangs = true;
  stage.write(5);
  await stage.until('a put hangs', () => stage.hanging > 0);
  // Long writes may be more than the limit already.
  const { hanging } = stage;
  const { restarts } = stage.archiver.numbers;
  for (let round = 0; round < 1_000 && stage.archiver.numbers.restarts === restarts; round += 1)
    stage.write(1);
  stage.write(1);
  await stage.until('the next put hangs', () => stage.hanging > hanging);
  await stage.stop();
});

test('a node that stops sends what it has committed, without waiting for its age', async (t) => {
  const stage = await Stage.create(t);
  await stage.start();
  stage.write(5);
  await stage.archived();
  stage.write(40);
  // No timer rings.
  await stage.archiver.finish(LIMIT_MS);
  assert.equal(stage.archiver.numbers.lagBytes, 0);
  await stage.stop();
  await stage.restores(A, stage.offset);
});

test('a stop waits neither for a target that fails nor, beyond its limit, for one that hangs', async (t) => {
  const stage = await Stage.create(t);
  await stage.start();
  stage.write(5);
  await stage.archived();
  stage.broken = AWAY;
  stage.write(5);
  await stage.archiver.finish(LIMIT_MS);
  assert.ok(stage.archiver.numbers.lagBytes > 0);
  stage.broken = null;
  stage.hangs = true;
  const finishing = stage.archiver.finish(LIMIT_MS);
  await stage.until('a put hangs', () => stage.hanging > 0);
  stage.ring();
  await finishing;
  // Somebody who has no patience ends the wait too.
  const another = stage.archiver.finish(LIMIT_MS);
  assert.equal(stage.archiver.stopFinishing(), true);
  await another;
  assert.equal(stage.archiver.stopFinishing(), false);
});

test('a stop waits for nothing if the archive has no backup in front, or the node no master', async (t) => {
  const stage = await Stage.create(t);
  stage.isSettled = false;
  stage.begin();
  stage.write(5);
  await stage.archiver.finish(LIMIT_MS);
  stage.isSettled = true;
  stage.makesBases = false;
  await stage.until('the target was asked', () => stage.archiver.numbers.failures > 0);
  await stage.archiver.finish(LIMIT_MS);
  assert.equal(stage.bases, 0);
});

test('the archive goes on under a new run ID, with the bytes of the old one up to where both share them', async (t) => {
  const stage = await Stage.create(t);
  await stage.start();
  stage.write(20);
  await stage.archived();
  const B = runId('b');
  stage.rename(B, stage.offset);
  stage.write(20);
  await stage.archived();
  assert.equal(stage.bases, 1);
  assert.deepEqual([...new Set(stage.names().map((each) => each.runId))], [A, B]);
  await stage.restores(B, stage.offset);
  // Another rename takes back what was archived under the old run ID and not shared.
  const C = runId('c');
  const shared = stage.model.states.at(-4)?.at as number;
  stage.dropped = shared;
  stage.needed = shared;
  stage.rename(C, shared);
  stage.write(5);
  await stage.archived();
  assert.equal(stage.bases, 1);
  await stage.restores(C, stage.offset);
  stage.needed = Number.POSITIVE_INFINITY;
  // And one of which the journal does not have the rest makes the archive begin anew.
  const D = runId('d');
  stage.rename(D, (stage.model.states[3] as { at: number }).at);
  stage.write(5);
  await stage.archived();
  assert.equal(stage.bases, 2);
  await stage.restores(D, stage.offset);
});

test('after a full resync the archive begins anew', async (t) => {
  const stage = await Stage.create(t);
  await stage.start();
  stage.write(20);
  await stage.archived();
  stage.history = newHistory(runId('e'));
  stage.dropped = stage.offset;
  stage.replaced();
  stage.write(10);
  await stage.archived();
  assert.equal(stage.bases, 2);
  await stage.restores(runId('e'), stage.offset);
});

test('after a full resync the archive goes on where another node has archived the history', async (t) => {
  const stage = await Stage.create(t);
  await stage.start();
  stage.write(20);
  await stage.archived();
  // The master goes on without this node, and archives it.
  const before = stage.offset;
  stage.model.grow(10);
  const missed = stage.model.states.at(-5)?.at as number;
  await stage.archive.segment(A, before, stage.offset);
  stage.dropped = stage.offset;
  stage.replaced();
  // A promotion before the target has answered changes nothing.
  const B = runId('b');
  stage.rename(B, stage.offset);
  stage.write(10);
  await stage.archived();
  assert.deepEqual([stage.bases, stage.warnings], [1, []]);
  await stage.restores(A, missed);
  await stage.restores(B, missed);
  await stage.restores(B, stage.offset);
});

test('after a full resync past the end of the archive the node makes a new backup, and warns of a gap', async (t) => {
  const stage = await Stage.create(t);
  await stage.start();
  stage.write(20);
  await stage.archived();
  const before = stage.offset;
  stage.model.grow(10);
  stage.dropped = stage.offset;
  stage.replaced();
  stage.write(10);
  await stage.archived();
  assert.deepEqual([stage.bases, stage.warnings], [2, ['archive-begins-anew']]);
  await stage.restores(A, before);
  await stage.restores(A, stage.offset);
  await stage.refuses(A, before + 1, /byte \d+ is in no segment/);
});

test('what a killed process has left in the target goes a day later, and nothing else', async (t) => {
  const stage = await Stage.create(t);
  const folder = join(stage.archive.folder, 'shop', A);
  mkdirSync(folder, { recursive: true });
  const names = ['.psyncd-partial-00112233aabbccdd', '.psyncd-partial-ddccbbaa33221100', 'mine.txt'];
  for (const name of names) writeFileSync(join(folder, name), 'x');
  const [old, young] = [stage.model.last.ms - 25 * 3_600_000, stage.model.last.ms];
  for (const [index, name] of names.entries())
    utimesSync(join(folder, name), 0, (index === 1 ? young : old) / 1_000);
  await stage.start();
  const left = readdirSync(folder).filter((name) => !name.endsWith('.db'));
  assert.deepEqual(left.sort(), [names[1], names[2]].sort());
});

test('a replica archives nothing before it has found its master', async (t) => {
  const stage = await Stage.create(t);
  stage.isSettled = false;
  stage.begin();
  stage.write(5);
  stage.ring();
  stage.replaced();
  for (let round = 0; round < 5; round += 1) {
    await turn();
    stage.ring();
  }
  assert.deepEqual(readdirSync(stage.archive.folder), []);
  stage.isSettled = true;
  await stage.archived();
  assert.deepEqual([stage.bases, stage.archiver.numbers.restarts], [1, 0]);
});

test('where a chain of history hashes begins, a segment ends, and a restore goes on', async (t) => {
  const stage = await Stage.create(t);
  await stage.start();
  stage.write(10);
  await stage.archived();
  const begins = stage.offset;
  // The hashes from here on are those of another chain.
  const last = stage.model.last;
  stage.model.states[stage.model.states.length - 1] = { ...last, hash: 99n };
  stage.chainFrom = begins;
  stage.write(10);
  await stage.archived();
  const cut = stage.model.states.at(-5) as { at: number; hash: bigint };
  assert.ok(stage.names().some(({ after }) => after === begins));
  await stage.restores(A, stage.offset);
  await stage.restores(A, cut.at);
});

test('commits that a segment gets after a restart keep their times', async (t) => {
  const stage = await Stage.create(t);
  await stage.start();
  stage.write(5);
  await stage.archived();
  stage.broken = AWAY;
  stage.write(5);
  const last = stage.model.states.slice(-5);
  await stage.stop();
  stage.broken = null;
  // What is committed while the node archives nothing has times too.
  stage.needed = stage.offset;
  stage.model.grow(5);
  await stage.start();
  await stage.archived();
  const marks: Mark[] = [];
  for (const { name } of stage.names()) {
    const { header } = await openSegment(stage.archive.path(name));
    marks.push(...header.marks);
  }
  for (const { at, ms } of last) assert.equal(committedAt(marks, at), ms);
});

test('a segment that another node has archived first stays as it is, and a damaged one does not', async (t) => {
  const stage = await Stage.create(t);
  await stage.start();
  const before = stage.offset;
  stage.model.grow(1);
  const name = await stage.archive.segment(A, before, stage.offset, { marks: [[stage.offset, 5]] });
  stage.write(0);
  stage.archiver.committed(stage.offset);
  await stage.archived();
  const first = await openSegment(stage.archive.path(name));
  assert.deepEqual(first.header.marks, [[stage.offset, 5]]);
  const start = stage.offset;
  stage.model.grow(1);
  const damaged = await stage.archive.segment(A, start, stage.offset);
  writeFileSync(stage.archive.path(damaged), 'damaged');
  stage.archiver.committed(stage.offset);
  await stage.archived();
  await stage.restores(A, stage.offset);
});

test('a node warns before the archive has more objects than a restore reads', async (t) => {
  const stage = await Stage.create(t);
  stage.mostObjects = 10;
  await stage.start();
  const { objects } = stage.archiver.numbers;
  assert.equal(objects, 1);
  const write = async (): Promise<void> => {
    stage.write(1);
    await stage.archived();
  };
  for (let count = 1; count < 7; count += 1) await write();
  assert.deepEqual([stage.archiver.numbers.objects, stage.warnings], [7, []]);
  // Others archive there too.
  for (const name of ['1-2', '3-4']) {
    mkdirSync(stage.archive.path(`shop/${runId('b')}`), { recursive: true });
    writeFileSync(stage.archive.path(`shop/${runId('b')}/${name}.resp.zst`), 'of another node');
  }
  await write();
  await stage.until('a warning', () => stage.warnings.length > 0);
  assert.deepEqual([stage.archiver.numbers.objects, stage.warnings], [10, ['archive-nearly-too-large']]);
  await write();
  assert.deepEqual(stage.warnings, ['archive-nearly-too-large']);
});

test('a node does not warn of objects that were deleted since it counted them', async (t) => {
  const stage = await Stage.create(t);
  stage.mostObjects = 10;
  await stage.start();
  for (let count = 1; count < 7; count += 1) {
    stage.write(1);
    await stage.archived();
  }
  for (const { name } of stage.names().slice(0, 4)) rmSync(stage.archive.path(name));
  stage.write(1);
  await stage.archived();
  await stage.until('another count', () => stage.archiver.numbers.objects === 4);
  assert.deepEqual(stage.warnings, []);
});

test('a target that refuses backups costs few copies of the keyspace file', () => {
  const log = {
    debug: () => undefined,
    info: () => undefined,
    warn: () => undefined,
    error: () => undefined,
  };
  const told = { what: 'backup', target: 'the target' } as const;
  const attempts = new Attempts({ now: () => 0, random: () => 0 }, log, told, BASE_PACE);
  const waits = Array.from({ length: 6 }, () => attempts.failed(AWAY));
  assert.deepEqual(waits, [5_000, 20_000, 80_000, 300_000, 300_000, 300_000]);
  attempts.succeeded();
  assert.equal(attempts.failed(AWAY), 5_000);
});

test('the log says where and why the archive fails, once for each code, and when it works again', () => {
  const lines: unknown[] = [];
  const take = (event: string, fields?: object): void => void lines.push([event, fields]);
  const log = { debug: take, info: take, warn: take, error: take };
  let now = 100;
  const told = { what: 'segments', target: 's3://backups' } as const;
  const attempts = new Attempts({ now: () => now, random: () => 0 }, log, told);
  attempts.failed(AWAY);
  now = 200;
  attempts.failed(AWAY);
  assert.deepEqual(attempts.failing, { since: 100, at: 200, code: 'TARGET_UNREACHABLE' });
  now = 300;
  attempts.failed(new TargetError('TARGET_FULL', 'no room'));
  assert.deepEqual(attempts.failing, { since: 100, at: 300, code: 'TARGET_FULL' });
  attempts.succeeded();
  attempts.succeeded();
  assert.deepEqual(lines, [
    ['archive-failed', { ...told, code: 'TARGET_UNREACHABLE', error: 'nobody answers' }],
    ['archive-failed', { ...told, code: 'TARGET_FULL', error: 'no room' }],
    ['archive-works-again', { ...told, failures: 3 }],
  ]);
  assert.equal(attempts.failing, null);
});

test('a restore to a time has what the node had committed then', async (t) => {
  const stage = await Stage.create(t);
  await stage.start();
  stage.write(40);
  await stage.archived();
  const folder = join(stage.work, 'restored');
  const base = readdirSync(join(stage.archive.folder, 'shop', A)).find((name) =>
    name.endsWith('.db'),
  ) as string;
  const from = Number(base.split('-')[0]);
  stage.write(40);
  await stage.archived();
  for (const state of stage.model.states.filter(({ at }) => at > from).slice(3, 6)) {
    // The name of a base has whole seconds.
    assert.ok(state.ms > BEGUN_AT);
    const goal = { kind: 'time', at: state.ms + 1_000 } as const;
    await restoreTo(stage.archive.folder, folder, goal, null, WANTED);
    hasEntries(folder, stage.model.stateOf(goal.at).entries, `seed ${stage.seed}, time ${goal.at}`);
    rmSync(folder, { recursive: true });
  }
});

test('an archive says that its node needs tokens as soon as it does, without a write, and again if that is deleted', async (t) => {
  const stage = await Stage.create(t);
  stage.write(6);
  await stage.start();
  const mark = join(stage.archive.folder, 'shop/guarded');
  const goals = [
    { kind: 'time', at: Date.now() + 1e9 },
    { kind: 'position', position: { runId: A, offset: stage.offset } },
  ] as const;
  const needTokens = async (): Promise<unknown[]> => {
    const needed: unknown[] = [];
    for (const goal of goals) {
      const folder = join(stage.work, 'restored');
      const { result } = await restoreTo(stage.archive.folder, folder, goal, null, WANTED);
      needed.push(result.needsTokens, existsSync(join(folder, 'guarded')));
      rmSync(folder, { recursive: true });
    }
    return needed;
  };
  assert.ok(!existsSync(mark));
  assert.deepEqual(await needTokens(), [false, false, false, false]);
  stage.isGuarded = true;
  await stage.until('the target says it', () => existsSync(mark));
  assert.deepEqual(await needTokens(), [true, true, true, true]);
  rmSync(mark);
  await stage.until('the target says it again', () => existsSync(mark));
  // A target that does not take it gets no segments either.
  rmSync(mark);
  await stage.stop();
  stage.broken = AWAY;
  stage.begin();
  stage.write(6);
  await stage.until('the target has failed', () => stage.warnings.includes('archive-failed'));
  stage.broken = null;
  await stage.archived();
  assert.ok(existsSync(mark));
});
