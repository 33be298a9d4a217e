/** What `StateStore` promises, for psyncd.db and for the fake one of the simulation. */
import assert from 'node:assert/strict';
import test, { type TestContext } from 'node:test';
import { setImmediate as turnOver } from 'node:timers/promises';
import { until } from '../../src/cli/until.ts';
import { NotInJournal } from '../../src/node/ports/failures.ts';
import type { KeptFile, StateStore } from '../../src/node/ports/state-store.ts';
import { newHistory, renamed } from '../../src/replication/history.ts';
import { type Offset, offset } from '../../src/replication/position.ts';
import type { FsyncPolicy } from '../../src/store/state/state-settings.ts';
import { runId } from '../support/arbitraries.ts';
import { seeded } from '../support/random.ts';

/** The run of a node: what a store is told when it is opened. */
export interface Life {
  readonly fsync: FsyncPolicy;
  /** Names the boot of the machine; null: unknown. */
  readonly boot: string | null;
}

/** A folder in which one store after the other is opened. */
export interface StateStorePlace {
  /** The store that was opened before must be closed. */
  open(life: Life): StateStore;
  /** Replaces the files by copies of them, while no store is open. */
  copy(): Promise<void>;
}

/** The run ID of a store that is opened for the first time. */
export const FIRST_RUN_ID = runId('a');

/** How much is appended at a time, and at most, until a checkpoint of the journal settles. */
const ROW_BYTES = 64 * 1024;
const ROWS = 1_000;
const CALM: Life = { fsync: 'always', boot: 'boot' };
const KEPT: KeptFile = {
  keyspaceNumber: 1,
  name: 'replaced-1.db',
  position: { runId: FIRST_RUN_ID, offset: offset(70) },
  reason: 'unknown-run-id',
  at: 1_000,
};
const OTHER: KeptFile = { ...KEPT, keyspaceNumber: 2, name: 'replaced-2.db', reason: null };

