import assert from 'node:assert/strict';
import test from 'node:test';
import fc from 'fast-check';
import { RawJson } from '../../src/keyspace/json/json-text.ts';
import { ALWAYS_TEXT_BYTES, fromJsonValue, toJsonValue } from '../../src/keyspace/json/json-value.ts';
import { anyJsonBytes } from '../support/arbitraries.ts';

test('property: a value comes back from its JSON, and a long one takes at most twice its bytes there', () => {
  fc.assert(
    fc.property(anyJsonBytes, (bytes) => {
      const { value, encoding } = toJsonValue(bytes);
      const json = Buffer.from(JSON.stringify(value), 'utf8');
      assert.ok(bytes.equals(fromJsonValue(new RawJson(json, false), encoding) as Buffer));
      if (bytes.length > ALWAYS_TEXT_BYTES) assert.ok(json.length <= 2 * bytes.length + 2);
    }),
    { numRuns: 200 },
  );
});

test('a text with ordinary escapes stays text, and so does a short one of only control characters', () => {
  const document = JSON.stringify(Array.from({ length: 10_000 }, (_, id) => ({ id, name: 'a "name"' })));
  assert.deepEqual(toJsonValue(Buffer.from(document)), { value: document, encoding: 'utf8' });
  const short = '\u0001'.repeat(ALWAYS_TEXT_BYTES);
  assert.deepEqual(toJsonValue(Buffer.from(short)), { value: short, encoding: 'utf8' });
});
