/** Segments that touch or overlap are one part of a stream, in whatever order they are listed. */
import assert from 'node:assert/strict';
import test from 'node:test';
import type { ListedSegment } from '../../src/archive/coverage.ts';
import { Covered } from '../../src/archive/covered.ts';
import { parseArchived, segmentName } from '../../src/archive/names.ts';
import { offset } from '../../src/replication/position.ts';
import { runId } from '../support/arbitraries.ts';
import { seeded } from '../support/random.ts';

test('segments that touch or overlap are one part, in whatever order they are listed', () => {
  const { random, seed } = seeded();
  for (let round = 0; round < 300; round += 1) {
    const covered = new Covered<ListedSegment>();
    const has = new Set<number>();
    // Some rounds have more segments than become parts at once.
    const [count, range] = round % 10 === 0 ? [150, 600] : [12, 30];
    for (let index = 0; index < count; index += 1) {
      const after = Math.floor(random() * range);
      const end = after + 1 + Math.floor(random() * 6);
      const name = segmentName('shop', runId('a'), offset(after), offset(end));
      covered.add({ after, end, last: parseArchived(name) as ListedSegment });
      for (let at = after; at < end; at += 1) has.add(at);
    }
    const found = covered.parts;
    const bytes = found.flatMap(({ after, end }) =>
      Array.from({ length: end - after }, (_, index) => after + index),
    );
    const expected = [...has].sort((one, other) => one - other);
    assert.deepEqual(bytes, expected, `seed ${seed}`);
    assert.equal(covered.size, found.length, `seed ${seed}`);
    for (const [index, { after, end, last }] of found.entries()) {
      assert.ok(index === 0 || after > (found[index - 1]?.end ?? 0), `seed ${seed}`);
      assert.equal(last.end, end, `seed ${seed}`);
    }
  }
});
