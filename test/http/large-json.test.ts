import assert from 'node:assert/strict';
import test from 'node:test';
import fc from 'fast-check';
import { pieces, whole } from '../../src/http/request/large-json.ts';
import { anyJsonBytes } from '../support/arbitraries.ts';

test('property: an answer that is written in pieces says the same as one that is written at once', () => {
  fc.assert(
    fc.property(anyJsonBytes, (value) => {
      const object = { before: { key: 'k' }, value, after: { version: 1 } };
      assert.equal([...pieces(object)].join(''), JSON.stringify(whole(object)));
    }),
    { numRuns: 200 },
  );
});
