/** A full resync on the replica: what each event does to a snapshot in each state. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { KeptSnapshot } from '../../src/node/link/kept-snapshot.ts';
import type { LinkContext } from '../../src/node/link/link-context.ts';
import { type Outcome, SnapshotReception } from '../../src/node/link/snapshot-reception.ts';
import { DamagedSnapshot, telling } from '../../src/node/ports/failures.ts';
import type { SnapshotSink } from '../../src/node/ports/keyspace-files.ts';
import { offset } from '../../src/replication/position.ts';
import { runId } from '../support/arbitraries.ts';

const WANTED = { kind: 'adopted', isWanted: true } as const;
const DISCARDED = { kind: 'discarded' } as const;
const SNAPSHOT = { position: { runId: runId('a'), offset: offset(7) }, length: 3 };

interface Stage {
  readonly reception: SnapshotReception;
  /** Names of the calls of the files, the adoption and the connection, and of the events of the log, in their order. */
  readonly calls: string[];
  readonly kept: KeptSnapshot;
  /** Lets the check of the file end: well, or with this error. */
  checked(error?: Error): void;
  /** Lets the adoption come to its durable step. It fails as the real one does if nobody wants the snapshot any more. */
  switched(): void;
}

interface Behaviour {
  readonly objection?: string;
  readonly accepted?: boolean;
  readonly writeError?: Error;
  readonly removeError?: Error;
  /** The number of bytes that the master need not send; null: the master always sends all. */
  readonly from?: number | null;
  /** Bytes that the file keeps when the connection breaks; an error: the disk fails then. */
  readonly whole?: number | Error;
}

/** A reception whose files and adoption wait for the test. */
function stage(behaviour: Behaviour = {}): Stage {
  const { objection, accepted = false, writeError, removeError, from = null, whole = 0 } = behaviour;
  const calls: string[] = [];
  const check = Promise.withResolvers<void>();
  const switching = Promise.withResolvers<void>();
  const note = (call: string): void => {
    calls.push(call);
  };
  const sink: SnapshotSink = {
    keyspaceNumber: 2,
    write: async () => {
      note('write');
      if (writeError !== undefined) throw writeError;
    },
    rewind: async () => {
      note('rewind');
      if (whole instanceof Error) throw whole;
      return { bytes: whole, crc32: 5 };
    },
    finish: async () => {
      note('check');
      await check.promise;
      return { empty: false };
    },
    discard: async () => {
      note('remove');
      if (removeError !== undefined) throw removeError;
    },
  };
  const adoption: LinkContext['adoption'] = {
    objection: async () => {
      note('ask');
      return objection ?? null;
    },
    adopt: async (_snapshot, wanted) => {
      note('adopt');
      await switching.promise;
      if (!wanted()) throw telling(new Error('it is not wanted any more'));
      note('switch');
    },
  };
  const context = {
    world: { monotonic: () => 250, after: () => () => undefined },
    log: { debug: note, info: note, warn: note, error: note },
    files: { receive: () => Promise.resolve(sink) },
    adoption,
  } as unknown as LinkContext;
  const kept = new KeptSnapshot(context.world, context.log);
  if (from) kept.keep({ partial: { ...SNAPSHOT, bytes: from, crc32: 4 }, sink });
  const reception = new SnapshotReception(context, {
    announced: {
      kind: 'snapshot',
      ...SNAPSHOT,
      from,
      reason: 'first-sync',
      lineage: null,
      announcedUrl: null,
      hash: null,
    },
    kept,
    connection: { peer: 'ws://master:1', pause: () => note('pause'), resume: () => note('resume') },
    startedAt: 50,
    accepted: () => accepted,
    failed: ({ detail }) => note(`failed: ${detail}`),
  });
  return {
    reception,
    calls,
    kept,
    checked: (error) => (error === undefined ? check.resolve() : check.reject(error)),
    switched: () => switching.resolve(),
  };
}

