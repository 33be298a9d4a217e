/** Which bytes a client gets that asks for a range: never those of another snapshot, and never other ones than it asked for. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { rangeOf } from '../../src/http/request/range.ts';

const LENGTH = 1_000;
const ETAG = '"aa/17"';

for (const [range, expected] of [
  ['bytes=0-0', [0, 0]],
  ['bytes=0-499', [0, 499]],
  ['bytes=500-', [500, 999]],
  ['bytes=999-', [999, 999]],
  ['bytes=999-99999999999999999999', [999, 999]],
  ['bytes=-1', [999, 999]],
  ['bytes=-100', [900, 999]],
  ['bytes=-5000', [0, 999]],
  ['BYTES=1-2', [1, 2]],
  ['bytes= 1-2 ', [1, 2]],
  ['bytes=,1-2,', [1, 2]],
  // Ranges that follow one another are one.
  ['bytes=0-9,10-19', [0, 19]],
  ['bytes=10-19,0-12', [0, 19]],
  // One of them can be sent.
  ['bytes=5-6,2000-', [5, 6]],
  ['bytes=1000-', 'unsatisfiable'],
  ['bytes=2000-3000', 'unsatisfiable'],
  ['bytes=99999999999999999999-', 'unsatisfiable'],
  ['bytes=-0', 'unsatisfiable'],
  ['bytes=1-2,5-6', 'whole'],
  ['bytes=0-0,-1', 'whole'],
  ['bytes=2-1', 'whole'],
  ['bytes=-', 'whole'],
  ['bytes=', 'whole'],
  ['bytes', 'whole'],
  ['bytes=a-b', 'whole'],
  ['bytes=0x1-2', 'whole'],
  ['bytes=1.5-2', 'whole'],
  ['bytes=+1-2', 'whole'],
  ['bytes=--1', 'whole'],
  ['bytes=1-2,x', 'whole'],
  ['lines=1-2', 'whole'],
  ['', 'whole'],
] as const) {
  test(`the range ${JSON.stringify(range)} of ${LENGTH} bytes is ${expected}`, () => {
    const found = rangeOf({ range }, LENGTH, ETAG);
    const shown = typeof found === 'string' ? found : [found.start, found.end];
    assert.deepEqual(shown, expected);
  });
}

for (const [ifRange, counts] of [
  [ETAG, true],
  ['"aa/18"', false],
  [`W/${ETAG}`, false],
  ['aa/17', false],
  ['Sun, 29 Nov 2026 03:38:17 GMT', false],
  ['*', false],
  ['', false],
] as const) {
  test(`a range with If-Range ${JSON.stringify(ifRange)} ${counts ? 'counts' : 'does not count'}`, () => {
    const found = rangeOf({ range: 'bytes=5-', 'if-range': ifRange }, LENGTH, ETAG);
    assert.deepEqual(found, counts ? { start: 5, end: 999 } : 'whole');
  });
}

test('no range counts where nothing says which bytes the client means', () => {
  for (const headers of [{}, { 'if-range': ETAG }]) {
    for (const range of ['bytes=5-', 'bytes=0-', 'bytes=2000-']) {
      assert.equal(rangeOf({ range, ...headers }, LENGTH, null), 'whole');
    }
  }
});

test('a header full of ranges costs no more than its length', () => {
  const range = `bytes=${Array.from({ length: 4_000 }, (_, index) => `${index % 7}-${index % 7}`).join(',')}`;
  assert.deepEqual(rangeOf({ range }, LENGTH, ETAG), { start: 0, end: 6 });
});
