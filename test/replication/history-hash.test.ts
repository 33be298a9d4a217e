import assert from 'node:assert/strict';
import test from 'node:test';
import fc from 'fast-check';
import { xxh64 } from '../../src/node/head/history/xxh64.ts';
import {
  announcedHash,
  begunAt,
  chained,
  EMPTY_HISTORY_HASH,
  formatHash,
  hashCapability,
  parseHash,
} from '../../src/replication/history-hash.ts';
import { offset } from '../../src/replication/position.ts';
import type { Command } from '../../src/stream/command.ts';
import { StreamDecoder } from '../../src/stream/decoder.ts';
import { Encoder } from '../../src/stream/encoder.ts';
import { anyCommand, anyCuts, anyKey, cutAt, runId } from '../support/arbitraries.ts';

const SEED = 1_234_567n;
const KIB = 1024;

/** Commands that stand alone, and batches of them; now and then a value of more than one piece. */
const anyWrites = fc.array(
  fc.oneof(
    { weight: 6, arbitrary: fc.array(anyCommand(anyKey), { minLength: 1, maxLength: 1 }) },
    { weight: 2, arbitrary: fc.array(anyCommand(anyKey), { minLength: 2, maxLength: 5 }) },
    {
      weight: 1,
      arbitrary: fc.nat({ max: 200 * KIB }).map((size): Command[] => {
        return [{ kind: 'set', key: 'large', value: Buffer.alloc(size, 'x'), expiresAt: null }];
      }),
    },
  ),
  { minLength: 1, maxLength: 12 },
);

function encoded(writes: readonly (readonly Command[])[]): ReturnType<Encoder['finish']> {
  const encoder = new Encoder();
  for (const commands of writes) {
    if (commands.length > 1) encoder.beginTransaction();
    for (const command of commands) encoder.add(command);
    if (commands.length > 1) encoder.endTransaction();
  }
  return encoder.finish();
}

test('xxHash64 is the one of its specification', () => {
  assert.equal(formatHash(xxh64(Buffer.from(''), 0n)), 'ef46db3751d8e999');
  assert.equal(formatHash(xxh64(Buffer.from('abc'), 0n)), '44bc2cf5ad770999');
});

test('the history hash is the same on a master that wrote it and on a replica, however the stream was cut', () => {
  fc.assert(
    fc.property(anyWrites, anyCuts, anyCuts, (writes, turns, messages) => {
      // The master chains over its write turns …
      let byMaster = SEED;
      for (const turn of cutAtWrites(writes, turns)) {
        const { bytes, boundaries } = encoded(turn);
        byMaster = chained(byMaster, bytes, boundaries, xxh64);
      }
      // … and a replica over what each message brings to an end.
      let byReplica = SEED;
      const decoder = new StreamDecoder();
      for (const message of cutAt(encoded(writes).bytes, messages)) {
        const run = decoder.push(message);
        if (run !== null) byReplica = chained(byReplica, run.bytes, run.boundaries, xxh64);
      }
      assert.equal(byReplica, byMaster);
    }),
  );
});

test('the history hash is another one if one byte, the order or the end of one write is another', () => {
  const a = encoded([[set('a', '1')], [set('b', '2')]]);
  const hash = chained(SEED, a.bytes, a.boundaries, xxh64);
  const swapped = encoded([[set('b', '2')], [set('a', '1')]]);
  assert.notEqual(chained(SEED, swapped.bytes, swapped.boundaries, xxh64), hash);
  assert.notEqual(chained(SEED, a.bytes, [a.bytes.length], xxh64), hash);
  assert.notEqual(chained(SEED + 1n, a.bytes, a.boundaries, xxh64), hash);
  for (let index = 0; index < a.bytes.length; index += 1) {
    const flipped = Buffer.from(a.bytes);
    flipped[index] = (flipped[index] as number) ^ 1;
    assert.notEqual(chained(SEED, flipped, a.boundaries, xxh64), hash);
  }
});

test('a history hash has one spelling: 16 lowercase hex digits', () => {
  fc.assert(
    fc.property(fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }), (hash) => {
      const text = formatHash(hash);
      assert.match(text, /^[0-9a-f]{16}$/);
      assert.equal(parseHash(text), hash);
      assert.equal(announcedHash(['psync2', hashCapability(hash), 'history-hash']), hash);
    }),
  );
  for (const text of [
    '',
    '-',
    'ff',
    '0x00000000000000',
    'FF00000000000000',
    '00000000000000000',
    ' 0000000000000000',
  ])
    assert.equal(parseHash(text), null, text);
});

test('a chain that a master begins depends on its position', () => {
  const at = (digit: string, value: number): bigint =>
    begunAt({ runId: runId(digit), offset: offset(value) }, xxh64);
  assert.equal(at('a', 7), at('a', 7));
  assert.equal(new Set([at('a', 7), at('a', 8), at('b', 7), EMPTY_HISTORY_HASH]).size, 4);
});

function cutAtWrites(writes: readonly (readonly Command[])[], cuts: readonly number[]): Command[][][] {
  const places = new Set(cuts.map((cut) => cut % writes.length));
  const turns: Command[][][] = [];
  for (const [index, write] of writes.entries()) {
    if (index === 0 || places.has(index)) turns.push([]);
    turns.at(-1)?.push([...write]);
  }
  return turns;
}

function set(key: string, value: string): Command {
  return { kind: 'set', key, value: Buffer.from(value), expiresAt: null };
}
