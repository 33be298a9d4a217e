/** Deciding writes: which commands enter the stream, and that a refused request leaves none. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { ALWAYS } from '../../src/keyspace/condition.ts';
import { type Entry, isLive, type Outline, outlineOf } from '../../src/keyspace/entry.ts';
import { atOnce, JsonError, MAX_JSON_DEPTH } from '../../src/keyspace/json/json.ts';
import { patchSteps } from '../../src/keyspace/json/merge-patch.ts';
import { Refusal } from '../../src/keyspace/refusal.ts';
import { type Draft, decideWrite, MAX_VALUE_BYTES, type Operation } from '../../src/keyspace/write.ts';
import type { Command } from '../../src/stream/command.ts';
import { after, type Keyspace } from '../support/arbitraries.ts';

const NOW = 1_000;

/** A draft on a Map; each command is 10 bytes long. */
class MemoryDraft implements Draft {
  commands: readonly Command[] = [];
  /** How often a value was read. */
  reads = 0;
  readBytes = 0;
  #entries: Keyspace;

  constructor(entries: Readonly<Record<string, Partial<Entry>>> = {}) {
    this.#entries = new Map(
      Object.entries(entries).map(([key, entry]) => [
        key,
        { value: Buffer.from('v'), version: 1, expiresAt: null, ...entry },
      ]),
    );
  }

  get(key: string): Entry | null {
    this.reads += 1;
    const entry = this.has(key) ? (this.#entries.get(key) ?? null) : null;
    this.readBytes += entry?.value.length ?? 0;
    return entry;
  }

  outline(key: string): Outline | null {
    const entry = this.#entries.get(key);
    return entry !== undefined && this.has(key) ? outlineOf(entry) : null;
  }

  has(key: string): boolean {
    return isLive(this.#entries.get(key) ?? null, NOW);
  }

  isDue(key: string): boolean {
    return this.#entries.has(key) && !this.has(key);
  }

  add(command: Command): number {
    this.commands = [...this.commands, command];
    const end = 100 + this.commands.length * 10;
    this.#entries = after(this.#entries, command, end);
    return end;
  }

  transaction<T>(body: () => T): T {
    const before = [this.commands, this.#entries] as const;
    try {
      return body();
    } catch (error) {
      [this.commands, this.#entries] = before;
      throw error;
    }
  }
}

function set(key: string, value: string): Operation {
  return { kind: 'set', key, value: Buffer.from(value), expiresAt: null, condition: ALWAYS };
}

function refusedWith(code: string, extra: object = {}): (error: unknown) => boolean {
  return (error) => {
    assert.ok(error instanceof Refusal, String(error));
    assert.deepEqual({ code: error.code, ...error.extra }, { code, ...extra });
    return true;
  };
}

test('an import deletes what is there for an entry that has expired, and changes nothing where nothing is', () => {
  const draft = new MemoryDraft({ live: {}, due: { expiresAt: NOW } });
  const commands = ['never', 'live', 'due'].map((key) => ({ kind: 'del', keys: [key] }) as const);
  assert.equal(decideWrite({ kind: 'load', commands }, draft).count, 3);
  assert.deepEqual(draft.commands, [
    { kind: 'del', keys: ['live'] },
    { kind: 'del', keys: ['due'] },
  ]);
});

test('expired entries are deleted by one command, and all others stay', () => {
  const draft = new MemoryDraft({ due: { expiresAt: NOW }, later: { expiresAt: NOW + 1 }, never: {} });
  const request = { kind: 'expire-due', keys: ['due', 'later', 'never', 'absent'] } as const;
  assert.equal(decideWrite(request, draft).count, 1);
  assert.deepEqual(draft.commands, [{ kind: 'del', keys: ['due'] }]);
  assert.equal(decideWrite(request, draft).count, 0);
  assert.equal(draft.commands.length, 1);
});

test('deleting many deletes the keys that exist, and adds no command if none does', () => {
  const draft = new MemoryDraft({ a: {}, b: {}, expired: { expiresAt: NOW } });
  assert.equal(decideWrite({ kind: 'delete-many', keys: ['a', 'x', 'expired', 'b'] }, draft).count, 2);
  assert.deepEqual(draft.commands, [{ kind: 'del', keys: ['a', 'b'] }]);
  assert.equal(decideWrite({ kind: 'delete-many', keys: ['a', 'b'] }, draft).count, 0);
  assert.equal(draft.commands.length, 1);
});

test('an increment travels as the SET of its result, with the expiry that was there', () => {
  const draft = new MemoryDraft({ n: { value: Buffer.from('41'), expiresAt: 5_000 } });
  const { results } = decideWrite({ kind: 'increment', key: 'n', by: 1n, condition: ALWAYS }, draft);
  assert.deepEqual(draft.commands, [{ kind: 'set', key: 'n', value: Buffer.from('42'), expiresAt: 5_000 }]);
  assert.deepEqual(results, [
    { existed: true, entry: { value: Buffer.from('42'), version: 110, expiresAt: 5_000 } },
  ]);
});

test('setting the same expiry again adds nothing, and does not change the version', () => {
  const draft = new MemoryDraft({ k: { expiresAt: 5_000 } });
  for (const expiresAt of [5_000, 6_000, 6_000]) {
    const { results } = decideWrite({ kind: 'expire', key: 'k', expiresAt, condition: ALWAYS }, draft);
    assert.deepEqual([results[0]?.entry?.expiresAt, results[0]?.entry?.version], [expiresAt, 1]);
  }
  decideWrite({ kind: 'persist', key: 'k', condition: ALWAYS }, draft);
  decideWrite({ kind: 'persist', key: 'k', condition: ALWAYS }, draft);
  assert.deepEqual(
    draft.commands.map(({ kind }) => kind),
    ['expire-at', 'persist'],
  );
});

test('a set and a delete without a condition do not read the old value', () => {
  const draft = new MemoryDraft({ k: {} });
  decideWrite(set('k', 'v'), draft);
  decideWrite({ kind: 'delete', key: 'k', condition: ALWAYS }, draft);
  assert.equal(draft.reads, 0);
});

test('a batch that is refused leaves nothing, and says which operation it was', () => {
  const draft = new MemoryDraft({ text: { value: Buffer.from('x') } });
  const increment: Operation = { kind: 'increment', key: 'text', by: 1n, condition: ALWAYS };
  const operations = [set('a', '1'), increment, set('b', '1')];
  assert.throws(
    () => decideWrite({ kind: 'batch', operations }, draft),
    refusedWith('NOT_INTEGER', { op: 1 }),
  );
  assert.deepEqual([draft.commands, draft.has('a')], [[], false]);
  const stale: Operation = { kind: 'delete', key: 'text', condition: { match: [7] } };
  assert.throws(
    () => decideWrite({ kind: 'batch', operations: [stale] }, draft),
    refusedWith('PRECONDITION_FAILED', { op: 0, currentVersion: 1 }),
  );
});

test('a patch whose result would be too deep or too large is refused', () => {
  const nested = (levels: number): string => `${'{"a":'.repeat(levels)}1${'}'.repeat(levels)}`;
  const draft = new MemoryDraft({
    json: { value: Buffer.from('{}') },
    large: { value: Buffer.from(JSON.stringify('x'.repeat(MAX_VALUE_BYTES - 10))) },
    wide: { value: Buffer.from(`{"x":"${'x'.repeat(MAX_VALUE_BYTES - 10)}"}`) },
  });
  const patch = (key: string, json: string): unknown =>
    decideWrite(
      {
        kind: 'merge-patch',
        key,
        patch: atOnce(patchSteps(Buffer.from(json))),
        patchBytes: json.length,
        condition: ALWAYS,
      },
      draft,
    );
  assert.throws(() => patch('json', nested(MAX_JSON_DEPTH + 1)), JsonError);
  assert.throws(() => patch('wide', '{"y":"much more"}'), refusedWith('VALUE_TOO_LARGE'));
  assert.deepEqual(draft.commands, []);
  patch('large', '{"y":1}');
  assert.equal(draft.get('large')?.value.toString(), '{"y":1}');
});

test('a patch of a value that is not JSON is refused without a word of the value', () => {
  const values = [
    'hunter2',
    '"abc" secret',
    '{"a":1,"b":secret}',
    '12ab',
    '{"secret":1,"secret":2}',
    '[1,2',
    '',
  ];
  for (const value of values) {
    const draft = new MemoryDraft({ k: { value: Buffer.from(value) } });
    const operation: Operation = {
      kind: 'merge-patch',
      key: 'k',
      patch: atOnce(patchSteps(Buffer.from('{"secret":3}'))),
      patchBytes: 12,
      condition: ALWAYS,
    };
    assert.throws(
      () => decideWrite(operation, draft),
      // Who may write only must not learn what others have written.
      { code: 'NOT_JSON', message: 'the value of "k" is not JSON' },
      value,
    );
  }
});

test('an append up to the limit is taken, one byte more is not', () => {
  const draft = new MemoryDraft({ k: { value: Buffer.alloc(MAX_VALUE_BYTES - 1) } });
  const append: Operation = { kind: 'append', key: 'k', value: Buffer.from('x'), condition: ALWAYS };
  assert.equal(decideWrite(append, draft).results[0]?.entry?.value?.length, MAX_VALUE_BYTES);
  assert.throws(() => decideWrite(append, draft), refusedWith('VALUE_TOO_LARGE'));
  assert.equal(draft.commands.length, 1);
});
