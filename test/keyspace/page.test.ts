import assert from 'node:assert/strict';
import test from 'node:test';
import fc from 'fast-check';
import { isLive } from '../../src/keyspace/entry.ts';
import { ChunkPool } from '../../src/keyspace/overlay/chunk-pool.ts';
import { Overlay } from '../../src/keyspace/overlay/overlay.ts';
import {
  type ListedEntry,
  MAX_PAGE_BYTES,
  type Page,
  readPage as read,
  type Scan,
} from '../../src/keyspace/page.ts';
import { after, anyCommand, anyKey, type Keyspace, text } from '../support/arbitraries.ts';

const NOW = 1_000;
const anyTime = fc.constantFrom(NOW - 1, NOW, NOW + 1);

const PREFIXES = ['a', 'a/', '\uffff', '\u{1f600}'];
/** Keys of which many begin alike, and some are the same. */
const sharedKeys = fc.oneof(
  fc.constantFrom(...PREFIXES, 'a/1', 'a/2', '\u{1f600}1'),
  fc.tuple(fc.constantFrom('', ...PREFIXES), anyKey).map(([prefix, key]) => prefix + key),
);

/** One that the overlay hides little of. */
function readPage(...given: Parameters<typeof read>): Page {
  const page = read(...given);
  assert.ok(page !== null);
  return page;
}

/** What a keyspace file of this state reads like, in the order of its UTF-8 bytes. */
function listed(state: Keyspace, values: boolean): ListedEntry[] {
  return [...state]
    .map(([key, { value, version, expiresAt }]) => {
      return { key, version, size: value.length, expiresAt, value: values ? value : null };
    })
    .sort((left, right) => inBytes(left.key, right.key));
}

function inBytes(left: string, right: string): number {
  return Buffer.compare(Buffer.from(left), Buffer.from(right));
}

function scanOf(state: Keyspace, read: (key: string) => void = () => {}): Scan {
  return function* ({ prefix, from, exclusive }, values) {
    for (const entry of listed(state, values)) {
      const order = inBytes(entry.key, from);
      if (!entry.key.startsWith(prefix) || order < 0 || (exclusive && order === 0)) continue;
      read(entry.key);
      yield entry;
    }
  };
}

test('pages to the end give each live key of a prefix exactly once, in the order of UTF-8 bytes', () => {
  const anyState = fc.array(anyCommand(sharedKeys, anyTime), { maxLength: 12 });
  const anyRequest = fc.record({
    prefix: fc.oneof(text(0, 1), fc.constantFrom(...PREFIXES)),
    after: fc.option(sharedKeys),
    limit: fc.integer({ min: 1, max: 5 }),
    values: fc.boolean(),
  });
  fc.assert(
    fc.property(
      anyState,
      anyState,
      fc.nat(12),
      fc.nat(12),
      anyRequest,
      (written, above, sealAt, writeAt, request) => {
        let file: Keyspace = new Map();
        for (const [index, command] of written.entries()) file = after(file, command, index);
        const overlay = newOverlay();
        let head = file;
        let sealed: Keyspace | null = null;
        for (const [index, command] of above.entries()) {
          if (index === sealAt) {
            overlay.seal(100 + index);
            sealed = head;
          }
          if (index >= writeAt && sealed !== null) {
            file = sealed;
            overlay.applied(100 + sealAt);
          }
          overlay.apply(command, 101 + index, (key) => file.get(key) ?? null);
          head = after(head, command, 101 + index);
        }
        const expected = listed(head, request.values).filter((entry) => {
          const isAfter = request.after === null || inBytes(entry.key, request.after) > 0;
          return entry.key.startsWith(request.prefix) && isAfter && isLive(entry, NOW);
        });
        const got: ListedEntry[] = [];
        let page: Page = { entries: [], next: request.after };
        do {
          page = readPage({ ...request, after: page.next }, overlay, scanOf(file), NOW);
          assert.ok(page.entries.length <= request.limit);
          assert.ok(page.next === null || page.next === page.entries.at(-1)?.key);
          got.push(...page.entries);
        } while (page.next !== null);
        assert.deepEqual(got, expected);
      },
    ),
    { numRuns: 500 },
  );
});

function newOverlay(): Overlay {
  return new Overlay(new ChunkPool(() => 16 * 4096, 4096));
}

function fileOf(keys: readonly string[], value: Buffer, expiresAt: number | null = null): Keyspace {
  return new Map(keys.map((key) => [key, { value, version: 1, expiresAt }]));
}

function keysOf(page: Page): readonly string[] {
  return page.entries.map((entry) => entry.key);
}

const SMALL = Buffer.from('v');
const ALL = { prefix: '', after: null, limit: 100, values: false };

test('a page after a key that is the prefix itself begins with the next one', () => {
  const scan = scanOf(fileOf(['a', 'a/', 'a/1'], SMALL));
  assert.deepEqual(keysOf(readPage({ ...ALL, prefix: 'a/', after: 'a/' }, newOverlay(), scan, NOW)), ['a/1']);
});

