/** What the head of the stream knows of an offset that a replica asks from. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { MARK_BYTES } from '../../src/node/head/history/hash-chain.ts';
import { xxh64 } from '../../src/node/head/history/xxh64.ts';
import { chained } from '../../src/replication/history-hash.ts';
import { offset } from '../../src/replication/position.ts';
import { StreamDecoder } from '../../src/stream/decoder.ts';
import { KIB, MIB, Stage } from '../support/feed-stage.ts';

/** Rows of one command, of many, of transactions, and of values that are larger than a mark. */
function filled(): Stage {
  const stage = new Stage(8 * MIB);
  stage.head.beginChain();
  stage.set('one');
  stage.commit(...many('few', 5, 10));
  stage.commitTransaction(...many('batch', 7, 10));
  stage.commit(...many('medium', 300, KIB));
  stage.commit(...many('a', 40, 10), ...many('large', 3, 150 * KIB), ...many('z', 400, 200));
  stage.commitTransaction(...many('batch', 200, KIB));
  stage.commit(...many('first', 1, 100 * KIB), ...many('last', 3, 5));
  return stage;
}

function many(prefix: string, count: number, bytes: number) {
  return Array.from({ length: count }, (_, index) => {
    return {
      kind: 'set',
      key: `${prefix}${index}`,
      value: Buffer.alloc(bytes, 'x'),
      expiresAt: null,
    } as const;
  });
}

/** The history hash at each offset where a write ends, by chaining over the whole stream. */
function everyHash(stage: Stage): Map<number, bigint> {
  const bytes = Buffer.concat(stage.rows.map((row) => row.bytes));
  const run = new StreamDecoder().push(bytes);
  assert.ok(run !== null);
  const hashes = new Map([[0, 0n]]);
  let hash = 0n;
  let from = 0;
  for (const boundary of run.boundaries) {
    const write = bytes.subarray(from, boundary);
    hash = chained(hash, write, [write.length], xxh64);
    hashes.set(boundary, hash);
    from = boundary;
  }
  return hashes;
}

/** Each end of a write, the offsets beside it, and some in between. */
function* offsets(hashes: ReadonlyMap<number, bigint>, end: number): Generator<number> {
  for (const at of hashes.keys()) yield* [at - 1, at, at + 1].filter((each) => each >= 0 && each <= end);
  for (let at = 0; at <= end; at += 997) yield at;
}

function check(stage: Stage, hashes: ReadonlyMap<number, bigint>): void {
  for (const at of offsets(hashes, stage.head.offset)) {
    const hash = hashes.get(at);
    const expected = hash === undefined ? { kind: 'inside-command' } : { kind: 'command-end', hash };
    assert.deepEqual(stage.head.placeAt(offset(at)), expected, `at ${at}`);
  }
}

test('at each offset the head tells whether a write ends there, and the history hash', () => {
  const stage = filled();
  const hashes = everyHash(stage);
  check(stage, hashes);
  assert.equal(stage.head.hash, hashes.get(stage.head.offset));
  assert.deepEqual(stage.head.placeAt(offset(stage.head.offset + 1)), { kind: 'unknown' });
});

test('after a restart the head tells the same from the journal', () => {
  const before = filled();
  const stage = new Stage(8 * MIB, undefined, before.rows);
  assert.equal(stage.head.hash, before.head.hash);
  check(stage, everyHash(before));
});

test('places before the backlog are not searched for', () => {
  const before = filled();
  const stage = new Stage(MIB / 4, undefined, before.rows);
  assert.deepEqual(stage.head.placeAt(offset(100)), { kind: 'unknown' });
});

test('a place in a large row is found by reading the row once, however often it is asked for', () => {
  const before = filled();
  const stage = new Stage(8 * MIB, undefined, before.rows);
  const row = before.rows.find(({ bytes }) => bytes.length > 8 * MARK_BYTES);
  assert.ok(row !== undefined);
  // The backlog has the bytes too: what is read of the journal is counted by taking it away.
  assert.equal(stage.head.placeAt(offset(row.start + 200 * KIB)).kind, 'inside-command');
  stage.loseJournal();
  const hashes = everyHash(before);
  for (let at = row.start; at < row.end; at += 5_003) {
    const expected = hashes.has(at) ? 'command-end' : 'inside-command';
    assert.equal(stage.head.placeAt(offset(at)).kind, expected, `at ${at}`);
  }
});

test('where the backlog begins in a large row, that row is read once for all places of its mark', () => {
  const stage = new Stage(MIB / 2);
  stage.commit(...many('small', 8_000, 100));
  const [row] = stage.rows;
  assert.ok(row !== undefined);
  const { firstOffset } = stage.head.backlog;
  const hashes = everyHash(stage);
  let found = 0;
  for (let at = firstOffset - 1; at < firstOffset + 20 * KIB; at += 1) {
    const hash = hashes.get(at);
    const expected = hash === undefined ? { kind: 'inside-command' } : { kind: 'command-end', hash };
    assert.deepEqual(stage.head.placeAt(offset(at)), expected, `at ${at}`);
    if (at === firstOffset) stage.loseJournal();
    if (hash !== undefined) found += 1;
  }
  assert.ok(found > 100, `${found} places`);
});

test('a backlog that becomes larger knows the places of what it gets back', async () => {
  const before = filled();
  const stage = new Stage(MIB / 4, undefined, before.rows);
  const { head, world } = stage;
  head.placeAt(offset(head.offset - 1));
  const resized = head.resizeBacklog(8 * MIB);
  await world.settle();
  await world.pass(20_000);
  assert.equal(await resized, true);
  check(stage, everyHash(before));
});

test('a journal without hashes has an unknown one, and a master begins a chain that nobody compares where it begins', () => {
  const before = filled();
  const rows = before.rows.map((row) => ({ ...row, hash: null }));
  const stage = new Stage(8 * MIB, undefined, rows);
  const { head } = stage;
  const at = head.offset;
  assert.equal(head.hash, null);
  head.beginChain();
  const begun = head.hash;
  assert.notEqual(begun, null);
  assert.deepEqual(head.placeAt(at), { kind: 'command-end', hash: null });
  assert.equal(head.hashAt(at), begun);
  assert.deepEqual(head.placeAt(offset(at - 1)), { kind: 'inside-command' });
  stage.set('one');
  const known = head.hash;
  assert.notEqual(known, begun);
  assert.deepEqual(head.placeAt(at), { kind: 'command-end', hash: null });
  stage.set('two');
  assert.deepEqual(head.placeAt(rowEnd(stage, -2)), { kind: 'command-end', hash: known });
  // So it is after a restart.
  const again = new Stage(8 * MIB, undefined, stage.rows).head;
  assert.equal(again.hash, head.hash);
  assert.deepEqual(again.placeAt(at), { kind: 'command-end', hash: null });
  assert.deepEqual(again.placeAt(rowEnd(stage, -2)), { kind: 'command-end', hash: known });
});

test('a replica that receives a hash continues the chain from it', () => {
  const { head } = new Stage(
    8 * MIB,
    undefined,
    filled().rows.map((row) => ({ ...row, hash: null })),
  );
  head.adoptHash(42n);
  assert.equal(head.hash, 42n);
  assert.deepEqual(head.placeAt(head.offset), { kind: 'command-end', hash: 42n });
});

function rowEnd(stage: Stage, index: number) {
  return offset(stage.rows.at(index)?.end ?? 0);
}
