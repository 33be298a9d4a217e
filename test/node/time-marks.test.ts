/** When the stream had come how far, whoever sets the clock. */
import assert from 'node:assert/strict';
import test from 'node:test';
import fc from 'fast-check';
import { changed, MARK_MS, TimeMarks, trimmedMarks } from '../../src/node/head/time-marks.ts';
import { MAX_MARKS, type TimeMark } from '../../src/node/ports/state-store.ts';
import { type Offset, offset } from '../../src/replication/position.ts';

const at = (bytes: number): Offset => offset(bytes);

/** Marks, and the bytes and time of every commit. */
class Stream {
  head = 0;
  readonly commits: { readonly after: number; readonly now: number }[] = [];
  stored: readonly TimeMark[] = [];
  marks: TimeMarks;
  changes = 0;

  constructor(begunAt = 0, head = 0) {
    this.head = head;
    this.marks = new TimeMarks([], at(head), begunAt);
  }

  commit(now: number, bytes = 10): void {
    const change = this.marks.next(at(this.head), now);
    if (change !== null) {
      this.stored = changed(this.stored, change);
      this.marks.take(change);
      this.changes += 1;
    }
    this.commits.push({ after: this.head, now });
    this.head += bytes;
  }

  restart(now: number): void {
    this.marks = new TimeMarks(this.stored, at(this.head), now);
  }

  trim(start: number): void {
    this.marks.trimmed(at(start));
    this.stored = trimmedMarks(this.stored, at(start));
  }

  since(time: number): number | null {
    return this.marks.since(time, at(this.head));
  }
}

test('a time between two commits gives the place between them', () => {
  const stream = new Stream();
  stream.commit(10_000);
  stream.commit(310_000);
  assert.equal(stream.since(9_000), 0);
  assert.equal(stream.since(10_000), 0);
  assert.equal(stream.since(10_000 + MARK_MS), 10);
  assert.equal(stream.since(310_500), 10);
  assert.equal(stream.since(400_000), 20);
  assert.deepEqual(stream.marks.timeAfter(at(15)), { from: 310_000, to: 310_000 + MARK_MS });
});

test('commits of one second share a mark', () => {
  const stream = new Stream();
  for (let now = 0; now < 10 * MARK_MS; now += 1) stream.commit(now);
  assert.equal(stream.changes, 10);
});

test('no time is too early for a stream that begins at 0, and none before its begin is known for another one', () => {
  const first = new Stream(5_000);
  assert.deepEqual([first.since(0), first.since(5_000)], [0, 0]);
  const later = new Stream(5_000, 70);
  assert.deepEqual([later.since(4_999), later.since(5_000)], [null, 70]);
  assert.equal(later.marks.earliest(at(70)), 5_000);
  later.commit(9_000);
  assert.deepEqual([later.since(4_999), later.since(5_000), later.since(10_000)], [null, 70, 80]);
  assert.equal(later.marks.earliest(at(70)), 5_000);
  assert.equal(later.marks.earliest(at(75)), 10_000);
  assert.deepEqual(later.marks.timeAfter(at(70)), { from: 5_000, to: 10_000 });
  assert.equal(later.marks.timeAfter(at(69)), null);
});

test('a clock that was set back loses nothing that was committed at the time or later', () => {
  const stream = new Stream(0, 0);
  stream.commit(100_000);
  stream.commit(500_000);
  stream.commit(200_000);
  assert.equal(stream.since(300_000), 10);
  assert.equal(stream.since(150_000), 10);
  assert.equal(stream.since(600_000), 30);
});

test('after a trim, a time before what is left is not served, whatever the clock said since', () => {
  const stream = new Stream(0, 0);
  for (const now of [100_000, 500_000, 200_000, 300_000, 310_000]) stream.commit(now);
  // The commit of 500,000 goes, and those of earlier times that came after it stay.
  for (const start of [20, 30, 40]) {
    stream.trim(start);
    for (const time of [90_000, 250_000, 400_000]) {
      const found = stream.since(time);
      assert.ok(found === null || found < start, `${time} from ${start} on: ${found}`);
    }
    assert.equal(stream.marks.earliest(at(start)), 500_000 + MARK_MS);
    stream.restart(320_000);
  }
  stream.commit(600_000);
  assert.deepEqual([stream.since(500_000 + MARK_MS), stream.since(700_000)], [50, 60]);
  assert.ok(stream.stored.length <= 4, 'what was trimmed is one mark');
});

test('from any time a reader gets each commit at that time or later, after jumps of the clock and restarts too', () => {
  const steps = fc.array(
    fc.record({
      jump: fc.oneof(fc.integer({ min: 0, max: 3_000 }), fc.integer({ min: -100_000, max: 100_000 })),
      restarts: fc.boolean(),
    }),
    { maxLength: 60 },
  );
  fc.assert(
    fc.property(steps, fc.integer({ min: 0, max: 500_000 }), fc.nat(600), (moves, time, trimAt) => {
      const stream = new Stream(200_000);
      let now = 200_000;
      for (const { jump, restarts } of moves) {
        now += jump;
        if (restarts) stream.restart(now);
        stream.commit(now);
      }
      const start = Math.min(stream.head, Math.floor(trimAt / 10) * 10);
      stream.trim(start);
      const found = stream.since(time);
      const earliest = stream.marks.earliest(at(start));
      if (found !== null && found >= start) {
        const lacking = stream.commits.filter(({ after, now: then }) => then >= time && after < found);
        assert.deepEqual(lacking, []);
        assert.equal(found % 10, 0);
        assert.ok(time >= earliest);
      } else {
        assert.ok(time < earliest, `${time} is served from ${start} on, not from ${found}`);
      }
      if (stream.stored.length === 0) return;
      stream.restart(now);
      assert.equal(stream.since(time), found);
    }),
  );
});

test('marks that are too many become coarse where they are old, and stay right', () => {
  const stream = new Stream();
  const count = MAX_MARKS + 500;
  for (let index = 0; index < count; index += 1) stream.commit(index * MARK_MS);
  assert.equal(stream.stored.length, MAX_MARKS);
  for (let index = 0; index < count; index += 97) {
    const found = stream.since(index * MARK_MS) as number;
    assert.ok(found <= index * 10 && found >= index * 10 - 10, `${found} for ${index}`);
  }
  assert.equal(stream.since((count - 1) * MARK_MS), (count - 1) * 10);
});