test('a page that ends with the last key says that it was the last page', () => {
  const page = readPage({ ...ALL, limit: 3 }, newOverlay(), scanOf(fileOf(['a', 'b', 'c'], SMALL)), NOW);
  assert.deepEqual([keysOf(page), page.next], [['a', 'b', 'c'], null]);
});

test('an entry that expires in this millisecond is not listed, and the page is still full', () => {
  const file = new Map([...fileOf(['a', 'c'], SMALL, NOW + 1), ...fileOf(['b', 'd'], SMALL, NOW)]);
  const page = readPage({ ...ALL, limit: 2 }, newOverlay(), scanOf(file), NOW);
  assert.deepEqual([keysOf(page), page.next], [['a', 'c'], null]);
});

test('the file is read one entry past the page and no further', () => {
  const read: string[] = [];
  const scan = scanOf(fileOf(['a', 'b', 'c', 'd', 'e'], SMALL), (key) => read.push(key));
  readPage({ ...ALL, limit: 2 }, newOverlay(), scan, NOW);
  assert.deepEqual(read, ['a', 'b', 'c']);
});

test('a page after a key behind its prefix is empty, and neither the file nor the overlay is read', () => {
  const overlay = newOverlay();
  overlay.firstKeys = () => assert.fail('read the overlay');
  for (const after of ['user;', 'v', '\u{10ffff}']) {
    const scan: Scan = () => assert.fail('read the file');
    const page = readPage({ ...ALL, prefix: 'user:', after, values: true }, overlay, scan, NOW);
    assert.deepEqual(page, { entries: [], next: null });
  }
});

test('a page leaves out a limited number of expired entries, and the next page goes on after them', () => {
  const read: string[] = [];
  const file = new Map([...fileOf(['a', 'b', 'd', 'e', 'f'], SMALL, NOW), ...fileOf(['c', 'g'], SMALL)]);
  const scan = scanOf(file, (key) => read.push(key));
  const pages: unknown[] = [];
  for (let after: string | null | undefined; after !== null; ) {
    const page = readPage({ ...ALL, after: after ?? null }, newOverlay(), scan, NOW, 0, 2);
    pages.push([keysOf(page), page.next]);
    after = page.next;
  }
  assert.deepEqual(pages, [
    [[], 'b'],
    [['c'], 'e'],
    [['g'], null],
  ]);
  assert.deepEqual(read, ['a', 'b', 'c', 'd', 'e', 'f', 'g']);
});

test('the values of expired entries count for the bytes of a page', () => {
  const file = new Map([
    ...fileOf(['a', 'b'], Buffer.alloc(MAX_PAGE_BYTES / 2), NOW),
    ...fileOf(['c'], SMALL),
  ]);
  const request = { ...ALL, values: true };
  assert.deepEqual(readPage(request, newOverlay(), scanOf(file), NOW), { entries: [], next: 'b' });
  assert.deepEqual(keysOf(readPage({ ...request, after: 'b' }, newOverlay(), scanOf(file), NOW)), ['c']);
});

test('after a FLUSHALL in the overlay the file is not read at all', () => {
  const overlay = newOverlay();
  overlay.apply({ kind: 'flush-all' }, 10, () => null);
  const page = readPage(ALL, overlay, () => assert.fail('read the file'), NOW);
  assert.deepEqual(page, { entries: [], next: null });
});

test('a page that would skip too many deleted entries of the file asks for a flush first', () => {
  const keys = ['a', 'b', 'c', 'd'];
  const overlay = newOverlay();
  overlay.apply({ kind: 'del', keys: ['a', 'b'] }, 10, () => null);
  const scan = scanOf(fileOf(keys, SMALL));
  assert.equal(read(ALL, overlay, scan, NOW, 1), null);
  assert.deepEqual(keysOf(readPage(ALL, overlay, scan, NOW, 2)), ['c', 'd']);
  assert.deepEqual(keysOf(readPage({ ...ALL, after: 'b' }, overlay, scan, NOW, 0)), ['c', 'd']);
});

for (const [bytes, values, pages] of [
  [MAX_PAGE_BYTES, true, [['a'], ['b'], ['c']]],
  [MAX_PAGE_BYTES - 1, true, [['a', 'b'], ['c']]],
  [MAX_PAGE_BYTES / 2, true, [['a', 'b'], ['c']]],
  [MAX_PAGE_BYTES, false, [['a', 'b', 'c']]],
] as const) {
  test(`three values of ${bytes} bytes, listed ${values ? 'with' : 'without'} them, take ${pages.length} pages`, () => {
    const scan = scanOf(fileOf(['a', 'b', 'c'], Buffer.alloc(bytes)));
    const got: (readonly string[])[] = [];
    let next: string | null = null;
    do {
      const page: Page = readPage({ ...ALL, after: next, values }, newOverlay(), scan, NOW);
      got.push(keysOf(page));
      next = page.next;
    } while (next !== null);
    assert.deepEqual(got, pages);
  });
}
