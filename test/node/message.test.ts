import assert from 'node:assert/strict';
import { constants } from 'node:buffer';
import test from 'node:test';
import fc from 'fast-check';
import { Prefixes } from '../../src/keyspace/prefixes.ts';
import { Group } from '../../src/node/feed/messages/message.ts';
import { MAX_TRANSACTION_BYTES } from '../../src/node/write/draft.ts';
import type { Command, Run } from '../../src/stream/command.ts';
import { Encoder } from '../../src/stream/encoder.ts';
import { anyCommand, anyKey, runId } from '../support/arbitraries.ts';

/** What JSON makes at most of a byte of the stream: `\u0000`. */
const ESCAPED = 6;
/** A position, and `"type":"batch"`. */
const AROUND = 200;

function transaction(commands: readonly Command[]): Run {
  const encoder = new Encoder();
  encoder.beginTransaction();
  for (const command of commands) encoder.add(command);
  encoder.endTransaction();
  return encoder.finish();
}

function json({ bytes, commands, ends }: Run, base: number): string {
  const run = { bytes, commands, ends, boundaries: [bytes.length] };
  const group = new Group(run, base, runId('a'), {
    first: 0,
    last: commands.length,
    start: 0,
    end: bytes.length,
  });
  return group.messageFor(new Prefixes([]))?.json ?? '';
}

test('the largest transaction fits into one message', () => {
  assert.ok(ESCAPED * MAX_TRANSACTION_BYTES + AROUND <= constants.MAX_STRING_LENGTH);
});

test('property: a message has at most six times as many characters as its part of the stream has bytes', () => {
  const worst = fc.nat({ max: 300 }).map((length): Command => {
    return { kind: 'set', key: '\u0001', value: Buffer.alloc(length), expiresAt: null };
  });
  const commands = fc.array(fc.oneof(anyCommand(anyKey), worst), { minLength: 1, maxLength: 20 });
  fc.assert(
    fc.property(commands, (some) => {
      const run = transaction(some);
      const text = json(run, 2 ** 52);
      assert.ok(text.length <= ESCAPED * run.bytes.length + AROUND, `${text.length} of ${run.bytes.length}`);
    }),
  );
});

test('property: each follower gets the changes of a batch to its keys, in order, however many followers there are', () => {
  const commands = fc.array(anyCommand(anyKey), { minLength: 2, maxLength: 20 });
  // More followers than are served before the keys are sorted.
  const followers = fc.array(fc.array(fc.string({ maxLength: 2 }), { maxLength: 3 }), {
    minLength: 8,
    maxLength: 8,
  });
  fc.assert(
    fc.property(commands, followers, (some, wanted) => {
      const { bytes, commands: all, ends } = transaction(some);
      const run = { bytes, commands: all, ends, boundaries: [bytes.length] };
      const range = { first: 0, last: all.length, start: 0, end: bytes.length };
      const group = new Group(run, 0, runId('a'), range);
      for (const list of wanted) {
        const prefixes = new Prefixes(list);
        const expected = all.flatMap((command): unknown[] => {
          if (command.kind === 'flush-all') return [undefined];
          const keys = command.kind === 'del' ? command.keys : [command.key];
          return keys.filter((key) => prefixes.matches(key));
        });
        const message = JSON.parse(group.messageFor(prefixes)?.json ?? '{"changes":[]}') as {
          readonly changes: readonly { readonly key?: string }[];
        };
        assert.deepEqual(
          message.changes.map(({ key }) => key),
          expected,
        );
      }
    }),
  );
});

test('followers that get the same changes of a batch share one message, whatever their prefixes', () => {
  const set = (key: string): Command => ({ kind: 'set', key, value: Buffer.from('v'), expiresAt: null });
  const { bytes, commands, ends } = transaction([set('a1'), set('a2'), set('b1')]);
  const range = { first: 0, last: 3, start: 0, end: bytes.length };
  const group = new Group({ bytes, commands, ends, boundaries: [bytes.length] }, 0, runId('a'), range);
  const first = group.messageFor(new Prefixes(['a', 'x']));
  assert.equal(group.messageFor(new Prefixes(['a', 'y'])), first);
  assert.match(group.messageFor(new Prefixes(['b']))?.json ?? '', /"b1"/);
  assert.equal(group.messageFor(new Prefixes(['a', 'z']))?.json, first?.json);
});

test('a long value that JSON would escape a lot is sent as base64', () => {
  const value = Buffer.alloc(1024 * 1024, 1);
  const text = json(transaction([{ kind: 'set', key: 'k', value, expiresAt: null }]), 0);
  assert.ok(text.includes('"encoding":"base64"'));
  assert.ok(text.length < 2 * value.length);
});
