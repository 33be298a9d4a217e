import assert from 'node:assert/strict';
import test from 'node:test';
import fc from 'fast-check';
import { Cursor } from '../../src/client/cursor.ts';
import { type FeedChange, type FeedEvent, parseEvent, type SentEntry } from '../../src/client/event.ts';
import { Copy } from '../../src/client/mirror/copy.ts';
import { type Entry, entryOf, sameValue } from '../../src/client/mirror/entry.ts';
import { FeedModel, set } from '../support/feed-model.ts';

/** What a copy holds that has taken these events from the start. */
function copyOf(events: readonly FeedEvent[]): Copy {
  const copy = new Copy();
  for (const event of events) copy.take(event);
  return copy;
}

function values(copy: Copy): Record<string, unknown> {
  return Object.fromEntries([...copy.entries].map(([key, { value }]) => [key, value]));
}

const THREE = new FeedModel();
THREE.set('a', '1');
THREE.set('b', '2', 5_000);
THREE.set('c', '3');

test('the copy is empty until a snapshot is complete, and has all of it at `synced`', () => {
  const copy = new Copy();
  const events = THREE.snapshot('first-sync');
  assert.deepEqual(copy.state, { kind: 'empty' });
  for (const event of events.slice(0, -1)) copy.take(event);
  assert.deepEqual([copy.position, copy.entries.size], [null, 0]);
  assert.deepEqual(copy.state, { kind: 'syncing', reason: 'first-sync', received: 3, expected: 3 });
  const [effect] = copy.take(events.at(-1) as FeedEvent);
  assert.ok(effect?.kind === 'replaced' && effect.changes.length === 3);
  assert.deepEqual(values(copy), { a: '1', b: '2', c: '3' });
  assert.deepEqual([copy.position, copy.state], [THREE.position, { kind: 'live' }]);
});

test('during a reset the old copy is served, and its end reports only the differences', () => {
  const copy = copyOf(THREE.snapshot('first-sync'));
  const other = new FeedModel('b'.repeat(40));
  other.set('a', '1');
  other.set('b', 'two', 5_000);
  other.set('d', '4');
  const events = other.snapshot('unknown-run-id');
  assert.deepEqual(copy.take(events[0] as FeedEvent), [{ kind: 'reset', reason: 'unknown-run-id' }]);
  for (const event of events.slice(1, -1)) assert.deepEqual(copy.take(event), []);
  assert.deepEqual([values(copy), copy.position], [{ a: '1', b: '2', c: '3' }, THREE.position]);
  const [effect] = copy.take(events.at(-1) as FeedEvent);
  assert.ok(effect?.kind === 'replaced');
  const told = effect.changes.map(({ key, entry, before }) => [key, before?.value, entry?.value]);
  assert.deepEqual(told, [
    ['b', '2', 'two'],
    ['d', undefined, '4'],
    ['c', '3', undefined],
  ]);
  assert.deepEqual(values(copy), { a: '1', b: 'two', d: '4' });
});

test('a copy that continues has caught up at the head or past it, under any run ID', () => {
  const [start, head] = [10, 30].map((offset) => `${'a'.repeat(40)}:${offset}`) as [string, string];
  const behind = { kind: 'catching-up', head } as const;
  const resumed = (): Copy => {
    const copy = new Copy({ position: start, entries: new Map() });
    copy.take({ type: 'continue', position: start, head });
    assert.deepEqual(copy.state, behind);
    return copy;
  };
  const last: readonly FeedEvent[] = [
    { type: 'delete', key: 'k', position: head },
    { type: 'bookmark', position: `${'b'.repeat(40)}:31` },
    { type: 'continue', position: start, head: start },
    // An older node does not say where it stands.
    { type: 'continue', position: start },
    THREE.snapshot('behind-backlog').at(-1) as FeedEvent,
  ];
  for (const event of last) {
    const copy = resumed();
    copy.take({ type: 'flush', position: `${'a'.repeat(40)}:29` });
    assert.deepEqual(copy.state, behind);
    if (event.type === 'synced')
      copy.take({ type: 'reset', position: start, reason: 'behind-backlog', keys: 0 });
    copy.take(event);
    assert.deepEqual(copy.state, { kind: 'live' }, event.type);
  }
});

test('a batch is one effect, with the final state of each key', () => {
  const copy = copyOf(THREE.snapshot('first-sync'));
  const position = `${'a'.repeat(40)}:999`;
  const changes: FeedChange[] = [
    set('a', 'x', 990),
    set('new', 'here', 991),
    { type: 'delete', key: 'new' },
    set('a', 'y', 992),
    { type: 'expiry', key: 'b', expiresAt: null },
    { type: 'delete', key: 'c' },
    { type: 'expiry', key: 'c', expiresAt: 7 },
  ];
  const [effect] = copy.take({ type: 'batch', changes, position });
  assert.ok(effect?.kind === 'changed');
  const told = effect.changes.map(({ key, entry }) => [key, entry?.value ?? null, entry?.expiresAt ?? null]);
  assert.deepEqual(told, [
    ['a', 'y', null],
    ['b', '2', null],
    ['c', null, null],
  ]);
  assert.equal(copy.position, position);
});

test('a flush takes everything with it, also in the middle of a batch', () => {
  const copy = copyOf(THREE.snapshot('first-sync'));
  const changes: FeedChange[] = [{ type: 'flush' }, set('b', 'after', 990)];
  const [effect] = copy.take({ type: 'batch', changes, position: `${'a'.repeat(40)}:999` });
  assert.ok(effect?.kind === 'changed');
  assert.deepEqual(values(copy), { b: 'after' });
  assert.deepEqual(
    effect.changes.map(({ key, entry }) => [key, entry?.value]),
    [
      ['a', undefined],
      ['b', 'after'],
      ['c', undefined],
    ],
  );
});