/** Waits until no promise has anything left to do. */
function settle(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

async function receiveAll({ reception }: Stage): Promise<void> {
  reception.write(Buffer.from('abc'));
  await settle();
  reception.finish(null);
  await settle();
}

test('a snapshot is received, checked and adopted, and the stream behind it waits for that', async () => {
  const it = stage();
  assert.deepEqual(it.reception.progress, { received: 0, total: 3 });
  await receiveAll(it);
  it.reception.keep(Buffer.from('x'));
  assert.deepEqual([it.reception.goesOnAlone, it.reception.progress], [true, { received: 3, total: 3 }]);
  it.checked();
  await settle();
  it.switched();
  assert.deepEqual(await it.reception.settled, WANTED);
  assert.deepEqual(it.calls, [
    'full-resync',
    'write',
    'resume',
    'pause',
    'snapshot-received',
    'check',
    'ask',
    'adopt',
    'switch',
  ]);
  assert.deepEqual(it.reception.report, { kind: 'full', reason: 'first-sync', bytes: 3, durationMs: 200 });
  assert.deepEqual([it.reception.goesOnAlone, it.reception.progress], [false, null]);
  assert.deepEqual(it.reception.takeEarly(), [Buffer.from('x')]);
  assert.deepEqual(it.reception.takeEarly(), []);
});

test('a node that must keep its data refuses the snapshot and removes its file', async () => {
  const it = stage({ objection: 'an empty master' });
  await receiveAll(it);
  it.checked();
  assert.deepEqual(await it.reception.settled, { kind: 'refused', detail: 'an empty master' });
  assert.deepEqual(it.calls.slice(-2), ['ask', 'remove']);
});

test('a snapshot that a user has accepted replaces the data whatever it brings', async () => {
  const it = stage({ objection: 'an empty master', accepted: true });
  await receiveAll(it);
  it.checked();
  it.switched();
  assert.deepEqual(await it.reception.settled, WANTED);
  assert.equal(it.calls.includes('ask'), false);
});

for (const asSent of [true, false]) {
  test(`a damaged snapshot is removed, and the outcome says whether the master sent it so: ${asSent}`, async () => {
    const it = stage();
    await receiveAll(it);
    it.checked(new DamagedSnapshot('page 2', asSent));
    assert.deepEqual(await it.reception.settled, { kind: 'damaged', detail: 'snapshot: page 2', asSent });
    assert.equal(it.calls.at(-1), 'remove');
  });
}

test('a file that cannot be removed does not hide the outcome', async () => {
  const it = stage({ removeError: new Error('EIO') });
  await receiveAll(it);
  it.checked(telling(new Error('EIO')));
  assert.deepEqual(await it.reception.settled, { kind: 'failed', detail: 'snapshot: EIO' });
  assert.deepEqual(it.calls.slice(-2), ['remove', 'snapshot-left']);
});

test('a disk that does not take the bytes is reported at once, and fails the snapshot', async () => {
  const it = stage({ writeError: telling(new Error('ENOSPC')) });
  it.reception.write(Buffer.from('ab'));
  await settle();
  assert.equal(it.calls.at(-1), 'failed: cannot keep the snapshot: ENOSPC');
  it.reception.disconnected();
  assert.deepEqual(await it.reception.settled, DISCARDED);
});

test('a lost connection leaves the whole parts for the next one, if the master can send the rest alone', async () => {
  const it = stage({ from: 0, whole: 2 });
  it.reception.write(Buffer.from('ab'));
  it.reception.disconnected();
  assert.deepEqual(await it.reception.settled, { kind: 'kept', bytes: 2, isMore: true });
  assert.deepEqual(it.kept.partial, { ...SNAPSHOT, bytes: 2, crc32: 5 });
  assert.deepEqual(it.calls, ['full-resync', 'write', 'rewind']);
});

test('a snapshot goes on in the file of the connection before, and counts its bytes', async () => {
  const it = stage({ from: 2, whole: 2 });
  assert.deepEqual(it.reception.progress, { received: 2, total: 3 });
  it.reception.write(Buffer.from('c'));
  await settle();
  assert.equal(it.kept.partial, null);
  it.reception.finish(null);
  it.checked();
  it.switched();
  assert.deepEqual(await it.reception.settled, WANTED);
  assert.equal(it.reception.report.resumedBytes, 2);
});

test('a connection that brings nothing new does not count as one that has brought something', async () => {
  const it = stage({ from: 2, whole: 2 });
  it.reception.disconnected();
  assert.deepEqual(await it.reception.settled, { kind: 'kept', bytes: 2, isMore: false });
});

test('a lost connection that has brought no whole part leaves nothing', async () => {
  const it = stage({ from: 0, whole: 0 });
  it.reception.write(Buffer.from('a'));
  it.reception.disconnected();
  assert.deepEqual(await it.reception.settled, DISCARDED);
  assert.deepEqual([it.kept.partial, it.calls.at(-1)], [null, 'remove']);
});

test('a disk that fails when the connection breaks leaves nothing, and the log says so', async () => {
  const it = stage({ from: 0, whole: new Error('EIO') });
  it.reception.write(Buffer.from('ab'));
  it.reception.disconnected();
  assert.deepEqual(await it.reception.settled, DISCARDED);
  assert.deepEqual(it.calls.slice(-2), ['snapshot-not-kept', 'remove']);
});

test('a snapshot that is given up while its connection is being lost is not kept', async () => {
  const it = stage({ from: 0, whole: 2 });
  it.reception.write(Buffer.from('ab'));
  it.reception.disconnected();
  it.reception.giveUp();
  assert.deepEqual(await it.reception.settled, DISCARDED);
  assert.deepEqual([it.kept.partial, it.calls.at(-1)], [null, 'remove']);
});

test('a snapshot that fails after it was resumed leaves nothing to resume', async () => {
  const it = stage({ from: 2 });
  it.reception.write(Buffer.from('c'));
  await settle();
  it.reception.finish(1);
  it.checked(new Error('it is not what the master has sent'));
  assert.equal((await it.reception.settled).kind, 'failed');
  assert.deepEqual([it.kept.partial, it.calls.at(-1)], [null, 'remove']);
});

type Event = 'disconnected' | 'giveUp';
const BEFORE_LAST_BYTE: readonly Event[] = ['disconnected', 'giveUp'];

for (const event of BEFORE_LAST_BYTE) {
  test(`${event} before the last byte discards the snapshot`, async () => {
    const it = stage();
    it.reception.write(Buffer.from('ab'));
    it.reception[event]();
    assert.deepEqual(await it.reception.settled, DISCARDED);
    assert.deepEqual(it.calls, ['full-resync', 'write', 'resume', 'remove']);
    assert.equal(it.reception.progress, null);
  });
}

/** The time of the event after the last byte, and the outcome. */
const AFTER_LAST_BYTE: readonly (readonly [when: 'checking' | 'adopting', event: Event, outcome: Outcome])[] =
  [
    ['checking', 'disconnected', WANTED],
    ['checking', 'giveUp', DISCARDED],
    ['adopting', 'disconnected', WANTED],
    ['adopting', 'giveUp', { kind: 'failed', detail: 'snapshot: it is not wanted any more' }],
  ];

for (const [when, event, outcome] of AFTER_LAST_BYTE) {
  test(`${event} while the node is ${when} leads to ${JSON.stringify(outcome)}`, async () => {
    const it = stage();
    await receiveAll(it);
    if (when === 'adopting') it.checked();
    await settle();
    it.reception[event]();
    assert.equal(it.reception.goesOnAlone, event === 'disconnected');
    it.checked();
    await settle();
    it.switched();
    assert.deepEqual(await it.reception.settled, outcome);
    assert.equal(it.calls.includes('remove'), outcome.kind !== 'adopted');
    assert.equal(it.calls.includes('switch'), outcome.kind === 'adopted');
  });
}

test('a snapshot that is given up in the moment of the switch has taken over, and says that nobody wants it', async () => {
  const it = stage();
  await receiveAll(it);
  it.checked();
  await settle();
  it.switched();
  // The switch is the next step of the adoption; this one comes directly behind it.
  queueMicrotask(() => it.reception.giveUp());
  assert.deepEqual(await it.reception.settled, { kind: 'adopted', isWanted: false });
});

test('giving up an ended full resync changes nothing', async () => {
  const it = stage({ objection: 'an empty master' });
  await receiveAll(it);
  it.checked();
  const outcome = await it.reception.settled;
  it.reception.giveUp();
  it.reception.disconnected();
  await settle();
  assert.equal(await it.reception.settled, outcome);
  assert.equal(it.calls.filter((call) => call === 'remove').length, 1);
});
