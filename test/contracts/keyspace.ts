/** What `Keyspace` promises, for a keyspace file and for the fake one of the simulation. */
import assert from 'node:assert/strict';
import test, { type TestContext } from 'node:test';
import { crc32 } from 'node:zlib';
import fc from 'fast-check';
import { outlineOf } from '../../src/keyspace/entry.ts';
import { compareKeys } from '../../src/keyspace/key.ts';
import type { ListedEntry } from '../../src/keyspace/page.ts';
import type { DueCursor, EntryReader, Keyspace } from '../../src/node/ports/keyspace.ts';
import { type Loop, Turns } from '../../src/node/turns.ts';
import type { Command } from '../../src/stream/command.ts';
import { anyCommand, text } from '../support/arbitraries.ts';
import { seeded } from '../support/random.ts';
import { KeyspaceWriter, START, set } from './keyspace-writer.ts';

export interface KeyspacePlace {
  /** Opens the file, which is empty and at offset 0 at first; the one that was opened before must be closed. */
  open(): Promise<Keyspace>;
  readonly loop: Loop;
}

/** Keys with few different beginnings, among them some in which UTF-16 and UTF-8 disagree about order. */
const ANY_KEY = fc.tuple(fc.constantFrom('', 'a', 'user:'), text(1, 2)).map((parts) => parts.join(''));
const ANY_TIME = fc.integer({ min: 1, max: 20 });
const WHOLE = { prefix: '', from: '', exclusive: false };
const COMMANDS = 400;
const COMMANDS_AT_ONCE = 16;

