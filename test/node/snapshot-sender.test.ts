/** The master's side of a snapshot: what is sent is what the file holds, whenever the socket takes it. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import test from 'node:test';
import { crc32 } from 'node:zlib';
import type { FrozenFile } from '../../src/node/ports/keyspace.ts';
import { SnapshotSums } from '../../src/node/session/shared-file.ts';
import { MESSAGE_BYTES, SnapshotSender } from '../../src/node/session/snapshot-sender.ts';
import { offset, type RunId } from '../../src/replication/position.ts';

const MIB = 1024 * 1024;

function frozen(content: Buffer, read: () => void = () => undefined): FrozenFile {
  return {
    position: { runId: 'a'.repeat(40) as RunId, offset: offset(1) },
    length: content.length,
    partBytes: MIB,
    heldBytes: () => 0,
    read: async (at, into) => {
      read();
      content.copy(into, 0, at);
    },
    copyTo: () => {
      throw new Error('not copied here');
    },
    crc32,
    release: () => undefined,
  };
}

/** A snapshot of which the replica has nothing. */
function whole(file: FrozenFile) {
  return { file, from: 0, sums: new SnapshotSums(MIB) };
}

for (const from of [MIB, 3 * MIB, 4 * MIB]) {
  test(`the rest of a snapshot from ${from} on arrives, with the checksum of all of it`, async () => {
    const content = randomBytes(4 * MIB);
    const file = frozen(content);
    const sums = new SnapshotSums(MIB);
    await new SnapshotSender({ file, from: 0, sums }, (_, sent) => sent?.()).send();
    const arrived: Buffer[] = [];
    const sender = new SnapshotSender({ file, from, sums }, (bytes, sent) => {
      arrived.push(Buffer.from(bytes));
      sent?.();
    });
    assert.equal(sender.given, from);
    assert.equal(await sender.send(), crc32(content));
    assert.ok(Buffer.concat(arrived).equals(content.subarray(from)));
  });
}

test('a sender that stopped has noted the checksum of each part that it sent, and only of those', async () => {
  const content = randomBytes(4 * MIB);
  const sums = new SnapshotSums(MIB);
  const sender = new SnapshotSender({ file: frozen(content), from: 0, sums }, (_, sent) => {
    if (sender.given === 2 * MIB) sender.stop();
    sent?.();
  });
  await sender.send();
  const known = [0, 1, MIB, 1.5 * MIB, 2 * MIB, 3 * MIB].map((bytes) => sums.at(bytes));
  const of = (bytes: number): number => crc32(content.subarray(0, bytes));
  assert.deepEqual(known, [null, null, of(MIB), null, of(2 * MIB), null]);
});

for (const length of [1, MIB, 9 * MIB + 5]) {
  test(`${length} bytes arrive as they are in the file, to a socket that takes them late`, async () => {
    const content = randomBytes(length);
    const arrived: Buffer[] = [];
    const sender = new SnapshotSender(whole(frozen(content)), (bytes, sent) => {
      assert.ok(bytes.length <= MESSAGE_BYTES);
      setImmediate(() => {
        arrived.push(Buffer.from(bytes));
        sent?.();
      });
    });
    assert.equal(await sender.send(), crc32(content));
    await new Promise((resolve) => setImmediate(resolve));
    assert.ok(Buffer.concat(arrived).equals(content));
    assert.equal(sender.given, length);
  });
}

test('a socket that takes nothing gets only a few parts, and nothing more is read once it is closed', async () => {
  let reads = 0;
  const taken: (() => void)[] = [];
  const sender = new SnapshotSender(
    whole(
      frozen(randomBytes(20 * MIB), () => {
        reads += 1;
      }),
    ),
    (_, sent) => {
      if (sent !== undefined) taken.push(sent);
    },
  );
  const sending = sender.send();
  await new Promise((resolve) => setImmediate(resolve));
  const before = reads;
  assert.ok(before < 20);
  assert.equal(sender.given, before * MIB);
  sender.stop();
  for (const sent of taken) sent();
  await sending;
  assert.equal(reads, before);
});

test('a snapshot of which a part cannot be read ends with that error', async () => {
  const sender = new SnapshotSender(
    whole(
      frozen(randomBytes(MIB), () => {
        throw new Error('no disk');
      }),
    ),
    () => undefined,
  );
  await assert.rejects(sender.send(), /no disk/);
});
