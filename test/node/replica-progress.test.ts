import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ReplicaProgress } from '../../src/node/session/replica-progress.ts';
import type { Offset } from '../../src/replication/position.ts';

function progressAt(head: { offset: number }) {
  let now = 0;
  return {
    progress: new ReplicaProgress({
      world: { monotonic: () => now },
      head: {
        get offset() {
          return head.offset as Offset;
        },
        lagMs: () => 0,
      },
    }),
    pass: (ms: number) => {
      now += ms;
    },
  };
}

test('after a full resync a replica has everything only when it has acknowledged it', () => {
  const { progress } = progressAt({ offset: 100 });
  progress.synced({ kind: 'full', reason: 'first-sync', bytes: 5_000 });
  progress.wentOnline(100 as Offset);
  assert.equal(progress.lagBytes, 0);
  assert.equal(progress.hasEverything, false);
  progress.acknowledge(100 as Offset, null);
  assert.equal(progress.hasEverything, true);
});

test('after a partial resync of nothing a replica has everything before it acknowledges', () => {
  const head = { offset: 100 };
  const { progress } = progressAt(head);
  progress.synced({ kind: 'partial', bytes: 0 });
  progress.wentOnline(100 as Offset);
  assert.equal(progress.hasEverything, true);
  head.offset = 130;
  assert.equal(progress.hasEverything, false);
  assert.equal(progress.lagBytes, 30);
});

test('a late acknowledgement of an earlier offset does not lower the acknowledged offset', () => {
  const { progress, pass } = progressAt({ offset: 100 });
  progress.acknowledge(90 as Offset, null);
  pass(1_500);
  progress.acknowledge(80 as Offset, null);
  assert.equal(progress.acknowledgedOffset, 90);
  assert.equal(progress.acknowledgedAt, 1_500);
  pass(250);
  assert.equal(progress.status.ackAgeMs, 250);
});
