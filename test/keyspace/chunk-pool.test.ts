/** Memory of the overlay that is used again. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { ChunkPool } from '../../src/keyspace/overlay/chunk-pool.ts';

test('how much memory a pool keeps follows its setting while it is used', () => {
  let keepBytes = 2 * 1024;
  const pool = new ChunkPool(() => keepBytes, 1024);
  const chunks = [pool.take(), pool.take(), pool.take(), pool.take()];
  keepBytes = 3 * 1024;
  pool.giveBack(chunks);
  const again = [pool.take(), pool.take(), pool.take(), pool.take()];
  assert.equal(again.filter((chunk) => chunks.includes(chunk)).length, 3);
  let asked = 0;
  pool.onShortage(() => {
    asked += 1;
    return false;
  });
  keepBytes = 5 * 1024;
  pool.take();
  assert.equal(asked, 0, 'there is room for one more');
  pool.take();
  assert.equal(asked, 1, 'now there is none');
});
