/** What `KeyspaceFiles` and `SnapshotSink` promise, for a data folder and for the fake one of the simulation. */
import assert from 'node:assert/strict';
import test, { type TestContext } from 'node:test';
import { crc32 } from 'node:zlib';
import { DamagedSnapshot } from '../../src/node/ports/failures.ts';
import type { FrozenFile, Keyspace } from '../../src/node/ports/keyspace.ts';
import type { KeyspaceFiles, SnapshotSink } from '../../src/node/ports/keyspace-files.ts';
import type { KeptFile } from '../../src/node/ports/state-store.ts';
import { offset, type Position } from '../../src/replication/position.ts';
import { runId } from '../support/arbitraries.ts';
import { KeyspaceWriter, set } from './keyspace-writer.ts';

/** A folder with one empty keyspace file, which is open. */
export interface FilesPlace {
  readonly files: KeyspaceFiles;
  readonly keyspace: Keyspace;
  /** The n of its `keyspace-<n>.db`. */
  readonly current: number;
}

/** A snapshot as a master sends it. */
interface Snapshot {
  readonly position: Position;
  readonly bytes: Buffer;
  readonly crc32: number;
}

const WHOLE = { prefix: '', from: '', exclusive: false };
/** Size of the pieces in which a snapshot is read, as the sender reads it. */
const PIECE_BYTES = 64 * 1024;

export function describeKeyspaceFiles(name: string, make: (t: TestContext) => Promise<FilesPlace>): void {
  const promise = (what: string, check: (place: FilesPlace, snapshot: Snapshot) => Promise<void>): void => {
    test(`${name}: ${what}`, async (t) => {
      const place = await make(t);
      const writer = new KeyspaceWriter(place.keyspace);
      await writer.write(set('a', '1'), set('b', '2', 4e12), set('large', 'x'.repeat(100_000)));
      await check(place, await snapshotOf(place.keyspace));
      await place.keyspace.close();
    });
  };

  promise(
    'a snapshot that arrives whole is a file with the same entries',
    async ({ files, keyspace, current }, snapshot) => {
      const sink = await files.receive(snapshot.bytes.length);
      assert.ok(sink.keyspaceNumber > current);
      const half = Math.floor(snapshot.bytes.length / 2);
      await give(sink, [snapshot.bytes.subarray(0, 10), snapshot.bytes.subarray(10, half)]);
      await give(sink, [snapshot.bytes.subarray(half)]);
      assert.deepEqual(await sink.finish(snapshot.position, snapshot.crc32), { empty: false });
      const received = await files.open(sink.keyspaceNumber);
      assert.deepEqual(received.opened, snapshot.position);
      assert.deepEqual([...received.scan(WHOLE, true)], [...keyspace.scan(WHOLE, true)]);
      await received.close();
    },
  );

  promise(
    'a snapshot without entries is found to be empty, also without a checksum',
    async ({ files, keyspace }) => {
      await keyspace.flush(keyspace.opened, []);
      const writer = new KeyspaceWriter(keyspace);
      await writer.write({ kind: 'flush-all' });
      const snapshot = await snapshotOf(keyspace);
      const sink = await files.receive(snapshot.bytes.length);
      await give(sink, [snapshot.bytes]);
      assert.deepEqual(await sink.finish(snapshot.position, null), { empty: true });
    },
  );

  promise(
    'no two files that arrive have one number, although the first one was discarded',
    async ({ files }) => {
      const first = await files.receive(10);
      await first.discard();
      const second = await files.receive(10);
      const third = await files.receive(10);
      assert.ok(first.keyspaceNumber < second.keyspaceNumber);
      assert.ok(second.keyspaceNumber < third.keyspaceNumber);
      await second.discard();
      await third.discard();
    },
  );

  promise(
    'a snapshot of too few bytes is refused, and does not count as damaged',
    async ({ files }, snapshot) => {
      const sink = await files.receive(snapshot.bytes.length + 1);
      await give(sink, [snapshot.bytes]);
      await assert.rejects(sink.finish(snapshot.position, snapshot.crc32), isOnTheWay);
      await sink.discard();
      await assert.rejects(files.open(sink.keyspaceNumber));
    },
  );

  promise(
    'a snapshot that is not what was sent is refused, and does not count as damaged',
    async ({ files }, snapshot) => {
      const sink = await files.receive(snapshot.bytes.length);
      await give(sink, [snapshot.bytes]);
      await assert.rejects(sink.finish(snapshot.position, snapshot.crc32 ^ 1), isOnTheWay);
      await sink.discard();
      await assert.rejects(files.open(sink.keyspaceNumber));
    },
  );

  for (const hasSum of [true, false]) {
    const known = hasSum ? 'with its checksum' : 'without a checksum';
    promise(`a snapshot of another position is damaged, ${known}`, async ({ files }, snapshot) => {
      const sink = await files.receive(snapshot.bytes.length);
      await give(sink, [snapshot.bytes]);
      const other = { ...snapshot.position, offset: offset(snapshot.position.offset + 1) };
      await assert.rejects(sink.finish(other, hasSum ? snapshot.crc32 : null), isDamaged(hasSum));
      await sink.discard();
      await assert.rejects(files.open(sink.keyspaceNumber));
    });
  }

  promise('a snapshot of another history is damaged', async ({ files }, snapshot) => {
    const sink = await files.receive(snapshot.bytes.length);
    await give(sink, [snapshot.bytes]);
    const other = { ...snapshot.position, runId: runId('f') };
    await assert.rejects(sink.finish(other, snapshot.crc32), isDamaged(true));
    await sink.discard();
  });

  promise('bytes that are no keyspace file are a damaged snapshot', async ({ files }, snapshot) => {
    const sink = await files.receive(snapshot.bytes.length);
    await give(sink, [Buffer.alloc(snapshot.bytes.length, 'x')]);
    await assert.rejects(sink.finish(snapshot.position, null), isDamaged(false));
    await sink.discard();
  });

  promise('a snapshot may be discarded before all of it has come, and twice', async ({ files }, snapshot) => {
    const sink = await files.receive(snapshot.bytes.length);
    await give(sink, [snapshot.bytes.subarray(0, 100)]);
    await sink.discard();
    await sink.discard();
    await assert.rejects(files.open(sink.keyspaceNumber));
  });

  promise(
    'a snapshot that goes on after its last whole part is the file that was sent, whatever had come behind that part',
    async ({ files, keyspace }) => {
      const writer = new KeyspaceWriter(keyspace);
      await writer.write(...Array.from({ length: 30 }, (_, key) => set(`k${key}`, 'x'.repeat(100_000))));
      const snapshot = await snapshotOf(keyspace);
      const { partBytes } = await frozenOf(keyspace);
      const sink = await files.receive(snapshot.bytes.length);
      assert.deepEqual(await sink.rewind(), { bytes: 0, crc32: 0 });
      let has = 0;
      for (const cut of [partBytes - 1, partBytes, 2 * partBytes + 5, snapshot.bytes.length]) {
        const wrong = Buffer.alloc(cut % partBytes, '?');
        await give(sink, [snapshot.bytes.subarray(has, cut - wrong.length), wrong]);
        has = cut - wrong.length;
        assert.deepEqual(await sink.rewind(), {
          bytes: has,
          crc32: crc32(snapshot.bytes.subarray(0, has)),
        });
      }
      await give(sink, [snapshot.bytes.subarray(has)]);
      assert.deepEqual(await sink.finish(snapshot.position, snapshot.crc32), { empty: false });
      const received = await files.open(sink.keyspaceNumber);
      assert.deepEqual([...received.scan(WHOLE, true)], [...keyspace.scan(WHOLE, true)]);
      await received.close();
    },
  );

  promise('a snapshot that was cut off may be discarded', async ({ files }, snapshot) => {
    const sink = await files.receive(snapshot.bytes.length);
    await give(sink, [snapshot.bytes.subarray(0, 200)]);
    await sink.rewind();
    await sink.discard();
    await assert.rejects(files.open(sink.keyspaceNumber));
  });

  promise(
    'a file that is removed is gone, and removing it again does nothing',
    async ({ files }, snapshot) => {
      const number = await received(files, snapshot);
      await files.remove(number);
      await files.remove(number);
      await assert.rejects(files.open(number));
    },
  );

  promise(
    'a file that is kept loses its number, and no other file takes the name of a kept one',
    async ({ files }, snapshot) => {
      const number = await received(files, snapshot);
      const kept: KeptFile = {
        keyspaceNumber: number,
        name: `replaced-${number}.db`,
        position: snapshot.position,
        reason: 'unknown-run-id',
        at: 1_000,
      };
      await files.keep(kept);
      await assert.rejects(files.open(number));
      await files.keep(kept);
      const other = await received(files, snapshot);
      await files.keep({ ...kept, keyspaceNumber: other });
      await (await files.open(other)).close();
      await files.removeKept(kept);
      await files.removeKept(kept);
    },
  );
}

