/** JSON Merge Patch as RFC 7396 tells it, and JSON that wants to be a trap. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { isTooDeep, type Json, MAX_JSON_DEPTH, mergePatch } from '../../src/keyspace/merge-patch.ts';

/** RFC 7396, appendix A: original, patch, result. */
const TABLE: readonly (readonly [string, string, string])[] = [
  ['{"a":"b"}', '{"a":"c"}', '{"a":"c"}'],
  ['{"a":"b"}', '{"b":"c"}', '{"a":"b","b":"c"}'],
  ['{"a":"b"}', '{"a":null}', '{}'],
  ['{"a":"b","b":"c"}', '{"a":null}', '{"b":"c"}'],
  ['{"a":["b"]}', '{"a":"c"}', '{"a":"c"}'],
  ['{"a":"c"}', '{"a":["b"]}', '{"a":["b"]}'],
  ['{"a":{"b":"c"}}', '{"a":{"b":"d","c":null}}', '{"a":{"b":"d"}}'],
  ['{"a":[{"b":"c"}]}', '{"a":[1]}', '{"a":[1]}'],
  ['["a","b"]', '["c","d"]', '["c","d"]'],
  ['{"a":"b"}', '["c"]', '["c"]'],
  ['{"a":"foo"}', 'null', 'null'],
  ['{"a":"foo"}', '"bar"', '"bar"'],
  ['{"e":null}', '{"a":1}', '{"e":null,"a":1}'],
  ['[1,2]', '{"a":"b","c":null}', '{"a":"b"}'],
  ['{}', '{"a":{"bb":{"ccc":null}}}', '{"a":{"bb":{}}}'],
];

test('RFC 7396, appendix A', () => {
  for (const [target, patch, result] of TABLE) {
    const merged = mergePatch(JSON.parse(target) as Json, JSON.parse(patch) as Json);
    assert.equal(JSON.stringify(merged), result, `${target} with ${patch}`);
  }
});

test('__proto__ and constructor are members like others', () => {
  const target = JSON.parse('{"__proto__":{"a":1},"constructor":1}') as Json;
  const patch = JSON.parse('{"__proto__":{"b":2},"constructor":null}') as Json;
  assert.equal(JSON.stringify(mergePatch(target, patch)), '{"__proto__":{"a":1,"b":2}}');
  assert.equal(({} as { b?: number }).b, undefined);
});

test('a patch leaves what it was given as it was', () => {
  const [target, patch] = [{ a: { b: 1 } }, { a: { b: null } }] as const;
  mergePatch(target, patch);
  assert.deepEqual([target, patch], [{ a: { b: 1 } }, { a: { b: null } }]);
});

test('128 levels are fine, 129 are too deep, also of a hundred thousand', () => {
  const nested = (levels: number): unknown => JSON.parse('['.repeat(levels) + ']'.repeat(levels));
  assert.equal(isTooDeep(nested(MAX_JSON_DEPTH)), false);
  assert.equal(isTooDeep(nested(MAX_JSON_DEPTH + 1)), true);
  assert.equal(isTooDeep(nested(5_000)), true);
  assert.equal(isTooDeep(7), false);
  const objects = `${'{"a":'.repeat(MAX_JSON_DEPTH)}1${'}'.repeat(MAX_JSON_DEPTH)}`;
  assert.equal(isTooDeep(JSON.parse(objects)), false);
});
