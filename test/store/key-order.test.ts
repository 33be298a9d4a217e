import assert from 'node:assert/strict';
import test from 'node:test';
import fc from 'fast-check';
import { ChunkPool } from '../../src/keyspace/overlay/chunk-pool.ts';
import { EntryLog } from '../../src/keyspace/overlay/entry-records.ts';
import { KeyProbe } from '../../src/keyspace/overlay/key-probe.ts';
import { sortByKey } from '../../src/store/keyspace/key-order.ts';

const CHUNK_BYTES = 256;
/** As near as it has to be. */
const APART = 16;

function sorted(keys: readonly string[]): readonly string[] {
  const log = new EntryLog(new ChunkPool(() => 0, CHUNK_BYTES));
  const addresses = Uint32Array.from(keys, (key) => log.append(new KeyProbe().of(key), null, 1, null));
  sortByKey(addresses, log);
  return Array.from(addresses, (address) => log.key(address));
}

/** Each key is there once, at most so far from its place. */
function check(keys: readonly string[]): void {
  const places = new Map(sorted(keys).map((key, index) => [key, index]));
  const inBytes = [...keys].sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
  assert.equal(places.size, keys.length);
  for (const [index, key] of inBytes.entries()) {
    assert.ok(Math.abs((places.get(key) ?? Number.NaN) - index) < APART, key);
  }
}

test('sorting brings each key close to its neighbours, whatever the keys are', () => {
  const word = fc.constantFrom('', 'a', 'b', 'ab', 'user:', 'user:profile:', '/', 'é', '日本', '\u{1f600}');
  const key = fc.tuple(word, word, fc.nat(300)).map((parts) => parts.join(''));
  fc.assert(fc.property(fc.uniqueArray(key, { maxLength: 400 }), (keys) => check(keys)));
});

for (const [what, keyOf] of [
  ['numbers', (number: number) => `user:${String(number).padStart(8, '0')}:profile`],
  ['keys that each begin with the one before', (number: number) => 'x'.repeat(1 + (number % 200))],
  ['keys that begin alike', (number: number) => `${'long and the same '.repeat(8)}${number * 7919}`],
  ['some prefixes', (number: number) => `${['users', 'orders', 'sessions'][number % 3]}/${number}`],
] as const) {
  test(`sorting brings two thousand keys close to their neighbours: ${what}`, () => {
    check([...new Set(Array.from({ length: 2_000 }, (_, number) => keyOf(number)))].reverse());
  });
}

test('sorting works for no key and for one key', () => {
  assert.deepEqual([sorted([]), sorted(['one'])], [[], ['one']]);
});
