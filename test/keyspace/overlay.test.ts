import assert from 'node:assert/strict';
import test from 'node:test';
import fc from 'fast-check';
import { type Entry, isLive } from '../../src/keyspace/entry.ts';
import { compareKeys } from '../../src/keyspace/key.ts';
import type { Changes } from '../../src/keyspace/overlay/changes.ts';
import { ChunkPool } from '../../src/keyspace/overlay/chunk-pool.ts';
import { Overlay } from '../../src/keyspace/overlay/overlay.ts';
import { Prefixes } from '../../src/keyspace/prefixes.ts';
import type { Command } from '../../src/stream/command.ts';
import { written } from '../simulation/written.ts';
import { after, anyCommand, anyKey, type Keyspace } from '../support/arbitraries.ts';

const KEYS = ['a', 'b', 'c', 'd'];
const NEVER_USED = 'never used';
const ALL = { prefix: '', from: '', exclusive: false };
const MANY = Number.POSITIVE_INFINITY;
/** Nothing has expired. */
const EVER = Number.NEGATIVE_INFINITY;
const NOTHING: Keyspace = new Map();
/** So small that values go over several chunks, and memory is soon used again. */
const CHUNK_BYTES = 64;

function newOverlay(): Overlay {
  return new Overlay(new ChunkPool(() => 16 * CHUNK_BYTES, CHUNK_BYTES));
}

type Step = Command | { readonly kind: 'seal' | 'write' | 'applied' };

const anyStep: fc.Arbitrary<Step> = fc.oneof(
  { weight: 6, arbitrary: anyCommand(fc.constantFrom(...KEYS)) },
  { weight: 3, arbitrary: fc.constantFrom<Step>({ kind: 'seal' }, { kind: 'write' }, { kind: 'applied' }) },
);

/** An overlay over a keyspace file that is a Map, and beside them the state at the head of the stream. */
class Bench {
  readonly overlay = newOverlay();
  #head: Keyspace = NOTHING;
  #offset = 0;
  /** The keyspace file, and the offset that it is at. */
  #file = { state: NOTHING, end: 0 };
  /** What was sealed, as it was given to the applier then. */
  #given: Changes[] = [];

