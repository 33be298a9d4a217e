/** JSON Merge Patch as RFC 7396 tells it, and JSON that wants to be a trap. */
import assert from 'node:assert/strict';
import test from 'node:test';
import fc from 'fast-check';
import { atOnce, JsonError, MAX_JSON_DEPTH, parseJson } from '../../src/keyspace/json/json.ts';
import { joined, mergeSteps, patchSteps } from '../../src/keyspace/json/merge-patch.ts';

function merged(target: string, patch: string): string {
  const parsed = atOnce(patchSteps(Buffer.from(patch)));
  return joined(atOnce(mergeSteps(Buffer.from(target), parsed))).toString();
}

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
  for (const [target, patch, result] of TABLE)
    assert.equal(merged(target, patch), result, `${target} with ${patch}`);
});

test('__proto__ and constructor are members like others', () => {
  const target = '{"__proto__":{"a":1},"constructor":1}';
  assert.equal(merged(target, '{"__proto__":{"b":2},"constructor":null}'), '{"__proto__":{"a":1,"b":2}}');
  assert.equal(({} as { b?: number }).b, undefined);
});

test('what a patch does not name stays as it is written, white space and numbers too', () => {
  const target = ' { "a" : 1.0 ,\n "b":[ 1e2, -0 ],"c":99999999.99999999999, "\\u0064": 1 } ';
  assert.equal(
    merged(target, '{"b":null,"x":-0}'),
    '{"a" : 1.0,"c":99999999.99999999999, "\\u0064": 1,"x":-0}',
  );
  assert.equal(merged(target, '{"d":{"e": [1, 1e400]}}').endsWith(',"d":{"e":[1,1e400]}}'), true);
});

test('what a patch sets stays as it is written, without white space', () => {
  assert.equal(merged('{"a":0}', '{"a": [ 1.50, 1E2 , "x y" ]}'), '{"a":[1.50,1E2,"x y"]}');
  assert.equal(merged('[]', ' 99999999.99999999999 '), '99999999.99999999999');
});

test('a member that stands twice cannot be patched; others beside it can', () => {
  assert.throws(() => merged('{"a":1,"a":2}', '{"a":3}'), JsonError);
  assert.equal(merged('{"a":1,"a":2}', '{"b":3}'), '{"a":1,"a":2,"b":3}');
  assert.throws(() => merged('{}', '{"a":1,"a":2}'), JsonError);
});

test('a merge is what RFC 7396 makes of the parsed values', () => {
  const json = fc.oneof(
    fc.jsonValue({ maxDepth: 4 }),
    fc.dictionary(fc.constantFrom('a', 'b', 'ä'), fc.jsonValue()),
  );
  fc.assert(
    fc.property(json, json, fc.constantFrom(0, 2), (target, patch, indent) => {
      const text = merged(JSON.stringify(target, null, indent), JSON.stringify(patch, null, indent));
      assert.deepEqual(JSON.parse(text), model(target, patch));
    }),
  );
});

/** RFC 7396, section 2. */
function model(target: unknown, patch: unknown): unknown {
  if (!isObject(patch)) return JSON.parse(JSON.stringify(patch));
  const members = new Map(isObject(target) ? Object.entries(target) : []);
  for (const [name, value] of Object.entries(patch)) {
    if (value === null) members.delete(name);
    else members.set(name, model(members.get(name), value));
  }
  return JSON.parse(JSON.stringify(Object.fromEntries(members)));
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

test('128 levels are fine, 129 are too deep, also of a hundred thousand', () => {
  const arrays = (levels: number): Buffer => Buffer.from('['.repeat(levels) + ']'.repeat(levels));
  parseJson(arrays(MAX_JSON_DEPTH));
  for (const levels of [MAX_JSON_DEPTH + 1, 5_000, 100_000]) {
    assert.throws(() => parseJson(arrays(levels)), JsonError);
    assert.throws(() => merged(arrays(levels).toString(), '{}'), JsonError);
  }
  const objects = `${'{"a":'.repeat(MAX_JSON_DEPTH)}1${'}'.repeat(MAX_JSON_DEPTH)}`;
  assert.equal(merged(objects, objects), objects);
  assert.throws(() => parseJson(Buffer.from(`[${objects}]`)), JsonError);
});
