/** What the client takes for an event of the feed. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { parseEvent } from '../../src/client/event.ts';
import { seeded } from '../support/random.ts';

const POSITION = `${'a'.repeat(40)}:10`;
const ENTRY = { key: 'k', value: 'AA==', encoding: 'base64', version: 1, expiresAt: null };
/** One right event of each type, with every member. */
const EVENTS: readonly Record<string, unknown>[] = [
  { type: 'reset', position: POSITION, reason: 'first-sync', keys: 1 },
  { type: 'entry', ...ENTRY },
  { type: 'synced', position: POSITION },
  { type: 'continue', position: POSITION, head: POSITION },
  { type: 'set', ...ENTRY, position: POSITION },
  { type: 'delete', key: 'k', position: POSITION },
  { type: 'expiry', key: 'k', expiresAt: 5, position: POSITION },
  { type: 'flush', position: POSITION },
  { type: 'batch', changes: [{ type: 'flush' }], position: POSITION },
  { type: 'bookmark', position: POSITION },
  { type: 'error', code: 'X', detail: 'x', position: POSITION },
];
/** Members that an event may lack. */
const OPTIONAL = new Set(['continue.head', 'error.position']);

test('an event with a member of another type, or without one, is none', () => {
  for (const event of EVENTS) {
    assert.deepEqual(parseEvent(JSON.stringify(event), ['']), event);
    for (const [name, right] of Object.entries(event)) {
      const others = ['x', -1.5, true, {}, [], 1e300].filter((each) => typeof each !== typeof right);
      if (name !== 'expiresAt' && !OPTIONAL.has(`${event.type}.${name}`)) others.push(null as never);
      for (const other of others) {
        const text = JSON.stringify({ ...event, [name]: other });
        assert.equal(parseEvent(text, ['']), undefined, text);
      }
      const { [name]: _, ...rest } = event;
      const isOptional = OPTIONAL.has(`${event.type}.${name}`);
      assert.deepEqual(
        parseEvent(JSON.stringify(rest), ['']),
        isOptional ? rest : undefined,
        `without ${name}`,
      );
    }
  }
});

test('numbers that are no counts, and encodings that are none, are refused', () => {
  for (const wrong of [
    { version: 1.5 },
    // With such a number an optimistic mirror names a pending write.
    { version: -1 },
    { expiresAt: 0.5 },
    { encoding: 'hex' },
    { encoding: 'toString' },
  ]) {
    const text = JSON.stringify({ ...EVENTS[1], ...wrong });
    assert.equal(parseEvent(text, ['']), undefined, text);
  }
  // More than a node can have, or no number.
  for (const keys of [1e15, 2 ** 32 + 1, 1.5, -1, null, undefined]) {
    const text = JSON.stringify({ ...EVENTS[0], keys });
    assert.equal(parseEvent(text, ['']), undefined, text);
  }
  assert.ok(parseEvent(JSON.stringify({ ...EVENTS[0], keys: 2 ** 32 }), ['']));
  assert.equal(
    parseEvent(JSON.stringify(EVENTS[1]).replace('"version":1', '"version":1e999'), ['']),
    undefined,
  );
});

test('a key without a prefix that was asked for makes its event none, and so its batch', () => {
  const prefixes = ['team:', 'user:'];
  const [, entry, , , set, remove, expiry] = EVENTS;
  for (const event of [entry, set, remove, expiry]) {
    const parsed = (key: string): unknown => parseEvent(JSON.stringify({ ...event, key }), prefixes);
    const inBatch = (key: string): unknown => {
      const { position, ...change } = { ...event, key } as Record<string, unknown>;
      return parseEvent(JSON.stringify({ type: 'batch', changes: [change], position }), prefixes);
    };
    for (const key of ['k', 'user', 'User:1', ' user:1', '']) {
      assert.deepEqual([parsed(key), inBatch(key)], [undefined, undefined], key);
    }
    assert.ok(parsed('user:1'));
    if (event !== entry) assert.ok(inBatch('team:'));
  }
  assert.ok(parseEvent(JSON.stringify(EVENTS[7]), prefixes));
});

test('one wrong change makes a batch no event', () => {
  const set = { type: 'set', ...ENTRY };
  const wrongs = [null, 7, [], {}, { type: 'set' }, { ...set, value: '!' }, { type: 'entry', ...ENTRY }];
  for (const wrong of [
    ...wrongs,
    { type: 'constructor' },
    { type: '__proto__' },
    { type: 'batch', changes: [] },
  ]) {
    const text = JSON.stringify({ type: 'batch', changes: [set, wrong, set], position: POSITION });
    assert.equal(parseEvent(text, ['']), undefined, text);
  }
});

test('types that every object has are unknown ones', () => {
  for (const type of ['constructor', 'toString', '__proto__', 'hasOwnProperty', '']) {
    assert.equal(parseEvent(JSON.stringify({ type, position: POSITION }), ['']), null, type);
  }
});

test('what is not text is no event', () => {
  for (const message of [undefined, null, 7, new Blob(['{}']), new ArrayBuffer(2)]) {
    assert.equal(parseEvent(message, ['']), undefined);
  }
});

test('what is taken for base64 can be decoded', (t) => {
  const { seed, random } = seeded();
  t.diagnostic(`PSYNCD_SEED=${seed}`);
  const characters = 'Aaz09+/==-_ \n!é';
  let taken = 0;
  for (let round = 0; round < 5_000; round += 1) {
    const length = Math.floor(random() * 9);
    const value = Array.from(
      { length },
      () => characters[Math.floor(random() ** 2 * characters.length)],
    ).join('');
    const event = parseEvent(JSON.stringify({ ...EVENTS[1], value }), ['']);
    if (event === undefined) continue;
    taken += 1;
    assert.doesNotThrow(() => atob(value), JSON.stringify(value));
  }
  assert.ok(taken > 100, `${taken}`);
  for (let length = 0; length < 20; length += 1) {
    const value = Buffer.alloc(length, 0xfb).toString('base64');
    assert.ok(parseEvent(JSON.stringify({ ...EVENTS[1], value }), ['']), value);
  }
});

test('a value of 64 MiB is checked', () => {
  const value = Buffer.alloc(64 * 1024 * 1024, 0xfb).toString('base64');
  assert.ok(parseEvent(JSON.stringify({ ...EVENTS[1], value }), ['']));
});
