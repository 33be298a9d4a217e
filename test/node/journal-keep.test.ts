/** What the journal keeps beyond what is needed: by size, by time, and not when the disk is full. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { JournalKeep, type JournalKeepSettings } from '../../src/node/head/journal-keep.ts';
import { type Offset, offset } from '../../src/replication/position.ts';

const at = (bytes: number): Offset => offset(bytes);

function keepOf(bytes: number, ms: number | null, start = 0): JournalKeep {
  return new JournalKeep({ journalKeepBytes: bytes, journalKeepMs: ms }, at(start), 0);
}

test('by size the journal keeps the last bytes, and none when the size is 0', () => {
  const keep = keepOf(100, null);
  assert.equal(keep.from(at(50), 0), 0);
  assert.equal(keep.from(at(250), 0), 150);
  assert.equal(keepOf(0, null).from(at(250), 0), 250);
});

test('by time it keeps everything of that time, little more, and at most so many bytes', () => {
  const keep = keepOf(1_000, 6_400);
  // Ten bytes each tenth of a second, for a minute.
  let now = 0;
  for (let end = 10; end <= 6_000; end += 10) {
    now += 100;
    keep.committed(at(end - 10), now);
    const from = keep.from(at(end), now);
    const tooEarly = end - 10 * (6_400 / 100) - 10;
    assert.ok(
      from <= Math.max(0, tooEarly + 10),
      `at ${now} ms bytes of the last 6.4 s are gone: ${from} of ${end}`,
    );
    assert.ok(from >= tooEarly - 20, `at ${now} ms far more than 6.4 s are kept: ${from} of ${end}`);
  }
  assert.equal(keepOf(100, 6_400).from(at(6_000), 1), 5_900);
});

test('what earlier runs have left counts as committed at the start', () => {
  const keep = keepOf(1_000_000, 1_000, 500);
  assert.deepEqual(keep.window({ firstOffset: 901, length: 100 }, 999), { firstOffset: 501, length: 500 });
  keep.committed(at(1_000), 1_100);
  assert.deepEqual(keep.window({ firstOffset: 911, length: 100 }, 1_100), { firstOffset: 501, length: 510 });
  assert.deepEqual(keep.window({ firstOffset: 911, length: 100 }, 2_200), { firstOffset: 911, length: 100 });
});

test('the window never begins before the journal, and is the backlog while the journal is empty', () => {
  const backlog = { firstOffset: 901, length: 100 };
  const keep = keepOf(500, null);
  assert.deepEqual(keep.window(backlog, 0), { firstOffset: 501, length: 500 });
  keep.trimmed(at(700));
  assert.deepEqual(keep.window(backlog, 0), { firstOffset: 701, length: 300 });
  keep.trimmed(at(950));
  assert.deepEqual(keep.window(backlog, 0), backlog);
  keep.trimmed(null);
  assert.deepEqual(keep.window(backlog, 0), backlog);
  keep.committed(at(1_000), 0);
  assert.deepEqual(keep.window({ firstOffset: 911, length: 100 }, 0), { firstOffset: 911, length: 100 });
});

test('what is given up for room stays given up, and later bytes are kept again', () => {
  const keep = keepOf(500, null);
  keep.giveUp(at(1_000));
  assert.equal(keep.from(at(1_000), 0), 1_000);
  assert.equal(keep.from(at(1_200), 0), 1_000);
  assert.equal(keep.from(at(2_000), 0), 1_500);
});

test('a time that becomes shorter or longer while the node runs holds from then on', () => {
  const settings: { -readonly [name in keyof JournalKeepSettings]: JournalKeepSettings[name] } = {
    journalKeepBytes: 1_000_000,
    journalKeepMs: 64_000,
  };
  const keep = new JournalKeep(settings, at(0), 0);
  for (let index = 1; index <= 100; index += 1) keep.committed(at(index * 10), index * 1_000);
  const long = keep.from(at(1_010), 100_000);
  assert.ok(long > 300 && long <= 370, String(long));
  settings.journalKeepMs = 6_400;
  const short = keep.from(at(1_010), 100_000);
  assert.ok(short > 900 && short <= 940, String(short));
  settings.journalKeepMs = null;
  assert.equal(keep.from(at(1_010), 100_000), 0);
});
