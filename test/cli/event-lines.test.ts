import assert from 'node:assert/strict';
import test from 'node:test';
import { eventLines } from '../../src/cli/output/event-lines.ts';
import type { FeedEvent } from '../../src/client/event.ts';

const P = `${'a'.repeat(40)}:1234`;
const ENTRY = { key: 'user:1', value: 'Ada', encoding: 'utf8', version: 5, expiresAt: null } as const;
const BEFORE = `${'a'.repeat(40)}:1200`;
const SET = { type: 'set', ...ENTRY, position: P } as const;

test('in a pipe: tabs, the kind first, the offset last', () => {
  const lines = (event: FeedEvent): readonly string[] => eventLines(event, BEFORE, null);
  assert.deepEqual(lines(SET), ['set\tuser:1\tAda\t1234']);
  assert.deepEqual(lines({ ...SET, expiresAt: 0 }), [
    'set\tuser:1\tAda\texpires 1970-01-01T00:00:00.000Z\t1234',
  ]);
  assert.deepEqual(lines({ type: 'entry', ...ENTRY }), ['entry\tuser:1\tAda']);
  assert.deepEqual(lines({ type: 'delete', key: 'k', position: P }), ['delete\tk\t1234']);
  const kept = lines({ type: 'expiry', key: 'k', expiresAt: null, position: P });
  assert.deepEqual(kept, ['expiry\tk\tdoes not expire any more\t1234']);
  const batch = lines({
    type: 'batch',
    changes: [{ type: 'flush' }, { type: 'delete', key: 'k' }],
    position: P,
  });
  assert.deepEqual(batch, ['batch\t2 changes at once\t1234', 'flush\tall keys are gone', 'delete\tk']);
  const single = lines({ type: 'batch', changes: [{ type: 'delete', key: 'k' }], position: P });
  assert.deepEqual(single, ['batch\t1 change at once\t1234', 'delete\tk']);
  const reset = lines({ type: 'reset', reason: 'behind-backlog', keys: 1_000, position: P });
  assert.deepEqual(reset, ['reset\ta snapshot follows: behind-backlog, 1,000 entries']);
  assert.deepEqual(lines({ type: 'bookmark', position: P }), []);
});

test('the whole position stands where the history begins or changes its run ID', () => {
  const other = `${'b'.repeat(40)}:1300`;
  const lines = (event: FeedEvent, before?: string): readonly string[] => eventLines(event, before, null);
  assert.deepEqual(lines({ type: 'synced', position: P }), [`synced\tthat was the snapshot\t${P}`]);
  assert.deepEqual(lines({ type: 'continue', position: P }, 'now'), [`continue\tnothing is lost\t${P}`]);
  const renamed = `history\tgoes on under another run ID\t${other}`;
  assert.deepEqual(lines({ type: 'bookmark', position: other }, P), [renamed]);
  const deleted = { type: 'delete', key: 'k', position: other } as const;
  assert.deepEqual(lines(deleted, P), ['delete\tk\t1300', renamed]);
  assert.deepEqual(lines(deleted, other), ['delete\tk\t1300']);
  assert.deepEqual(lines({ type: 'continue', position: other }, P), [`continue\tnothing is lost\t${other}`]);
  assert.deepEqual(eventLines({ type: 'continue', position: P }, undefined, 80), [
    `        1234 continue nothing is lost, at ${P}`,
  ]);
});

test('on a terminal: columns, and no line is wider than a terminal that is not narrow', () => {
  assert.deepEqual(eventLines(SET, BEFORE, 80), ['        1234 set      user:1                   Ada']);
  const long = 'x'.repeat(1_000);
  for (const columns of [110, 130, 200]) {
    for (const event of [
      { ...SET, value: long },
      { ...SET, value: long, expiresAt: 4_102_444_800_000 },
      { ...SET, value: Buffer.alloc(1_000).toString('base64'), encoding: 'base64' },
    ] as const) {
      const [line = ''] = eventLines(event, BEFORE, columns);
      assert.ok(line.length <= columns, `${line.length} of ${columns}: ${line}`);
    }
  }
  assert.match(eventLines({ ...SET, value: long }, BEFORE, 80)[0] ?? '', /x… \(1,000 characters\)$/);
});

test('bytes are shown as such', () => {
  const [line] = eventLines({ ...SET, value: '/wA=', encoding: 'base64' }, BEFORE, null);
  assert.equal(line, 'set\tuser:1\t0xff00 (2 bytes)\t1234');
});

test('stored control characters cannot act on the terminal', () => {
  const [line = ''] = eventLines(
    { ...SET, key: 'a\tb\r', value: '\u001b[2J\n\u009b\u202e\u2028' },
    BEFORE,
    null,
  );
  assert.equal(line, 'set\ta\\tb\\r\t\\u001b[2J\\n\\u{9b}\\u{202e}\\u{2028}\t1234');
});
