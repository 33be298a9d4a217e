import assert from 'node:assert/strict';
import test from 'node:test';
import fc from 'fast-check';
import { PrefixTrie } from '../../src/node/feed/followers/prefix-trie.ts';

/** Who is found for the key, in order of their numbers. */
function found(trie: PrefixTrie<number>, key: string): readonly number[] {
  const values = new Set<number>();
  trie.find(key, values);
  return [...values].sort((one, other) => one - other);
}

test('a key finds the values of all prefixes with which it begins, and no others', () => {
  const trie = new PrefixTrie<number>();
  for (const [value, prefix] of ['', 'user/', 'user/1', 'user/12', 'order/', 'use', 'user/1'].entries()) {
    trie.add(prefix, value);
  }
  assert.deepEqual(found(trie, 'user/123'), [0, 1, 2, 3, 5, 6]);
  assert.deepEqual(found(trie, 'user/1'), [0, 1, 2, 5, 6]);
  assert.deepEqual(found(trie, 'us'), [0]);
  assert.deepEqual(found(trie, 'used'), [0, 5]);
  assert.deepEqual(found(trie, ''), [0]);
});

test('property: the trie finds what a comparison with each prefix finds, and is empty after all prefixes are removed', () => {
  const text = fc.string({ unit: fc.constantFrom('a', 'b', '/', 'é', '\u{1f600}', '\ud83d'), maxLength: 8 });
  const step = fc.record({ prefix: text, value: fc.nat({ max: 3 }), isAdded: fc.boolean(), key: text });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const trie = new PrefixTrie<number>();
      const model = new Map<string, Set<number>>();
      for (const { prefix, value, isAdded, key } of steps) {
        const values = model.get(prefix) ?? new Set();
        model.set(prefix, values);
        if (isAdded) {
          trie.add(prefix, value);
          values.add(value);
        } else {
          trie.delete(prefix, value);
          values.delete(value);
        }
        const expected = new Set<number>();
        for (const [each, of] of model) {
          if (key.startsWith(each)) for (const wanted of of) expected.add(wanted);
        }
        assert.deepEqual(
          found(trie, key),
          [...expected].sort((one, other) => one - other),
        );
        const prefixes = [...model.values()].filter(({ size }) => size > 0).length;
        assert.ok(trie.size <= 2 * prefixes, `${trie.size} nodes for ${prefixes} prefixes`);
      }
      for (const [prefix, values] of model) for (const value of values) trie.delete(prefix, value);
      assert.equal(trie.size, 0);
    }),
    { numRuns: 300 },
  );
});

test('a look-up takes at most one step for each unit of the key, however many lengths of prefixes there are', () => {
  const trie = new PrefixTrie<number>();
  for (let length = 0; length < 1_024; length += 1) trie.add(`${'a'.repeat(length)}z`, length);
  const key = 'a'.repeat(1_024);
  assert.ok(trie.find(key, new Set()) <= key.length + 1);
  assert.ok(trie.find('ab', new Set()) <= 3);
  const found = new Set<number>();
  assert.ok(trie.find(`${'a'.repeat(500)}z`, found) <= 502);
  assert.deepEqual([...found], [500]);
});

test('ten thousand long prefixes that nobody writes to cost a look-up one step', () => {
  const trie = new PrefixTrie<number>();
  const stem = 'x'.repeat(1_000);
  for (let value = 0; value < 10_000; value += 1) trie.add(`${stem}${value}`, value);
  assert.equal(trie.find('order/1', new Set()), 1);
  assert.ok(trie.size <= 20_000);
});
