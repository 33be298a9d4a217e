import assert from 'node:assert/strict';
import test from 'node:test';
import { backlogFor, REMEMBERED_SECONDS, WriteRate } from '../../src/replication/write-rate.ts';

/** Writes so many bytes in each of these seconds, counted from the start. */
function written(perSecond: Readonly<Record<number, number>>): WriteRate {
  const rate = new WriteRate(0);
  for (const [second, bytes] of Object.entries(perSecond)) rate.committed(bytes, Number(second) * 1000 + 500);
  return rate;
}

test('without writes the rate is zero', () => {
  assert.deepEqual(new WriteRate(0).rates(0), { current: 0, peak: 0 });
  assert.deepEqual(new WriteRate(0).rates(10_000_000), { current: 0, peak: 0 });
});

test('in the first second writes count at once', () => {
  assert.deepEqual(written({ 0: 700 }).rates(900), { current: 700, peak: 700 });
});

test('a steady stream has the same rate now and at its peak', () => {
  const rate = written(Object.fromEntries(Array.from({ length: 60 }, (_, second) => [second, 100])));
  assert.deepEqual(rate.rates(60_000), { current: 100, peak: 100 });
});

test('the second that is not over does not count', () => {
  const rate = written({ ...Object.fromEntries(Array.from({ length: 20 }, (_, s) => [s, 100])), 20: 9_000 });
  assert.deepEqual(rate.rates(20_600), { current: 100, peak: 100 });
  assert.deepEqual(rate.rates(21_000), { current: 990, peak: 990 });
});

test('a burst stays the peak for ten minutes, and is forgotten then', () => {
  const rate = written({ 100: 50_000 });
  assert.deepEqual(rate.rates(101_000), { current: 5_000, peak: 5_000 });
  assert.deepEqual(rate.rates(200_000), { current: 0, peak: 5_000 });
  assert.equal(rate.rates((100 + REMEMBERED_SECONDS - 1) * 1000).peak, 5_000);
  assert.equal(rate.rates((100 + REMEMBERED_SECONDS + 10) * 1000).peak, 0);
});

test('after a pause longer than ten minutes the rate and its peak are zero', () => {
  const rate = written({ 5: 1_000 });
  assert.deepEqual(rate.rates(5_000_000), { current: 0, peak: 0 });
});

test('the backlog for two minutes away at 10,000 bytes a second has 1.2 million bytes', () => {
  assert.equal(backlogFor(120_000, 10_000), 1_200_000);
  assert.equal(backlogFor(1_500, 0.5), 1);
});
