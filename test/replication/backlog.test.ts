import assert from 'node:assert/strict';
import test from 'node:test';
import fc from 'fast-check';
import { Backlog } from '../../src/replication/backlog.ts';
import { offset, ZERO } from '../../src/replication/position.ts';

/** Bytes that tell where they stand: byte k of the stream is k mod 251. */
function stretch(after: number, length: number): Buffer {
  return Buffer.from(Array.from({ length }, (_, index) => (after + index + 1) % 251));
}

/** Everything that can be asked of a backlog of `size` which began after `start` and got bytes up to `end`. */
function assertHolds(backlog: Backlog, size: number, start: number, end: number): void {
  const first = Math.max(start, end - size);
  assert.deepEqual(
    { firstOffset: backlog.firstOffset, length: backlog.length, size: backlog.size },
    { firstOffset: first + 1, length: end - first, size },
  );
  for (let after = Math.max(0, first - 2); after <= end + 2; after += 1) {
    const held = after >= first && after <= end;
    assert.equal(backlog.holds(offset(after)), held, `holds(${after})`);
    if (!held) {
      assert.throws(() => backlog.read(offset(after), 1), RangeError);
      continue;
    }
    for (const most of [0, 1, end - after, size + 1]) {
      const expected = stretch(after, Math.min(most, end - after));
      assert.deepEqual(backlog.read(offset(after), most), expected, `read(${after}, ${most})`);
    }
  }
}

for (const [name, size, start, appends] of [
  ['a fresh one at offset 0 holds nothing; the first byte will be byte 1', 10, 0, []],
  ['a fresh one at offset 100 holds nothing; the first byte will be byte 101', 10, 100, []],
  ['nothing appended changes nothing', 10, 100, [0]],
  ['filled to the last byte, it still holds the first', 10, 0, [10]],
  ['one byte too many pushes the first one out', 10, 0, [10, 1]],
  ['as many bytes as it holds push all others out', 10, 0, [3, 10]],
  ['of an append one byte larger than itself it keeps all but the first', 10, 0, [11]],
  ['of an append larger than itself several times it keeps the end', 10, 7, [4, 35, 2]],
  ['an append that crosses the end of the ring stays in order', 10, 0, [7, 6]],
  ['an append that stops exactly at the end of the ring, then one byte', 10, 0, [4, 6, 1]],
  ['started in the middle of the ring', 10, 1_234_567, [5, 5, 5]],
  ['of one byte', 1, 0, [1, 1, 3]],
] as const) {
  test(`a backlog of ${size} bytes: ${name}`, () => {
    const backlog = new Backlog(size, offset(start));
    let end: number = start;
    assertHolds(backlog, size, start, end);
    for (const length of appends) {
      backlog.append(stretch(end, length));
      end += length;
      assertHolds(backlog, size, start, end);
    }
  });
}

test('after 100 bytes of which 30 are held the window is bytes 71 to 100', () => {
  const backlog = new Backlog(30, ZERO);
  backlog.append(stretch(0, 100));
  assert.deepEqual([backlog.firstOffset, backlog.length], [71, 30]);
  assert.deepEqual([backlog.holds(offset(69)), backlog.holds(offset(70))], [false, true]);
  assert.deepEqual([backlog.holds(offset(100)), backlog.holds(offset(101))], [true, false]);
});

test('after any appends it reads like the end of one long buffer', () => {
  const anyStart = fc.oneof(fc.nat(40), fc.nat(1_000_000), fc.constant(2 ** 52));
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 24 }),
      anyStart,
      fc.array(fc.nat(60), { maxLength: 10 }),
      (size, start, appends) => {
        const backlog = new Backlog(size, offset(start));
        let end = start;
        for (const length of appends) {
          backlog.append(stretch(end, length));
          end += length;
          assertHolds(backlog, size, start, end);
        }
      },
    ),
  );
});

test('bytes that were read stay intact when the ring moves on, and appended buffers may be reused', () => {
  const backlog = new Backlog(4, ZERO);
  const given = Buffer.from('abcd');
  backlog.append(given);
  given.fill('x');
  const read = backlog.read(ZERO, 4);
  backlog.append(Buffer.from('efgh'));
  assert.equal(read.toString(), 'abcd');
});

for (const size of [0, -1, 1.5, Number.NaN]) {
  test(`a backlog of ${size} bytes cannot be made`, () => {
    assert.throws(() => new Backlog(size, ZERO), RangeError);
  });
}

for (const [name, size, start, length, sizes] of [
  ['grown, it holds what it held, and then more', 10, 0, 25, [40]],
  ['grown before it was full, nothing is lost', 10, 100, 4, [40]],
  ['shrunk, the newest bytes stay', 40, 3, 35, [10]],
  ['shrunk to less than it holds, and grown again', 40, 7, 60, [16, 33]],
  ['as large as it was', 10, 0, 25, [10]],
  ['empty', 10, 77, 0, [5, 20]],
] as const) {
  test(`a backlog is resized: ${name}`, () => {
    const backlog = new Backlog(size, offset(start));
    backlog.append(stretch(start, length));
    let end: number = start + length;
    let first = Math.max(start, end - size);
    for (const next of sizes) {
      backlog.resize(next);
      first = Math.max(first, end - next);
      assertHolds(backlog, next, first, end);
      backlog.append(stretch(end, 3));
      end += 3;
      first = Math.max(first, end - next);
      assertHolds(backlog, next, first, end);
    }
  });
}

test('an invalid size is refused, and nothing changes', () => {
  const backlog = new Backlog(10, ZERO);
  backlog.append(stretch(0, 6));
  for (const size of [0, -1, 1.5, Number.NaN]) assert.throws(() => backlog.resize(size), RangeError);
  assertHolds(backlog, 10, 0, 6);
});
