import assert from 'node:assert/strict';
import test from 'node:test';
import type { Entry } from '../../src/keyspace/entry.ts';
import { ReadCache } from '../../src/store/keyspace/read-cache.ts';

const entry = (bytes: number): Entry => ({ value: Buffer.alloc(bytes), version: 1, expiresAt: null });

/** How many of the keys it has. */
function held(cache: ReadCache, keys: readonly string[]): number {
  return keys.filter((key) => cache.get(key) !== undefined).length;
}

test('an entry that is read often is soon served from memory, and is the same entry', () => {
  const cache = new ReadCache();
  const hot = entry(100);
  for (let reads = 0; reads < 8; reads += 1) cache.offer('hot', hot);
  assert.equal(cache.get('hot'), hot);
  assert.equal(cache.get('cold'), undefined);
});

test('the cache is empty when the read transaction has ended', () => {
  const cache = new ReadCache();
  for (let reads = 0; reads < 80_000; reads += 1) cache.offer(`k${reads}`, entry(1));
  cache.clear();
  assert.equal(
    held(
      cache,
      Array.from({ length: 80_000 }, (_, index) => `k${index}`),
    ),
    0,
  );
});

test('the cache stays within its limits, and keeps the entries that are read often', () => {
  for (const [bytes, most] of [
    [1, 2 * 4_096],
    [4_096, 2 * 1_024],
    [4_097, 0],
  ] as const) {
    const cache = new ReadCache();
    const keys = Array.from({ length: 200_000 }, (_, index) => `k${index}`);
    const value = entry(bytes);
    for (let reads = 0; reads < 8; reads += 1) cache.offer('hot', value);
    for (const key of keys) {
      cache.offer(key, value);
      cache.get('hot');
    }
    const count = held(cache, keys);
    assert.ok(count <= most, `${count} entries of ${bytes} bytes`);
    assert.equal(cache.get('hot') !== undefined, bytes <= 4_096);
  }
});