/** @param make returns a place whose file does not exist */
export function describeKeyspace(name: string, make: (t: TestContext) => Promise<KeyspacePlace>): void {
  const promise = (
    what: string,
    check: (keyspace: Keyspace, place: KeyspacePlace, t: TestContext) => Promise<void>,
  ): void => {
    test(`${name}: ${what}`, async (t) => {
      const place = await make(t);
      const keyspace = await place.open();
      try {
        await check(keyspace, place, t);
      } catch (error) {
        // An open file would keep the process of the tests alive.
        await keyspace.close();
        throw error;
      }
    });
  };

  promise('after each flush every way to read finds the entries at its position', async (keyspace, _, t) => {
    const { seed } = seeded();
    t.diagnostic(`PSYNCD_SEED=${seed}`);
    const writer = new KeyspaceWriter(keyspace);
    const commands = fc.sample(anyCommand(ANY_KEY, ANY_TIME), { seed, numRuns: COMMANDS });
    const keys = commands.flatMap((command) => ('key' in command ? [command.key] : []));
    for (let from = 0; from < commands.length; from += COMMANDS_AT_ONCE) {
      await writer.write(...commands.slice(from, from + COMMANDS_AT_ONCE));
      const { entries } = writer;
      checkSingle(keyspace, entries, keys.slice(0, 40));
      checkScan(keyspace, entries, keys.slice(0, 4));
      checkDue(keyspace, entries);
    }
    await keyspace.close();
  });

  promise(
    'a flush without changes moves the position only, and a new start finds it',
    async (first, place) => {
      assert.deepEqual(first.opened, START);
      const writer = new KeyspaceWriter(first);
      await writer.write(set('a', '1'));
      const position = { ...writer.position, offset: (writer.position.offset + 100) as typeof START.offset };
      await first.flush(position, []);
      await first.close();
      const second = await place.open();
      assert.deepEqual(second.opened, position);
      assert.deepEqual([...second.scan(WHOLE, true)], writer.entries);
      await second.close();
    },
  );

  promise(
    'an entry reader reads the entries of its position, whatever is written meanwhile',
    async (keyspace, { loop }) => {
      const writer = new KeyspaceWriter(keyspace);
      const keys = Array.from({ length: 30 }, (_, index) => `${['a/', 'b/', 'c/'][index % 3]}${index}`);
      await writer.write(...keys.map((key) => set(key, `value of ${key}`)));
      const { position } = writer;
      const wanted = writer.entries.filter(({ key }) => !key.startsWith('b/'));
      const reader = keyspace.readEntries(['a/', 'c/']);
      const other = keyspace.readEntries(['']);
      await writer.write({ kind: 'flush-all' }, set('a/new', 'new'));
      assert.deepEqual(reader.position, position);
      assert.equal(await reader.count(new Turns(loop)), wanted.length);
      assert.equal(await other.count(new Turns(loop)), keys.length);
      assert.deepEqual(await everyEntry(reader), wanted);
      assert.ok(reader.heldBytes() >= 0);
      reader.close();
      other.close();
      assert.deepEqual([...keyspace.scan(WHOLE, true)], writer.entries);
      await keyspace.close();
    },
  );

  promise('an entry reader that is closed early returns no more groups', async (keyspace) => {
    const writer = new KeyspaceWriter(keyspace);
    for (let part = 0; part < 4; part += 1) {
      await writer.write(...Array.from({ length: 300 }, (_, index) => set(`${part}/${index}`, 'v')));
    }
    const reader = keyspace.readEntries(['']);
    let groups = 0;
    for await (const group of reader.groups) {
      assert.ok(group.length > 0);
      groups += 1;
      reader.close();
    }
    assert.equal(groups, 1);
    await keyspace.close();
  });

  promise('a frozen file keeps its bytes while the file changes', async (keyspace) => {
    const writer = new KeyspaceWriter(keyspace);
    await writer.write(set('a', '1'), set('b', '2'));
    const frozen = await keyspace.freeze();
    assert.deepEqual(frozen.position, writer.position);
    const before = Buffer.alloc(frozen.length);
    await frozen.read(0, before);
    await writer.write({ kind: 'del', keys: ['a'] }, set('c', 'x'.repeat(10_000)));
    const meanwhile = Buffer.alloc(frozen.length);
    await frozen.read(0, meanwhile);
    assert.deepEqual(meanwhile, before);
    const sum = frozen.crc32(before.subarray(10), frozen.crc32(before.subarray(0, 10), 0));
    assert.equal(sum, crc32(before));
    assert.ok(frozen.heldBytes() >= 0);
    frozen.release();
    const later = await keyspace.freeze();
    assert.deepEqual(later.position, writer.position);
    later.release();
    await keyspace.close();
  });

  promise('equal entries have equal digests, however they came about; others do not', async (keyspace) => {
    const writer = new KeyspaceWriter(keyspace);
    const digests: string[] = [];
    const write = async (...commands: readonly Command[]): Promise<void> => {
      await writer.write(...commands);
      const { position, keys, digest } = await keyspace.digest();
      assert.deepEqual([position, keys], [writer.position, writer.entries.length]);
      assert.match(digest, /^[0-9a-f]{32}$/);
      digests.push(digest);
    };
    await write(set('a', '1'), set('b', '2'));
    await write(set('a', '3'));
    await write(set('b', '2'), set('a', '1'));
    await write({ kind: 'expire-at', key: 'a', expiresAt: 5_000 });
    await write({ kind: 'persist', key: 'a' });
    await write({ kind: 'flush-all' });
    const [first, other, again, expiring, persistent, empty] = digests;
    assert.equal(again, first);
    assert.equal(persistent, first);
    assert.equal(new Set([first, other, expiring, empty]).size, 4);
    await keyspace.close();
  });

  promise('a digest of a position that is to come is the digest of that position', async (keyspace) => {
    const writer = new KeyspaceWriter(keyspace);
    await writer.write(set('a', '1'), set('b', '2'), set('c', '3'));
    const open = await keyspace.openDigest();
    assert.deepEqual(open.position, writer.position);
    const parts = [
      await writer.write(set('a', '4'), { kind: 'del', keys: ['b'] }),
      await writer.write(set('d', '5', 7_000), set('e', '6'), {
        kind: 'expire-at',
        key: 'c',
        expiresAt: 8_000,
      }),
    ];
    const { keys, digest } = await keyspace.digest();
    assert.deepEqual(await open.at(parts), { keys, digest });
    open.close();
    await open.closed;
    await keyspace.close();
  });

  promise('a scrub of an undamaged file looks at every entry', async (keyspace) => {
    const writer = new KeyspaceWriter(keyspace);
    await writer.write(...['a', 'b', 'c'].map((key) => set(key, 'v')));
    assert.deepEqual(await keyspace.scrub(), { finished: true, entries: 3 });
    assert.ok(keyspace.size() > 0);
    await keyspace.close();
  });

  promise('the file is closed only when its entry readers are', async (keyspace) => {
    const writer = new KeyspaceWriter(keyspace);
    await writer.write(set('a', '1'));
    const reader = keyspace.readEntries(['']);
    let isClosed = false;
    const closing = keyspace.close().then(() => {
      isClosed = true;
    });
    assert.deepEqual(await everyEntry(reader), writer.entries);
    assert.equal(isClosed, false);
    reader.close();
    await closing;
    await assert.rejects(keyspace.freeze());
  });
}

