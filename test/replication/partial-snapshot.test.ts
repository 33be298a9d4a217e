/** The part of a snapshot that a replica announces, and when the master sends only the rest. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { offset } from '../../src/replication/position.ts';
import {
  formatPartial,
  MAX_SNAPSHOT_BYTES,
  type PartialSnapshot,
  parsePartial,
  resumesFrom,
} from '../../src/replication/snapshot-terms.ts';
import { runId } from '../support/arbitraries.ts';

const MIB = 1024 * 1024;
const A = runId('a');
/** The snapshot of the numbers in partial-snapshot.ts. */
const SNAPSHOT = { position: { runId: A, offset: offset(100) }, length: 2_500_000 };
const SUMS = new Map([
  [MIB, 11],
  [2 * MIB, 22],
]);
const HAS_ONE: PartialSnapshot = { ...SNAPSHOT, bytes: MIB, crc32: 11 };

const sumAt = (bytes: number): number | null => SUMS.get(bytes) ?? null;

for (const [what, partial, from] of [
  ['one part and its checksum', HAS_ONE, MIB],
  ['two parts and their checksum', { ...HAS_ONE, bytes: 2 * MIB, crc32: 22 }, 2 * MIB],
  ['one part and another checksum', { ...HAS_ONE, crc32: 12 }, 0],
  ['one part and the checksum of two', { ...HAS_ONE, crc32: 22 }, 0],
  ['bytes that no known part ends at', { ...HAS_ONE, bytes: 1_000_000 }, 0],
  ['all bytes, whose checksum is not known yet', { ...HAS_ONE, bytes: 2_500_000 }, 0],
  ['a part of the snapshot of another offset', { ...HAS_ONE, position: { runId: A, offset: offset(99) } }, 0],
  ['a part of another history', { ...HAS_ONE, position: { runId: runId('b'), offset: offset(100) } }, 0],
  ['a part of a longer snapshot', { ...HAS_ONE, length: 2_500_001 }, 0],
  ['nothing', null, 0],
] as const) {
  test(`a replica that has ${what} need not be sent ${from} bytes`, () => {
    assert.equal(resumesFrom(partial, SNAPSHOT, sumAt), from);
  });
}

test('the announced part is one word, and is read as it was written', () => {
  const largest: PartialSnapshot = {
    position: { runId: A, offset: offset(Number.MAX_SAFE_INTEGER) },
    length: MAX_SNAPSHOT_BYTES,
    bytes: MAX_SNAPSHOT_BYTES,
    crc32: 0xffffffff,
  };
  for (const partial of [HAS_ONE, { ...HAS_ONE, crc32: 0 }, largest]) {
    const word = formatPartial(partial);
    assert.ok(/^[0-9a-f:]{1,96}$/.test(word), word);
    assert.deepEqual(parsePartial(word), partial);
  }
});