/** @param make returns a place without files */
export function describeStateStore(name: string, make: (t: TestContext) => Promise<StateStorePlace>): void {
  const promise = (text: string, check: (place: StateStorePlace, t: TestContext) => unknown): void => {
    test(`${name}: ${text}`, async (t) => {
      await check(await make(t), t);
    });
  };

  promise('a new store is that of a master with its own run ID and an empty journal', (place) => {
    const store = place.open(CALM);
    assert.deepEqual(store.history, newHistory(FIRST_RUN_ID));
    assert.deepEqual(
      [store.upstream, store.handingOver, store.guardedAgainst, store.kept, store.keyspaceNumber],
      [null, false, null, [], 0],
    );
    assert.deepEqual(
      [store.journalStart, store.journalEnd, store.chainStart, store.toldHash],
      [null, null, null, null],
    );
    assert.deepEqual(
      [store.wasClean, store.mayLackBytes, store.isCopy, store.lost, store.settling],
      [true, false, false, null, false],
    );
    assert.throws(() => store.read(offset(0), 1), NotInJournal);
    assert.deepEqual([store.rowWith(offset(0)), store.lastCommit(offset(9))], [null, null]);
    assert.equal(store.trim(offset(9), 10, 1_000), false);
    store.close(true);
  });

  promise('the journal returns whole rows from any offset on, until they are enough', (place, t) => {
    const { seed, random } = seeded();
    t.diagnostic(`PSYNCD_SEED=${seed}`);
    const store = place.open(CALM);
    store.begin();
    const start = 100;
    const stream = Buffer.from(Array.from({ length: 200 }, () => Math.floor(random() * 256)));
    const rows: { start: number; end: number; hash: bigint | null }[] = [];
    for (let at = 0; at < stream.length; ) {
      const end = Math.min(stream.length, at + 1 + Math.floor(random() * 12));
      const hash = random() < 0.2 ? null : BigInt.asUintN(64, BigInt(Math.floor(random() * 2 ** 52)) << 13n);
      store.append(offset(start + end), stream.subarray(at, end), hash, random() < 0.1, null);
      rows.push({ start: at, end, hash });
      at = end;
    }
    const ends = new Set([0, ...rows.map(({ end }) => end)]);
    for (let after = 0; after < stream.length; after += 1) {
      const at = offset(start + after);
      for (const enough of [1, 10, 100, 1_000]) {
        const upTo = rows.find(({ end }) => end - after >= enough)?.end ?? stream.length;
        assert.deepEqual(store.read(at, enough), stream.subarray(after, upTo), `${enough} bytes after ${at}`);
      }
      const row = rows.find(({ end }) => end > after);
      assert.deepEqual(store.rowWith(at), { start: start + (row?.start ?? 0), hash: row?.hash });
      const commit = Math.max(...[...ends].filter((end) => end <= after));
      assert.equal(store.lastCommit(at), start + commit);
    }
    for (const outside of [start - 1, start + stream.length]) {
      assert.throws(() => store.read(offset(outside), 1), NotInJournal);
      assert.equal(store.rowWith(offset(outside)), null);
    }
    assert.equal(store.lastCommit(offset(start - 1)), null);
    assert.equal(store.lastCommit(offset(start + 10_000)), start + stream.length);
    store.close(true);
  });

  promise('bytes that were appended stay what they were if the caller uses its buffer again', (place) => {
    const store = place.open(CALM);
    store.begin();
    const bytes = Buffer.from('first');
    store.append(offset(5), bytes, null, false, null);
    bytes.fill('x');
    assert.equal(store.read(offset(0), 5).toString(), 'first');
    store.close(true);
  });

  promise('the last append that begins a chain is where the chain starts', (place) => {
    const store = place.open(CALM);
    store.begin();
    append(store, 10, 'aaaaaaaaaa', true);
    append(store, 15, 'bbbbb', true);
    append(store, 18, 'ccc', false);
    assert.equal(store.chainStart, 10);
    store.trim(offset(15), 10, 1_000);
    assert.equal(store.chainStart, null);
    store.close(true);
  });

  promise(
    'a trim drops rows that end in time, no more than it may, and says whether there are more',
    (place) => {
      const store = place.open(CALM);
      store.begin();
      for (const end of [10, 20, 30, 40]) append(store, end, 'x'.repeat(10), false);
      assert.equal(store.trim(offset(5), 2, 1_000), false);
      assert.equal(store.journalStart, 0);
      assert.equal(store.trim(offset(35), 2, 1_000), true);
      assert.deepEqual([store.journalStart, store.journalEnd], [20, 40]);
      assert.throws(() => store.read(offset(10), 1), NotInJournal);
      assert.equal(store.trim(offset(35), 2, 1_000), false);
      assert.equal(store.journalStart, 30);
      assert.equal(store.trim(offset(40), 2, 1_000), false);
      assert.deepEqual([store.journalStart, store.journalEnd], [null, null]);
      store.close(true);
    },
  );

  promise('a trim drops rows up to a number of bytes, but always one row', (place) => {
    const store = place.open(CALM);
    store.begin();
    for (const end of [10, 20, 30, 60, 70]) append(store, end, 'x'.repeat(end === 60 ? 30 : 10), false);
    assert.equal(store.trim(offset(70), 9, 25), true);
    assert.equal(store.journalStart, 20);
    assert.equal(store.trim(offset(70), 9, 25), true);
    assert.equal(store.journalStart, 30);
    assert.equal(store.trim(offset(70), 9, 25), true);
    assert.equal(store.journalStart, 60);
    assert.equal(store.trim(offset(70), 9, 25), false);
    assert.equal(store.journalStart, null);
    store.close(true);
  });

  promise('time marks come with the bytes that they are of, and become one when those go', (place) => {
    const first = place.open(CALM);
    first.begin();
    const marks = [0, 20, 40].map((start) => ({ offset: offset(start), from: start * 1_000, to: 99_000 }));
    for (const end of [10, 20, 30, 40, 50]) {
      const put = marks.filter((mark) => mark.offset === end - 10);
      const times = put.length === 0 ? null : { put, drop: null };
      first.append(offset(end), Buffer.from('x'.repeat(10)), null, false, times);
    }
    assert.deepEqual(first.timeMarks, marks);
    first.close(false);
    const second = place.open(CALM);
    assert.deepEqual(second.timeMarks, marks);
    second.begin();
    second.trim(offset(30), 9, 1_000);
    assert.deepEqual(second.timeMarks, marks);
    second.trim(offset(40), 9, 1_000);
    assert.deepEqual(second.timeMarks, [marks[0], marks[2]]);
    const merged = { offset: offset(0), from: -5, to: 100_000 };
    second.append(offset(60), Buffer.from('x'.repeat(10)), null, false, { put: [merged], drop: offset(40) });
    assert.deepEqual(second.timeMarks, [merged]);
    second.switchKeyspace(1, second.history, null, null);
    assert.deepEqual(second.timeMarks, []);
    second.close(true);
  });

  promise('what is saved is there after a restart, and nothing else has changed', (place) => {
    const first = place.open(CALM);
    first.begin();
    const from = newHistory(FIRST_RUN_ID);
    const history = renamed(from, {
      runId: runId('b'),
      validTo: offset(7),
      reason: 'promoted',
      at: 5,
    });
    assert.equal(first.renamedAt, null);
    first.save({ history, renamedAt: offset(9) });
    assert.deepEqual(first.history, history);
    first.save({ upstream: 'ws://master:1', handingOver: true });
    first.save({ guardedAgainst: runId('c') });
    first.save({ toldHash: { offset: offset(7), hash: 2n ** 64n - 1n } });
    const check = (store: StateStore): void => {
      assert.deepEqual(store.history, history);
      assert.equal(store.renamedAt, 9);
      assert.deepEqual([store.upstream, store.handingOver], ['ws://master:1', true]);
      assert.equal(store.guardedAgainst, runId('c'));
      assert.deepEqual(store.toldHash, { offset: 7, hash: 2n ** 64n - 1n });
    };
    check(first);
    first.close(true);
    const second = place.open(CALM);
    check(second);
    second.begin();
    second.save({ upstream: null, handingOver: false, guardedAgainst: null });
    second.save({ toldHash: { offset: offset(9), hash: null } });
    assert.deepEqual(
      [second.upstream, second.handingOver, second.guardedAgainst, second.toldHash],
      [null, false, null, { offset: 9, hash: null }],
    );
    assert.deepEqual(second.history, history);
    second.close(true);
  });

  promise('a snapshot that takes over brings file, history and hash, and empties the journal', (place) => {
    const first = place.open(CALM);
    first.begin();
    first.switchKeyspace(1, newHistory(FIRST_RUN_ID), null, { offset: offset(0), hash: 0n });
    append(first, 10, 'x'.repeat(10), true);
    first.save({ guardedAgainst: runId('d'), upstream: 'ws://master:1', renamedAt: offset(10) });
    const history = newHistory(runId('c'));
    first.switchKeyspace(2, history, KEPT, { offset: offset(90), hash: 5n });
    const check = (store: StateStore): void => {
      assert.deepEqual([store.history, store.renamedAt], [history, null]);
      assert.deepEqual(
        [store.keyspaceNumber, store.journalEnd, store.chainStart, store.guardedAgainst, store.upstream],
        [2, null, null, null, 'ws://master:1'],
      );
      assert.deepEqual(store.toldHash, { offset: 90, hash: 5n });
      assert.deepEqual(store.kept, [KEPT]);
    };
    check(first);
    first.close(true);
    const second = place.open(CALM);
    check(second);
    second.close(true);
  });

  promise('a switch to the same file guards on, and forgets the hash that was told', (place) => {
    const store = place.open(CALM);
    store.begin();
    store.switchKeyspace(1, newHistory(FIRST_RUN_ID), null, { offset: offset(0), hash: 0n });
    store.save({ guardedAgainst: runId('d') });
    append(store, 10, 'x'.repeat(10), true);
    store.switchKeyspace(1, newHistory(FIRST_RUN_ID), null, null);
    assert.deepEqual([store.guardedAgainst, store.toldHash, store.journalEnd], [runId('d'), null, null]);
    store.close(true);
  });

  promise('the oldest kept files are forgotten first', (place) => {
    const first = place.open(CALM);
    first.begin();
    const history = newHistory(FIRST_RUN_ID);
    first.switchKeyspace(2, history, KEPT, null);
    first.switchKeyspace(3, history, OTHER, null);
    first.forgetKept(2);
    assert.deepEqual(first.kept, [KEPT, OTHER]);
    first.forgetKept(1);
    assert.deepEqual(first.kept, [OTHER]);
    first.close(true);
    const second = place.open(CALM);
    assert.deepEqual(second.kept, [OTHER]);
    second.forgetKept(0);
    assert.deepEqual(second.kept, []);
    second.close(true);
  });

  promise('a run that began and did not end well is not clean, whatever was written', (place) => {
    place.open(CALM).close(false);
    const second = place.open(CALM);
    assert.equal(second.wasClean, true, 'a run that has not begun changes nothing');
    second.begin();
    append(second, 10, 'x'.repeat(10), true);
    second.close(false);
    const third = place.open(CALM);
    assert.equal(third.wasClean, false);
    assert.equal(third.journalEnd, 10);
    third.begin();
    third.close(true);
    const fourth = place.open(CALM);
    assert.equal(fourth.wasClean, true);
    fourth.close(true);
  });

  const MAY_LACK = [
    ['always', 'boot', false, 'other'],
    ['everysec', 'boot', false, 'boot'],
    ['everysec', 'boot', true, 'other'],
    ['no', 'boot', true, 'other'],
    ['no', null, true, null],
  ] as const;
  for (const [fsync, boot, mayLackBytes, nextBoot] of MAY_LACK) {
    const machine = boot === null ? 'an unknown boot' : boot === nextBoot ? 'the same boot' : 'another boot';
    const outcome = mayLackBytes ? 'may lack bytes' : 'has all its bytes';
    promise(`after a crash with fsync ${fsync}, in ${machine}, the journal ${outcome}`, (place) => {
      const first = place.open({ fsync, boot });
      first.begin();
      append(first, 10, 'x'.repeat(10), true);
      first.close(false);
      const second = place.open({ fsync, boot: nextBoot });
      assert.equal(second.mayLackBytes, mayLackBytes);
      second.begin();
      second.close(true);
      const third = place.open({ fsync, boot: null });
      assert.equal(third.mayLackBytes, false, 'after a clean end nothing is missing');
      third.close(true);
    });
  }

  promise('settling begins after enough appends, and its end is told to all listeners', async (place) => {
    const store = place.open({ fsync: 'no', boot: 'boot' });
    store.begin();
    const told: boolean[] = [];
    for (let listener = 0; listener < 2; listener += 1) store.onSettled(() => told.push(store.settling));
    const bytes = Buffer.alloc(ROW_BYTES, 'x');
    for (let row = 1; row <= ROWS && told.length === 0; row += 1) {
      store.append(offset(row * ROW_BYTES), bytes, null, false, null);
      await turnOver();
    }
    await until('settling is over', () => told.length > 0);
    assert.deepEqual(told, [false, false]);
    store.close(true);
  });

  for (const fsync of ['everysec', 'no'] as const) {
    promise(`with fsync ${fsync} appended bytes are on the disk once somebody asks for it`, async (place) => {
      const store = place.open({ fsync, boot: 'boot' });
      store.begin();
      assert.equal(store.durableUpTo(offset(0)), 0);
      append(store, 10, 'x'.repeat(10), true);
      assert.equal(store.durableUpTo(offset(10)), 0);
      const synced = Promise.withResolvers<void>();
      store.syncSoon(synced.resolve);
      append(store, 15, 'y'.repeat(5), false);
      await synced.promise;
      assert.ok(store.durableUpTo(offset(15)) >= 10);
      const all = Promise.withResolvers<void>();
      store.syncSoon(all.resolve);
      await all.promise;
      assert.equal(store.durableUpTo(offset(15)), 15);
      store.close(true);
    });
  }

  promise('with fsync always, and after a durable change, nothing that was appended is missing', (place) => {
    const always = place.open(CALM);
    always.begin();
    append(always, 10, 'x'.repeat(10), true);
    assert.equal(always.durableUpTo(offset(10)), 10);
    let isCalled = false;
    always.syncSoon(() => {
      isCalled = true;
    });
    assert.equal(isCalled, true);
    always.close(true);
    const store = place.open({ fsync: 'no', boot: 'boot' });
    store.begin();
    append(store, 20, 'y'.repeat(10), false);
    assert.equal(store.durableUpTo(offset(20)), 10);
    store.save({ upstream: null });
    assert.equal(store.durableUpTo(offset(20)), 20);
    append(store, 30, 'z'.repeat(10), false);
    store.switchKeyspace(2, newHistory(FIRST_RUN_ID), null, null);
    assert.equal(store.durableUpTo(offset(5)), 5);
    store.close(true);
  });

  promise('copied files stay a copy over restarts, until that is settled', async (place) => {
    const first = place.open(CALM);
    first.begin();
    assert.equal(first.isCopy, false);
    first.close(true);
    await place.copy();
    const second = place.open(CALM);
    assert.equal(second.isCopy, true);
    second.begin();
    assert.equal(second.isCopy, true);
    second.close(true);
    const third = place.open(CALM);
    assert.equal(third.isCopy, true);
    third.begin();
    third.save({ copySettled: true });
    assert.equal(third.isCopy, false);
    third.close(true);
    const fourth = place.open(CALM);
    assert.equal(fourth.isCopy, false);
    fourth.close(true);
  });
}

function append(store: StateStore, end: number, text: string, beginsChain: boolean): void {
  store.append(end as Offset, Buffer.from(text), null, beginsChain, null);
}