async function everyEntry(reader: EntryReader): Promise<readonly ListedEntry[]> {
  const entries: ListedEntry[] = [];
  for await (const group of reader.groups) entries.push(...group);
  return entries;
}

function checkSingle(keyspace: Keyspace, entries: readonly ListedEntry[], keys: readonly string[]): void {
  for (const key of new Set([...keys, ...entries.slice(0, 40).map((entry) => entry.key)])) {
    const found = entries.find((entry) => entry.key === key);
    if (found === undefined) {
      assert.deepEqual(
        [keyspace.get(key), keyspace.outline(key), keyspace.expiry(key)],
        [null, null, undefined],
      );
      continue;
    }
    const { version, expiresAt } = found;
    const entry = { value: found.value as Buffer, version, expiresAt };
    assert.deepEqual(keyspace.get(key), entry);
    assert.deepEqual(keyspace.outline(key), outlineOf(entry));
    assert.equal(keyspace.expiry(key), expiresAt);
  }
}

function checkScan(keyspace: Keyspace, entries: readonly ListedEntry[], keys: readonly string[]): void {
  for (const from of ['', 'user:', ...keys]) {
    for (const exclusive of [false, true]) {
      // A prefix is text of whole characters, as a key is.
      for (const prefix of new Set(['', [...from][0] ?? '', from])) {
        const range = { prefix, from, exclusive };
        const isWanted = (key: string): boolean =>
          key.startsWith(prefix) && compareKeys(key, from) >= (exclusive ? 1 : 0);
        const wanted = entries.filter(({ key }) => isWanted(key));
        assert.deepEqual([...keyspace.scan(range, true)], wanted);
        const outlines = wanted.map((entry) => ({ ...entry, value: null }));
        assert.deepEqual([...keyspace.scan(range, false)], outlines);
      }
    }
  }
}

function checkDue(keyspace: Keyspace, entries: readonly ListedEntry[]): void {
  const rows = entries
    .flatMap(({ key, expiresAt }) => (expiresAt === null ? [] : [{ expiresAt, key }]))
    .sort((one, other) => one.expiresAt - other.expiresAt || compareKeys(one.key, other.key));
  for (const now of [0, 1, 10, 20]) {
    const due = rows.filter(({ expiresAt }) => expiresAt <= now);
    assert.equal(keyspace.countDue(now, null, 3), Math.min(3, due.length));
    let cursor: DueCursor | null = null;
    const keys: string[] = [];
    for (;;) {
      assert.equal(keyspace.countDue(now, cursor, 1_000), due.length - keys.length);
      const group: ReturnType<Keyspace['due']> = keyspace.due(now, cursor, 2);
      keys.push(...group.keys);
      if (group.cursor === null) break;
      assert.deepEqual(group.cursor, due[keys.length - 1]);
      cursor = group.cursor;
    }
    assert.deepEqual(
      keys,
      due.map(({ key }) => key),
    );
  }
}
