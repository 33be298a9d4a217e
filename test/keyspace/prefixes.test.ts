import assert from 'node:assert/strict';
import test from 'node:test';
import fc from 'fast-check';
import { compareKeys } from '../../src/keyspace/key.ts';
import { Prefixes } from '../../src/keyspace/prefixes.ts';
import { anyKey, text } from '../support/arbitraries.ts';

const anyPrefixes = fc.array(text(0, 3), { maxLength: 6 });

test('no prefix at all is every key, and so is the empty one among others', () => {
  for (const wanted of [[], [''], ['a', ''], ['', '']]) {
    assert.deepEqual(new Prefixes(wanted).list, ['']);
    assert.ok(new Prefixes(wanted).matches('😀'));
  }
});

test('a prefix inside another one is dropped, however it was ordered or repeated', () => {
  const { list, id } = new Prefixes(['b', 'ab', 'a', 'b', 'bc', 'a\u{10ffff}']);
  assert.deepEqual(list, ['a', 'b']);
  assert.equal(id, new Prefixes(['a', 'b']).id);
});

test('a prefix is its own match, and the key that is one character shorter is not', () => {
  const prefixes = new Prefixes(['user:']);
  assert.deepEqual(
    ['user', 'user:', 'user:1', 'users'].map((key) => prefixes.matches(key)),
    [false, true, true, false],
  );
});

test('property: what matches is what begins with one of them, and equal choices have equal ids', () => {
  fc.assert(
    fc.property(anyPrefixes, fc.array(anyKey, { maxLength: 20 }), (wanted, keys) => {
      const prefixes = new Prefixes(wanted);
      const all = [...keys, ...wanted.flatMap((prefix) => [prefix, `${prefix}x`])];
      for (const key of all) {
        const expected = wanted.length === 0 || wanted.some((prefix) => key.startsWith(prefix));
        assert.equal(prefixes.matches(key), expected, `${JSON.stringify(key)} of ${prefixes.id}`);
      }
      assert.equal(new Prefixes([...wanted].reverse()).id, prefixes.id);
      assert.equal(new Prefixes(prefixes.list).id, prefixes.id);
    }),
  );
});

test('property: the list is in key order, and none begins with another one', () => {
  fc.assert(
    fc.property(anyPrefixes, (wanted) => {
      const { list } = new Prefixes(wanted);
      for (const [index, prefix] of list.entries()) {
        const next = list[index + 1];
        assert.ok(next === undefined || compareKeys(prefix, next) < 0);
        assert.ok(!list.some((other) => other !== prefix && other.startsWith(prefix)));
      }
    }),
  );
});
