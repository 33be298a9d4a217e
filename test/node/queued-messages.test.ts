import assert from 'node:assert/strict';
import test from 'node:test';
import { Frames } from '../../src/node/feed/messages/frames.ts';
import { Message } from '../../src/node/feed/messages/message.ts';
import {
  LARGE_STREAM_BYTES,
  MAX_QUEUED_CHARACTERS,
  QueuedMessages,
} from '../../src/node/feed/messages/queued-messages.ts';

const large = (characters: number): Message => new Message('x'.repeat(characters), null);

test('a message that many followers share counts once, until the last of them has received it', () => {
  const queued = new QueuedMessages<string>();
  const message = large(MAX_QUEUED_CHARACTERS / 2);
  for (const holder of ['a', 'b', 'c']) queued.hold(holder, new Frames([message]), 1);
  assert.equal(queued.hasRoom, true);
  queued.hold('d', new Frames([large(MAX_QUEUED_CHARACTERS / 2)]), 2);
  assert.equal(queued.hasRoom, false);
  for (const holder of ['a', 'b']) queued.release(holder);
  assert.equal(queued.hasRoom, false);
  assert.deepEqual([queued.heldSince('a'), queued.heldSince('c'), queued.heldSince('d')], [null, 1, 2]);
  queued.release('c');
  assert.equal(queued.hasRoom, true);
});

test('small messages do not count', () => {
  const queued = new QueuedMessages<string>();
  queued.hold('a', new Frames([large(LARGE_STREAM_BYTES - 1)]), 1);
  assert.equal(queued.heldSince('a'), null);
});