test('bytes that are not UTF-8 are bytes', () => {
  const copy = new Copy({ position: 'p', entries: new Map() });
  const sent = { key: 'k', value: 'AP+A', encoding: 'base64', version: 1, expiresAt: null } as const;
  copy.take({ type: 'set', ...sent, position: 'q' });
  assert.deepEqual(copy.entries.get('k')?.value, Uint8Array.of(0, 255, 128));
});

test('a message that is not an event is refused, and unknown parts of a newer node are not', () => {
  for (const text of [
    '',
    'x',
    '[]',
    'null',
    '{}',
    '{"type":"set","key":"k"}',
    '{"type":"synced"}',
    '{"type":1}',
  ]) {
    assert.equal(parseEvent(text, ['']), undefined, text);
  }
  const unknown = { type: 'batch', position: 'p', changes: [{ type: 'rename', key: 'k' }] };
  assert.equal(parseEvent(JSON.stringify(unknown), ['']), undefined);
  assert.equal(parseEvent('{"type":"weather","sunny":true}', ['']), null);
  const more = { type: 'delete', key: 'k', position: 'p', by: 'somebody' };
  assert.deepEqual(parseEvent(JSON.stringify(more), ['']), more);
});

const key = fc.constantFrom('a', 'b', 'c', 'd');
const anyChange: fc.Arbitrary<FeedChange> = fc.oneof(
  { weight: 6, arbitrary: fc.tuple(key, fc.string()).map(([name, value]) => set(name, value, 1)) },
  { weight: 2, arbitrary: key.map((name) => ({ type: 'delete', key: name }) as const) },
  {
    weight: 2,
    arbitrary: fc
      .tuple(key, fc.option(fc.nat()))
      .map(([name, expiresAt]) => ({ type: 'expiry', key: name, expiresAt }) as const),
  },
  { weight: 1, arbitrary: fc.constant({ type: 'flush' } as const) },
);
const anyAction = fc.oneof(
  { weight: 6, arbitrary: fc.array(anyChange, { minLength: 1, maxLength: 4 }) },
  { weight: 1, arbitrary: fc.constant('promote' as const) },
  { weight: 1, arbitrary: fc.constant('forget' as const) },
);
/** After how many messages each connection breaks. */
const anyCuts = fc.array(fc.nat({ max: 8 }), { maxLength: 12 });

test('whatever is written and wherever it is cut: no change is lost or doubled, and the copy is always of its position', () => {
  const property = fc.property(fc.array(anyAction, { maxLength: 30 }), anyCuts, (actions, cuts) => {
    const copy = new Copy();
    let cursor = new Cursor();
    const delivered: string[] = [];
    let model = new FeedModel();
    // Histories that were replaced: an old copy is of one of them.
    const models = [model];

    const connection = (limit: number): void => {
      cursor = new Cursor(cursor.position);
      const events = model.from(cursor.position);
      // Somebody who repeats itself must not be a problem either.
      for (const event of events.slice(0, limit).flatMap((each) => [each, each])) {
        const verdict = cursor.take(event);
        if (verdict !== 'deliver') continue;
        copy.take(event);
        if ('changes' in event || event.type === 'set') delivered.push(event.position);
        const { position } = copy;
        if (position === null) continue;
        const expected = models.map((each) => each.at(position)).find((each) => each !== undefined);
        assert.ok(expected !== undefined, position);
        assert.deepEqual(plain(copy.entries), sent(expected));
      }
    };

    let next = 0;
    for (const [index, action] of actions.entries()) {
      const runId = index.toString(16).padStart(40, '0');
      if (action === 'promote') model.promote(runId);
      else if (action === 'forget') {
        model = new FeedModel(runId);
        models.push(model);
      } else model.write(...action);
      const cut = cuts[next];
      if (index % 3 !== 2 || cut === undefined) continue;
      next += 1;
      connection(cut);
    }
    connection(Number.POSITIVE_INFINITY);
    assert.deepEqual(plain(copy.entries), sent(model.entries));
    assert.equal(copy.position?.split(':')[1], model.position.split(':')[1]);
    assert.equal(new Set(delivered).size, delivered.length, 'a change came twice');
  });
  // The seed is in the message of a failure.
  fc.assert(property, { numRuns: 300 });
});

function plain(entries: ReadonlyMap<string, Entry>): Entry[] {
  return [...entries.values()].sort(byKey);
}

function sent(entries: ReadonlyMap<string, SentEntry>): Entry[] {
  return [...entries.values()].map(entryOf).sort(byKey);
}

function byKey(left: Entry, right: Entry): number {
  return left.key < right.key ? -1 : 1;
}

test('a value that comes as base64 is text if it is valid UTF-8, with its byte order mark, and bytes otherwise', () => {
  const read = (bytes: Buffer): unknown => {
    const value = bytes.toString('base64');
    return entryOf({ key: 'k', value, encoding: 'base64', version: 1, expiresAt: null }).value;
  };
  assert.equal(read(Buffer.from('\u0001é😀')), '\u0001é😀');
  assert.equal(read(Buffer.from('\uFEFFa')), '\uFEFFa');
  assert.deepEqual(read(Buffer.from([0, 255])), Uint8Array.of(0, 255));
});

test('bytes are the same only if all of them are', () => {
  const bytes = (...value: number[]) => Uint8Array.from(value);
  assert.deepEqual(
    [[255, 0], [255, 1], [255], [255, 0, 0], []].map((other) => sameValue(bytes(255, 0), bytes(...other))),
    [true, false, false, false, false],
  );
  assert.equal(sameValue(bytes(), bytes()), true);
});
