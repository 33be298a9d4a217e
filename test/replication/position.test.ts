import assert from 'node:assert/strict';
import test from 'node:test';
import fc from 'fast-check';
import {
  formatPosition,
  fromWireOffset,
  offset,
  parsePosition,
  parseRunId,
  wireOffset,
} from '../../src/replication/position.ts';
import { runId } from '../support/arbitraries.ts';

const ID = '0123456789abcdef0123456789abcdef01234567';

test('offset 50 asks for byte 51 on the wire, and byte 51 is asked for by offset 50', () => {
  assert.equal(wireOffset(offset(50)), 51);
  assert.equal(fromWireOffset(51), 50);
  assert.equal(fromWireOffset(0), -1);
});

for (const value of [-1, 0.5, Number.NaN, Number.POSITIVE_INFINITY, 2 ** 53]) {
  test(`${value} is not an offset`, () => {
    assert.throws(() => offset(value), RangeError);
  });
}

test('a position survives being written and read', () => {
  const anyId = fc.constantFrom('0', '9', 'a', 'f').map(runId);
  fc.assert(
    fc.property(anyId, fc.maxSafeNat(), (id, bytes) => {
      const position = { runId: id, offset: offset(bytes) };
      assert.deepEqual(parsePosition(formatPosition(position)), position);
    }),
  );
});

test('run IDs are read without regard to case and kept in lowercase', () => {
  assert.equal(parseRunId(ID.toUpperCase()), ID);
  assert.deepEqual(parsePosition(`${ID.toUpperCase()}:7`), { runId: ID, offset: 7 });
});

for (const text of [ID.slice(1), `${ID}0`, ID.replace('f', 'g'), ` ${ID}`, `${ID}\n`, '?', '']) {
  test(`${JSON.stringify(text)} is no run ID`, () => {
    assert.equal(parseRunId(text), null);
  });
}

for (const tail of [
  '',
  ':',
  ':-1',
  ':1.5',
  ':1e3',
  ':0x1',
  ': 1',
  ':1 ',
  ':1\n',
  ':9007199254740992',
  ':007',
  ':00',
  ':1:2',
]) {
  test(`a run ID and ${JSON.stringify(tail)} is no position`, () => {
    assert.equal(parsePosition(ID + tail), null);
  });
}

test('an offset without its run ID is no position', () => {
  for (const text of ['', ':', '5', ':5', '?:5', `${ID.slice(1)}:5`]) assert.equal(parsePosition(text), null);
});
