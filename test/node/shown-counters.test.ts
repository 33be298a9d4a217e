import assert from 'node:assert/strict';
import test from 'node:test';
import { ShownCounters } from '../../src/node/shown-counters.ts';

function counted(syncFull: number, resets: Readonly<Record<string, number>>, continued = 0) {
  return {
    sync: { syncFull, syncPartialOk: 2 * syncFull, syncPartialErr: 3 * syncFull },
    feed: { continued, resets, tooFarBehind: continued },
  };
}

test('before a reset the counters are shown as they were counted', () => {
  const counters = new ShownCounters();
  const now = counted(3, { 'first-sync': 1 }, 2);
  assert.deepEqual([counters.since(now), counters.resetAt], [now, null]);
});

test('after a reset only what came since is shown, and only the reasons that came since', () => {
  const counters = new ShownCounters();
  counters.reset(counted(3, { 'first-sync': 1, forced: 2 }, 2), 1_000);
  assert.deepEqual(counters.since(counted(3, { 'first-sync': 1, forced: 2 }, 2)), counted(0, {}));
  const later = counted(5, { 'first-sync': 1, forced: 3, 'behind-backlog': 1 }, 6);
  assert.deepEqual(counters.since(later), counted(2, { forced: 1, 'behind-backlog': 1 }, 4));
  assert.equal(counters.resetAt, 1_000);
  counters.reset(later, 2_000);
  assert.deepEqual(counters.since(later), counted(0, {}));
});