  take(step: Step): void {
    switch (step.kind) {
      case 'seal':
        if (this.overlay.seal(this.#offset)) this.#given = [...this.overlay.sealed];
        break;
      case 'write': {
        // The applier has committed; the overlay has not been told yet.
        const changes = this.#given.find(({ end }) => end > this.#file.end);
        if (changes !== undefined)
          this.#file = { state: written(this.#file.state, changes), end: changes.end };
        break;
      }
      case 'applied':
        this.overlay.applied(this.#file.end);
        break;
      default:
        this.#offset += 10;
        this.overlay.apply(step, this.#offset, (key) => this.#file.state.get(key) ?? null);
        this.#head = after(this.#head, step, this.#offset);
    }
  }

  /** Overlay over file is the head of the stream, key by key and as a list. */
  check(): void {
    for (const key of KEYS) {
      const above = this.overlay.get(key);
      assert.equal(this.overlay.expiry(key), above === null ? false : above?.expiresAt, key);
      const seen = above === undefined ? this.#file.state.get(key) : above;
      assert.deepEqual(seen ?? null, this.#head.get(key) ?? null, key);
    }
    const entries = entriesOf(this.overlay);
    assert.equal(new Map(entries).size, entries.length, 'each key once');
    const hides = this.overlay.hidesEverythingBelow;
    const below = [...this.#file.state].filter(([key]) => !this.overlay.hides(key));
    assert.deepEqual(new Map([...below, ...entries]), new Map(this.#head));
    assert.equal(this.overlay.get(NEVER_USED) ?? null, null);
    if (hides) assert.equal(this.overlay.get(NEVER_USED), null);
  }

  /** The applier catches up. */
  settle(): void {
    this.take({ kind: 'seal' });
    while (this.#file.end < (this.#given.at(-1)?.end ?? 0)) this.take({ kind: 'write' });
    this.take({ kind: 'applied' });
  }
}

function entriesOf(overlay: Overlay): (readonly [string, Entry | null | undefined])[] {
  return overlay.firstKeys([ALL], MANY, EVER).map((key) => [key, overlay.get(key)] as const);
}

test('overlay and file together read like a plain map, whatever is written, sealed and applied', () => {
  fc.assert(
    fc.property(fc.array(anyStep, { maxLength: 40 }), (steps) => {
      const bench = new Bench();
      for (const step of steps) {
        bench.take(step);
        bench.check();
      }
      bench.settle();
      bench.check();
      assert.deepEqual([bench.overlay.bytes, entriesOf(bench.overlay)], [0, []]);
    }),
    { numRuns: 500 },
  );
});

test('an entry set with its expiry has the offset of its end as version; a new expiry leaves that as it is', () => {
  const overlay = newOverlay();
  const value = Buffer.from('v');
  overlay.apply({ kind: 'set', key: 'k', value, expiresAt: 5 }, 70, () => assert.fail('looked below'));
  assert.deepEqual(overlay.get('k'), { value, version: 70, expiresAt: 5 });
  overlay.apply({ kind: 'expire-at', key: 'k', expiresAt: 9 }, 80, () => assert.fail('looked below'));
  assert.deepEqual(overlay.get('k'), { value, version: 70, expiresAt: 9 });
  overlay.apply({ kind: 'persist', key: 'k' }, 90, () => assert.fail('looked below'));
  assert.deepEqual(overlay.get('k'), { value, version: 70, expiresAt: null });
});

test('an expiry for an entry of the file takes it from there, version and all', () => {
  const overlay = newOverlay();
  const entry = { value: Buffer.from('v'), version: 7, expiresAt: null };
  overlay.apply({ kind: 'expire-at', key: 'k', expiresAt: 9 }, 80, () => entry);
  assert.deepEqual(overlay.get('k'), { ...entry, expiresAt: 9 });
});

test('an expiry for a missing, deleted or flushed key creates no entry', () => {
  const overlay = newOverlay();
  const expire = { kind: 'expire-at', key: 'k', expiresAt: 9 } as const;
  overlay.apply(expire, 10, () => null);
  assert.equal(overlay.get('k'), undefined);
  overlay.apply({ kind: 'del', keys: ['k'] }, 20, () => null);
  overlay.apply(expire, 30, () => assert.fail('looked below a deletion'));
  assert.equal(overlay.get('k'), null);
  overlay.apply({ kind: 'flush-all' }, 40, () => null);
  overlay.apply(expire, 50, () => assert.fail('looked below a flush'));
  assert.equal(overlay.get('k'), null);
});

test('an overlay without new writes cannot be sealed', () => {
  const overlay = newOverlay();
  assert.equal(overlay.seal(0), false);
  overlay.apply({ kind: 'flush-all' }, 10, () => null);
  assert.equal(overlay.seal(10), true);
  assert.equal(overlay.seal(10), false);
});

test('the first keys of a range are those that sorting would give, whatever was written and written again', () => {
  const anyKeys = fc
    .tuple(fc.constantFrom('', 'a', 'ab', '\uffff', '\u{1f600}'), anyKey)
    .map((parts) => parts.join(''));
  const anyRange = fc.record({
    prefix: fc.constantFrom('', 'a', 'ab', '\uffff', '\u{1f600}', '\u{10ffff}'),
    from: fc.option(anyKeys),
    exclusive: fc.boolean(),
  });
  fc.assert(
    fc.property(
      fc.array(
        fc.oneof(
          { weight: 9, arbitrary: anyCommand(anyKeys, fc.constantFrom(999, 1_000, 1_001)) },
          fc.constant(null),
        ),
        { maxLength: 60 },
      ),
      anyRange,
      fc.integer({ min: 1, max: 8 }),
      (commands, { prefix, from, exclusive }, count) => {
        const overlay = new Overlay(new ChunkPool(() => 16 * 4096, 4096));
        let state: Keyspace = NOTHING;
        for (const [index, command] of commands.entries()) {
          const before = state;
          if (command === null) {
            overlay.seal(index);
            continue;
          }
          overlay.apply(command, index + 1, (key) => before.get(key) ?? null);
          state = after(state, command, index + 1);
        }
        const range = {
          prefix,
          from: from === null || compareKeys(from, prefix) < 0 ? prefix : from,
          exclusive,
        };
        const inRange = [...state.keys()].sort(compareKeys).filter((key) => {
          const order = compareKeys(key, range.from);
          return key.startsWith(prefix) && (exclusive ? order > 0 : order >= 0);
        });
        for (const now of [EVER, 1_000]) {
          const live = inRange.filter((key) => isLive(state.get(key) ?? null, now));
          assert.deepEqual(overlay.firstKeys([range], count, now), live.slice(0, count));
        }
      },
    ),
    { numRuns: 500 },
  );
});

const SET = { kind: 'set', value: Buffer.from('v'), expiresAt: null } as const;

test('of many keys, however they were ordered, the first ones are found', () => {
  const count = 5_000;
  const orders: readonly ((index: number) => number)[] = [
    (index) => index,
    (index) => count - 1 - index,
    (index) => (index * 1_777) % count,
  ];
  const name = (index: number): string => `key:${String(index).padStart(6, '0')}`;
  for (const order of orders) {
    const overlay = newOverlay();
    for (let index = 0; index < count; index += 1) {
      overlay.apply({ ...SET, key: name(order(index)) }, index + 1, () => null);
      if (index === count / 2) overlay.seal(index + 1);
    }
    for (const [from, wanted] of [
      [0, 3],
      [0, 1_500],
      [2_000, 700],
      [count - 5, 100],
    ] as const) {
      const expected = Array.from({ length: Math.min(wanted, count - from) }, (_, index) =>
        name(from + index),
      );
      assert.deepEqual(overlay.firstKeys([{ ...ALL, from: name(from) }], wanted, EVER), expected);
    }
  }
});

test('the first keys of many ranges are those of each range, in order, and the same however many keys there are', () => {
  const overlay = newOverlay();
  const anyPrefixes = fc.uniqueArray(fc.constantFrom('a', 'b1', 'b2', 'c', '\u{1f600}', '\uffff', 'none'), {
    minLength: 1,
  });
  const keys = ['a', 'b', 'b1', 'b1x', 'b2', 'b3', 'c', 'd', '\uffff1', '\u{1f600}1', '\u{1f601}'];
  for (let index = 0; index < 2_000; index += 1) keys.push(`${'abcd'[index % 4]}${index % 3}/${index}`);
  for (const [index, key] of keys.entries()) overlay.apply({ ...SET, key }, index + 1, () => null);
  fc.assert(
    fc.property(anyPrefixes, fc.constantFrom(1, 10, 700, 5_000), (given, count) => {
      const prefixes = new Prefixes(given).list;
      const ranges = prefixes.map((prefix) => ({ prefix, from: prefix, exclusive: false }));
      const expected = keys
        .filter((key) => prefixes.some((prefix) => key.startsWith(prefix)))
        .sort(compareKeys);
      assert.deepEqual(overlay.firstKeys(ranges, count, EVER), expected.slice(0, count));
    }),
    { numRuns: 100 },
  );
});

test('applied(10) removes what was sealed at 10, and keeps newer and unsealed generations', () => {
  const overlay = newOverlay();
  for (const [key, end] of [
    ['a', 10],
    ['b', 20],
  ] as const) {
    overlay.apply({ kind: 'del', keys: [key] }, end, () => null);
    overlay.seal(end);
  }
  overlay.apply({ kind: 'del', keys: ['c'] }, 30, () => null);
  const known = () => ['a', 'b', 'c'].filter((key) => overlay.hides(key)).join('');
  overlay.applied(9);
  assert.equal(known(), 'abc');
  overlay.applied(10);
  assert.equal(known(), 'bc');
  overlay.applied(1_000);
  assert.equal(known(), 'c');
});

test('written generations still answer lookups until their memory is needed, oldest first, but are not counted or listed', () => {
  const overlay = newOverlay();
  let end = 0;
  /** Half of the memory each. */
  const write = (key: string): void => {
    end += 10;
    const value = Buffer.alloc(7 * CHUNK_BYTES, key);
    overlay.apply({ kind: 'set', key, value, expiresAt: null }, end, () => null);
    overlay.seal(end);
    overlay.applied(end);
  };
  const known = () => ['a', 'b', 'c', 'd'].filter((key) => overlay.get(key) !== undefined).join('');
  write('a');
  assert.equal(known(), 'a');
  assert.deepEqual([overlay.bytes, overlay.size, overlay.firstKeys([ALL], MANY, EVER)], [0, 0, []]);
  overlay.apply({ kind: 'expire-at', key: 'a', expiresAt: 9 }, end + 5, () => assert.fail('looked below'));
  assert.equal(overlay.get('a')?.expiresAt, 9);
  for (const key of ['b', 'c', 'd']) write(key);
  assert.equal(known(), 'cd');
  overlay.forgetWritten(8 * CHUNK_BYTES);
  assert.equal(known(), 'd');
  overlay.forgetWritten(0);
  assert.equal(known(), '');
});

test('of many small generations that are written the last few are looked up in memory', () => {
  const overlay = new Overlay(new ChunkPool(() => 1_000 * CHUNK_BYTES, CHUNK_BYTES));
  for (let end = 1; end <= 10; end += 1) {
    overlay.apply({ kind: 'del', keys: [String(end)] }, end, () => null);
    overlay.seal(end);
    overlay.applied(end);
  }
  assert.deepEqual([overlay.get('6'), overlay.get('7'), overlay.get('10')], [undefined, null, null]);
});

test('each new value increases the counted bytes by its size, unless it fits in place of the old one', () => {
  const overlay = newOverlay();
  const set = (size: number, end: number): void =>
    overlay.apply({ kind: 'set', key: 'k', value: Buffer.alloc(size), expiresAt: null }, end, () => null);
  set(1_000, 10);
  set(1_100, 20);
  const { bytes } = overlay;
  assert.ok(bytes >= 2_100);
  set(900, 30);
  assert.equal(overlay.bytes, bytes);
  assert.equal(overlay.get('k')?.value.length, 900);
  assert.equal(overlay.unsealedBytes, bytes);
  overlay.seal(30);
  assert.deepEqual([overlay.bytes, overlay.unsealedBytes], [bytes, 0]);
  overlay.applied(30);
  assert.equal(overlay.bytes, 0);
});

test('a value that was read stays intact when its memory is reused', () => {
  const overlay = newOverlay();
  const value = (letter: string): Buffer => Buffer.from(letter.repeat(200));
  const set = (letter: string, end: number): void =>
    overlay.apply({ kind: 'set', key: 'k', value: value(letter), expiresAt: null }, end, () => null);
  set('a', 10);
  const read = overlay.get('k');
  set('b', 20);
  overlay.seal(20);
  overlay.applied(20);
  set('c', 30);
  assert.deepEqual(read?.value, value('a'));
});
