/** Deletions of expired entries that were read: what readers cannot make grow. */
import assert from 'node:assert/strict';
import test from 'node:test';
import type { WriteRequest } from '../../src/keyspace/write.ts';
import { ExpiredReads } from '../../src/node/write/expired-reads.ts';
import type { WriteResult } from '../../src/node/write/write-turn.ts';

interface Waiting {
  readonly key: string;
  readonly settle: PromiseWithResolvers<WriteResult>;
}

function stage(): { reads: ExpiredReads; waiting: Waiting[] } {
  const waiting: Waiting[] = [];
  const submit = (request: WriteRequest): Promise<WriteResult> => {
    assert.ok(request.kind === 'expire-due');
    const settle = Promise.withResolvers<WriteResult>();
    waiting.push({ key: String(request.keys[0]), settle });
    return settle.promise;
  };
  return { reads: new ExpiredReads({ submit }), waiting };
}

test('however often an expired entry is read, one deletion of it waits; after a failure the next read asks again', async () => {
  const { reads, waiting } = stage();
  for (let read = 0; read < 1_000; read += 1) reads.found('k');
  assert.deepEqual(
    waiting.map(({ key }) => key),
    ['k'],
  );
  waiting[0]?.settle.reject(new Error('the disk is full'));
  await new Promise(setImmediate);
  reads.found('k');
  assert.equal(waiting.length, 2);
});

test('however many expired entries are read, a bounded number of deletions waits', () => {
  const { reads, waiting } = stage();
  for (let key = 0; key < 5_000; key += 1) reads.found(`k${key}`);
  assert.equal(waiting.length, 1_000);
});