/** A frozen file that is released again: only its numbers are of use. */
async function frozenOf(keyspace: Keyspace): Promise<FrozenFile> {
  const frozen = await keyspace.freeze();
  frozen.release();
  return frozen;
}

async function snapshotOf(keyspace: Keyspace): Promise<Snapshot> {
  const frozen = await keyspace.freeze();
  const bytes = Buffer.alloc(frozen.length);
  for (let at = 0; at < bytes.length; at += PIECE_BYTES) {
    await frozen.read(at, bytes.subarray(at, at + PIECE_BYTES));
  }
  frozen.release();
  return { position: frozen.position, bytes, crc32: frozen.crc32(bytes, 0) };
}

/** Gives copies: the sink takes the memory of what it is given. */
function give(sink: SnapshotSink, parts: readonly Buffer[]): Promise<void> {
  return sink.write(parts.map((part) => Buffer.from(part)));
}

/** @returns the number of the file */
async function received(files: KeyspaceFiles, { position, bytes, crc32 }: Snapshot): Promise<number> {
  const sink = await files.receive(bytes.length);
  await give(sink, [bytes]);
  await sink.finish(position, crc32);
  return sink.keyspaceNumber;
}

function isOnTheWay(error: unknown): boolean {
  return error instanceof Error && !(error instanceof DamagedSnapshot);
}

function isDamaged(asSent: boolean): (error: unknown) => boolean {
  return (error) => error instanceof DamagedSnapshot && error.asSent === asSent;
}
