import assert from 'node:assert/strict';
import { constants } from 'node:buffer';
import test from 'node:test';
import fc from 'fast-check';
import { Prefixes } from '../../src/keyspace/prefixes.ts';
import { MAX_TRANSACTION_BYTES } from '../../src/node/draft.ts';
import { Group } from '../../src/node/message.ts';
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
