import assert from 'node:assert/strict';
import test from 'node:test';
import fc from 'fast-check';
import { compareKeys } from '../../src/keyspace/key.ts';
import { ChunkPool } from '../../src/keyspace/overlay/chunk-pool.ts';
import { EntryRecords } from '../../src/keyspace/overlay/entry-records.ts';
import { EntryTable } from '../../src/keyspace/overlay/entry-table.ts';
import { FirstKeys } from '../../src/keyspace/overlay/first-keys.ts';
import { KeyProbe } from '../../src/keyspace/overlay/key-probe.ts';
import { anyKey, anyValue } from '../support/arbitraries.ts';

/** As small as the longest key and its header allow. */
const CHUNK_BYTES = 64;
const HEADER_BYTES = 28;
const MANY_CHUNKS = 64;
const probe = new KeyProbe();

/** Whose memory was used before, and is full of what must not be taken for something else. */
function usedPool(): ChunkPool {
  const pool = new ChunkPool(() => MANY_CHUNKS * CHUNK_BYTES, CHUNK_BYTES);
  const before = new EntryTable(pool);
  before.put(probe.of('k'), Buffer.alloc((MANY_CHUNKS - 1) * CHUNK_BYTES, 1), 1, null);
  before.release();
  return pool;
}

/** In key order. */
function keysOf(table: EntryTable): readonly string[] {
  const wanted = new FirstKeys([{ prefix: '', from: '', exclusive: false }], Number.POSITIVE_INFINITY);
  table.collect(wanted, Number.NEGATIVE_INFINITY, probe, () => true);
  return wanted.keys;
}

test('the table reads like a plain map, whatever is put, deleted and given another expiry', () => {
  const put = fc.record({ key: anyKey, value: fc.option(anyValue), expiresAt: fc.option(fc.maxSafeNat()) });
  fc.assert(
    fc.property(fc.array(put, { maxLength: 200 }), fc.nat(300), (puts, expected) => {
      const table = new EntryTable(usedPool(), expected);
      const map = new Map<string, { value: Buffer; version: number; expiresAt: number | null } | null>();
      for (const [version, { key, value, expiresAt }] of puts.entries()) {
        const before = map.get(key) ?? null;
        if (version % 5 === 4) {
          assert.equal(table.setExpiry(probe.of(key), expiresAt), before !== null);
          if (before !== null) map.set(key, { ...before, expiresAt });
        } else {
          table.put(probe.of(key), value, version, expiresAt);
          map.set(key, value === null ? null : { value, version, expiresAt });
        }
      }
      assert.equal(table.count, map.size);
      const there = [...map].filter(([, entry]) => entry !== null).map(([key]) => key);
      assert.deepEqual(keysOf(table), there.sort(compareKeys));
      for (const [key, entry] of map) {
        assert.deepEqual(table.get(probe.of(key)), entry);
        assert.equal(table.expiry(probe.of(key)), entry === null ? false : entry.expiresAt);
        assert.equal(table.has(probe.of(key)), true);
      }
      assert.equal(table.get(probe.of('never put')), undefined);
      assert.equal(table.expiry(probe.of('never put')), undefined);
    }),
  );
});

test('ten thousand keys, and values of several chunks, are found again', () => {
  const table = new EntryTable(new ChunkPool(() => 0, 1024));
  const valueFor = (number: number): Buffer => Buffer.alloc(number % 3_000, String(number));
  for (let number = 0; number < 10_000; number += 1) {
    table.put(probe.of(`key ${number}`), valueFor(number), number, null);
  }
  for (let number = 0; number < 10_000; number += 1) {
    assert.ok(table.get(probe.of(`key ${number}`))?.value.equals(valueFor(number)), `key ${number}`);
  }
});

test('an empty value at the end of a chunk, with no other behind it, is read like any other', () => {
  const table = new EntryTable(new ChunkPool(() => 0, CHUNK_BYTES));
  const rest = CHUNK_BYTES - HEADER_BYTES;
  table.put(probe.of('k'.repeat(rest)), Buffer.alloc(0), 1, null);
  const [address = 0] = table.addresses();
  assert.equal(EntryRecords.of(table.memories, CHUNK_BYTES).view(address).length, 0);
});

test('the memory of a released table is reused by the next one', () => {
  const pool = new ChunkPool(() => 16 * CHUNK_BYTES, CHUNK_BYTES);
  const memories = [1, 2].map(() => {
    const table = new EntryTable(pool);
    table.put(probe.of('k'), Buffer.alloc(200), 1, null);
    const taken = table.memories;
    table.release();
    return taken;
  });
  assert.ok((memories[0]?.length ?? 0) > 1);
  assert.deepEqual(new Set(memories[1]), new Set(memories[0]));
});

test('a probe has the key in UTF-8, and hashes that spread', () => {
  fc.assert(
    fc.property(anyKey, (key) => {
      const { bytes, length } = probe.of(key);
      assert.deepEqual(Buffer.from(bytes.subarray(0, length)), Buffer.from(key));
      assert.equal(new KeyProbe().of(key).hash, probe.hash);
    }),
  );
  const long = 'é'.repeat(5_000);
  assert.equal(probe.of(long).length, 10_000);
  const places = new Array<number>(256).fill(0);
  for (let number = 0; number < 25_600; number += 1) {
    const place = probe.of(`user:${number}`).hash & 255;
    places[place] = (places[place] as number) + 1;
  }
  // 100 are expected; with a good hash more than 200 come in one of 10^18 runs.
  assert.ok(Math.max(...places) < 200, `${Math.max(...places)}`);
});
