import assert from 'node:assert/strict';
import test from 'node:test';
import fc from 'fast-check';
import {
  damageRetryDelayMs,
  guardRetryDelayMs,
  retryDelayMs,
  schemaRetryDelayMs,
} from '../../src/replication/backoff.ts';

test('a link that was up dials again at once', () => {
  assert.equal(retryDelayMs(0, 0), 0);
  assert.equal(retryDelayMs(0, 0.999), 0);
});

test('then it waits 100 ms, twice as long each time, and never longer than 5 s', () => {
  const delays = [1, 2, 3, 4, 5, 6, 7, 8, 1_000_000].map((failures) => retryDelayMs(failures, 0));
  assert.deepEqual(delays, [100, 200, 400, 800, 1_600, 3_200, 5_000, 5_000, 5_000]);
});

test('after damaged snapshots it waits 1 s, twice as long each time, and never longer than 5 min', () => {
  const delays = [1, 2, 3, 8, 9, 10, 1_000_000].map((failures) => damageRetryDelayMs(failures, 0));
  assert.deepEqual(delays, [1_000, 2_000, 4_000, 128_000, 256_000, 300_000, 300_000]);
});

test('jitter takes up to half of it away', () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 2 ** 31 }),
      fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }),
      (failures, random) => {
        const slow = schemaRetryDelayMs(random);
        assert.ok(Number.isInteger(slow) && slow >= 15_000 && slow <= 30_000);
        const [longest, delay] = [retryDelayMs(failures, 0), retryDelayMs(failures, random)];
        assert.ok(
          Number.isInteger(delay) && delay >= longest / 2 && delay <= longest,
          `${delay} of ${longest}`,
        );
      },
    ),
  );
});

test('a master whose empty keyspace was refused is asked again after half a time-out, and ever later, up to ten time-outs', () => {
  const delays = [1, 2, 3, 5, 6, 1_000_000].map((refusals) => guardRetryDelayMs(refusals, 60_000, 0));
  assert.deepEqual(delays, [30_000, 60_000, 120_000, 480_000, 600_000, 600_000]);
  assert.equal(guardRetryDelayMs(1, 60_000, 0.999_999), 15_000);
});
