/** What the journal keeps for absent replicas and followers may be damaged: nobody continues before the damage, and all else goes on. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { JournalKeep } from '../../src/node/head/journal-keep.ts';
import { FilesDamaged, StorageError } from '../../src/node/ports/failures.ts';
import { Problem } from '../../src/node/problem.ts';
import { Diffs } from '../../src/node/upkeep/diff/diffs.ts';
import { type Offset, offset, type Position } from '../../src/replication/position.ts';
import type { Command } from '../../src/stream/command.ts';
import { KIB, keyspaceAt, MIB, RUN_ID, Stage } from '../support/feed-stage.ts';

const ROWS = 100;
/** The row that is damaged, of `ROWS`. */
const DAMAGED = 40;

function at(position: number): Position {
  return { runId: RUN_ID, offset: offset(position) };
}

/** A stream of `ROWS` KiB, of which the backlog has the last 16 KiB and the journal all; one of the older rows is damaged. */
function stage(): { readonly stage: Stage; readonly from: Offset; readonly upTo: Offset } {
  const made = new Stage(16 * KIB, undefined, [], MIB);
  for (let index = 0; index < ROWS; index += 1) made.set(`k${index}`, KIB);
  const row = made.rows[DAMAGED];
  assert.ok(row !== undefined);
  made.damage(row.end);
  return { stage: made, from: offset(row.start), upTo: offset(row.end) };
}

/** Reads what is damaged, as whoever comes first does. */
function find({ head }: Stage, from: Offset): void {
  assert.throws(
    () => head.read(from, 1),
    (error) => error instanceof StorageError && error.damaged,
  );
}

function firstOf({ head }: Stage): number {
  return head.window.firstOffset - 1;
}

test('the window begins behind what was found damaged', () => {
  let damagedUpTo = 300;
  const settings = { journalKeepBytes: 1_000, journalKeepMs: null };
  const keep = new JournalKeep(settings, offset(0), 0, () => offset(damagedUpTo));
  const backlog = { firstOffset: 901, length: 100 };
  assert.deepEqual(keep.window(backlog, 0), { firstOffset: 301, length: 700 });
  assert.equal(keep.from(offset(1_000), 0), 300);
  damagedUpTo = 950;
  assert.deepEqual(keep.window(backlog, 0), { firstOffset: 951, length: 50 });
  damagedUpTo = 1_000;
  assert.deepEqual(keep.window(backlog, 0), { firstOffset: 1_001, length: 0 });
  const none = new JournalKeep({ ...settings, journalKeepBytes: 0 }, offset(0), 0, () => offset(950));
  assert.deepEqual(none.window(backlog, 0), { firstOffset: 951, length: 50 });
});

test('nobody continues before a row that was found damaged, and everybody does behind it', () => {
  const { stage: it, from, upTo } = stage();
  assert.equal(it.head.decideFrom(at(from)).kind, 'continue');
  find(it, from);
  for (const each of [0, from]) {
    assert.deepEqual(it.head.decideFrom(at(each)), { kind: 'full-resync', reason: 'behind-backlog' });
  }
  assert.equal(it.head.decideFrom(at(upTo)).kind, 'continue');
  assert.equal(firstOf(it), upTo);
  it.set('later', KIB);
  assert.equal(firstOf(it), upTo);
});

test('a position in a damaged row is one from which nobody continues', () => {
  const before = new Stage(MIB);
  const set = (key: string): Command => ({ kind: 'set', key, value: Buffer.alloc(KIB), expiresAt: null });
  for (let index = 0; index < ROWS; index += 1) before.commit(set(`a${index}`), set(`b${index}`));
  const { start, end } = before.rows[DAMAGED] as { readonly start: number; readonly end: number };
  const keyspace = keyspaceAt(before.head.position, new Map());
  const it = new Stage(16 * KIB, keyspace, before.rows, MIB, [end]);
  const between = at(start + (end - start) / 2);
  assert.deepEqual(it.head.decideFrom(between), { kind: 'full-resync', reason: 'behind-backlog' });
});

test('a follower gets what comes before the damage, and then a snapshot', async () => {
  const { stage: it } = stage();
  const { socket } = it.follow(`position=${RUN_ID}:0`);
  await it.world.settle();
  assert.equal(socket.closed, null);
  const reset = socket.events.find(({ type }) => type === 'reset');
  assert.equal(reset?.reason, 'behind-backlog');
  assert.ok(socket.seen.includes(`k${DAMAGED - 1}`));
  assert.equal(socket.seen.filter((each) => each === `k${ROWS - 1}`).length, 1);
});

test('a follower that wants no snapshot learns that its position is lost', async () => {
  const { stage: it } = stage();
  const { socket } = it.follow(`position=${RUN_ID}:0&snapshot=false`);
  await it.world.settle();
  const error = socket.events.at(-1) as unknown as { readonly code: string; readonly reason: string };
  assert.deepEqual([error.code, error.reason], ['POSITION_LOST', 'behind-backlog']);
});

