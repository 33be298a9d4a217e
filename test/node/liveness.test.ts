/** Liveness: who is silent, and who takes nothing, by a clock that the test sets. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { SilenceWatch, TakenWatch } from '../../src/node/liveness.ts';

test('the silence of a peer counts from the last thing that was heard of it', () => {
  let now = 5;
  const watch = new SilenceWatch({ monotonic: () => now });
  now = 105;
  assert.equal(watch.silentMs, 100);
  watch.heard();
  now = 107.9;
  assert.deepEqual([watch.silentMs, watch.heardAt], [2, 105]);
});

test('a peer is stuck from the moment since which it has taken nothing, and never with an empty socket', () => {
  let now = 0;
  const watch = new TakenWatch({ monotonic: () => now });
  assert.equal(watch.stuckMs(100, 60), 0);
  now = 40;
  // More was given, and none of it taken.
  assert.equal(watch.stuckMs(150, 110), 40);
  now = 50;
  assert.equal(watch.stuckMs(150, 100), 0);
  now = 80;
  assert.equal(watch.stuckMs(150, 100), 30);
  assert.equal(watch.stuckMs(150, 0), 0);
  now = 200;
  assert.equal(watch.stuckMs(150, 0), 0);
});
