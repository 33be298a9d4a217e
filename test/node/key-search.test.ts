import assert from 'node:assert/strict';
import test from 'node:test';
import fc from 'fast-check';
import { Prefixes } from '../../src/keyspace/prefixes.ts';
import { KeySearch } from '../../src/node/feed/messages/key-search.ts';

test('property: every search finds what a comparison with each key finds, in order', () => {
  const text = fc.string({ unit: fc.constantFrom('a', 'b', '/', '\uffff', '\u{1f600}'), maxLength: 5 });
  const keys = fc.array(fc.option(text, { freq: 8 }), { maxLength: 40 });
  // More searches than are done without sorting.
  const searches = fc.array(fc.array(text, { maxLength: 4 }), { minLength: 8, maxLength: 8 });
  fc.assert(
    fc.property(keys, searches, (all, wanted) => {
      const search = new KeySearch(all);
      for (const list of wanted) {
        const prefixes = new Prefixes(list);
        const expected = [...all.entries()]
          .filter(([, key]) => key === null || prefixes.matches(key))
          .map(([index]) => index);
        assert.deepEqual(search.find(prefixes), expected);
      }
    }),
  );
});

test('each of thousands of searches looks at only some of ten thousand keys', () => {
  let looked = 0;
  const keys = Array.from({ length: 10_000 }, (_, index) => `k${String(index).padStart(5, '0')}`);
  class Counted extends Prefixes {
    override matches(key: string): boolean {
      looked += 1;
      return super.matches(key);
    }
  }
  const search = new KeySearch(keys);
  for (let index = 0; index < 5_000; index += 1) {
    assert.deepEqual(search.find(new Counted([keys[index] as string])), [index]);
  }
  assert.ok(looked <= 10 * keys.length, `${looked} comparisons`);
});