test('a follower that wants the changes since a time learns the earliest one behind the damage', () => {
  const { stage: it, from } = stage();
  find(it, from);
  const since = it.head.since(0);
  assert.ok(since === null || it.head.decideFrom(at(since)).kind === 'full-resync');
  const earliest = it.head.since(it.head.sinceEarliest);
  assert.ok(earliest !== null && earliest >= firstOf(it));
});

test('a difference that reaches before the damage says what it has, and one behind it is made', async () => {
  const { stage: it, from, upTo } = stage();
  const { head, positions, world } = it;
  const diffs = new Diffs({ world, head, positions, isMaster: () => true, closing: () => false });
  const gone = new AbortController().signal;
  const read = async (since: number): Promise<readonly string[]> => {
    const request = { from: at(since), to: null, prefix: '', after: null, limit: 1_000 };
    const page = diffs.read({ ...request, timeoutMs: 0, client: 'client' }, gone);
    await world.pass(1_000);
    return (await page).changes.map(({ key }) => key);
  };
  // What was there before is looked up in the stream before the first position, where the damage is.
  assert.equal((await read(upTo)).length, ROWS - DAMAGED - 1);
  await assert.rejects(read(from), (error) => {
    assert.ok(error instanceof Problem);
    assert.equal(error.code, 'POSITION_LOST');
    assert.equal((error.extra.window as { from: string }).from, `${RUN_ID}:${upTo}`);
    return true;
  });
});

test('a difference that is the first to find the damage says so at once', async () => {
  const { stage: it } = stage();
  const { head, positions, world } = it;
  const diffs = new Diffs({ world, head, positions, isMaster: () => true, closing: () => false });
  const request = {
    from: at(0),
    to: null,
    prefix: '',
    after: null,
    limit: 1,
    timeoutMs: 0,
    client: 'client',
  };
  const page = diffs.read(request, new AbortController().signal);
  const lost = assert.rejects(page, (error) => error instanceof Problem && error.code === 'POSITION_LOST');
  await world.pass(1_000);
  await lost;
});

test('a larger backlog has what comes behind the damage', async () => {
  const { stage: it, upTo } = stage();
  for (const size of [MIB, 2 * MIB]) {
    const done = it.head.resizeBacklog(size);
    await it.world.settle();
    await it.world.pass(10_000);
    assert.equal(await done, true);
    const { firstOffset, length } = it.head.backlog;
    assert.deepEqual(
      [it.head.backlog.size, firstOffset - 1, firstOffset - 1 + length],
      [size, upTo, it.head.offset],
    );
  }
});

test('what was found damaged is dropped when nobody else needs it', async () => {
  const { stage: it, from, upTo } = stage();
  await it.head.flush();
  find(it, from);
  it.set('later');
  await it.world.pass(10_000);
  assert.equal(it.rows[0]?.start, upTo);
});

/** What a node of this stage leaves, and the stage of the next process. @param held offset of its keyspace file */
function restarted(held: (ends: readonly number[]) => number, damaged: readonly number[]): Stage {
  const before = new Stage(MIB);
  for (let index = 0; index < ROWS; index += 1) before.set(`k${index}`, KIB);
  const ends = before.rows.map(({ end }) => end);
  const keyspace = keyspaceAt(at(held(ends)), new Map());
  return new Stage(
    MIB,
    keyspace,
    before.rows,
    MIB,
    damaged.map((index) => ends.at(index) as number),
  );
}

test('a start takes what comes behind the damage for the backlog, if the keyspace file has the damaged rows', () => {
  const last = (ends: readonly number[]): number => ends.at(-1) as number;
  const it = restarted(last, [10, DAMAGED]);
  assert.equal(it.head.backlog.firstOffset - 1, it.rows[DAMAGED]?.end);
  assert.equal(it.head.offset, it.rows.at(-1)?.end);
  assert.equal(firstOf(it), it.rows[DAMAGED]?.end);
  const other = restarted((ends) => ends[DAMAGED] as number, [DAMAGED]);
  assert.equal(other.head.backlog.firstOffset - 1, other.rows[DAMAGED]?.end);
  const none = restarted(last, [-1]);
  assert.deepEqual(
    [none.head.backlog.length, none.head.offset, none.head.hash],
    [0, none.rows.at(-1)?.end, null],
  );
});

test('a start is refused if the keyspace file lacks a damaged row', () => {
  for (const [held, damaged] of [
    [DAMAGED - 1, DAMAGED],
    [10, ROWS - 1],
  ] as const) {
    assert.throws(
      () => restarted((ends) => ends[held] as number, [5, damaged]),
      (error) => (error instanceof StorageError && error.damaged) || error instanceof FilesDamaged,
    );
  }
});
