/** Among many keys the first ones of some ranges are found, whatever the ranges have in common. */
import assert from 'node:assert/strict';
import test from 'node:test';
import fc from 'fast-check';
import { compareKeys } from '../../src/keyspace/key.ts';
import { FirstKeys } from '../../src/keyspace/overlay/first-keys.ts';
import { Prefixes } from '../../src/keyspace/prefixes.ts';

/** Few letters, so that keys often share their first bytes; one is the lowest byte, and one has several bytes. */
const letters = fc.constantFrom('\0', 'a', 'b', 'ü', '\uffff');
const ending = fc.array(letters, { maxLength: 9 }).map((parts) => parts.join(''));
/** Up to where bytes are compared evenly, and beyond. */
const lead = fc.constantFrom('', 'a', 'tenant/', 'x'.repeat(31), 'x'.repeat(32), 'x'.repeat(33));

test('the first keys of some ranges are those that a comparison of all keys finds', () => {
  fc.assert(
    fc.property(
      lead,
      lead,
      fc.array(ending, { minLength: 1, maxLength: 30 }),
      fc.array(ending, { maxLength: 12 }),
      fc.nat(40),
      fc.boolean(),
      (shared, other, endings, chosen, count, isExclusive) => {
        const keys = new Set(endings.flatMap((end) => [`${shared}${end}`, `${other}${end}`]));
        const prefixes = new Prefixes(chosen.map((end) => `${shared}${end}`));
        const ranges = prefixes.list.map((prefix) => ({ prefix, from: prefix, exclusive: isExclusive }));
        const wanted = new FirstKeys(ranges, count);
        for (const key of keys) {
          const bytes = Buffer.from(`..${key}..`);
          if (wanted.admits(bytes, 2, bytes.length - 4)) wanted.add(key);
        }
        const expected = [...keys]
          .filter((key) => prefixes.matches(key) && !(isExclusive && prefixes.list.includes(key)))
          .sort(compareKeys);
        assert.deepEqual(wanted.keys, expected.slice(0, count));
      },
    ),
    { numRuns: 2_000 },
  );
});

test('a range that continues behind a key has only the keys behind it', () => {
  const wanted = new FirstKeys([{ prefix: 'a/', from: 'a/k', exclusive: true }], 10);
  for (const key of ['a', 'a/', 'a/j', 'a/k', 'a/k\0', 'a/l', 'a0', 'b/l']) {
    const bytes = Buffer.from(key);
    if (wanted.admits(bytes, 0, bytes.length)) wanted.add(key);
  }
  assert.deepEqual(wanted.keys, ['a/k\0', 'a/l']);
});
