import assert from 'node:assert/strict';
import test from 'node:test';
import {
  LARGE_STREAM_BYTES,
  MAX_QUEUED_CHARACTERS,
  QueuedMessages,
  type Receiver,
} from '../../src/node/feed/followers/queued-messages.ts';
import { Frames } from '../../src/node/feed/messages/frames.ts';
import { Message } from '../../src/node/feed/messages/message.ts';
import { Stage } from '../support/feed-stage.ts';

const large = (characters: number): Message => new Message('x'.repeat(characters), null);
const holder = (client: string): Receiver => ({ socket: { client } });

test('a message that many followers share counts once, until the last of them has received it', () => {
  const queued = new QueuedMessages<Receiver>();
  const message = large(MAX_QUEUED_CHARACTERS / 2);
  const [a, b, c, d] = [holder('one'), holder('one'), holder('one'), holder('one')];
  for (const each of [a, b, c]) queued.hold(each, new Frames([message]), 1);
  assert.equal(queued.hasRoom('one'), true);
  queued.hold(d, new Frames([large(MAX_QUEUED_CHARACTERS / 4)]), 2);
  assert.equal(queued.hasRoom('one'), false);
  assert.equal(queued.counts('one', new Frames([message])), true);
  for (const each of [a, b]) queued.release(each);
  assert.equal(queued.hasRoom('one'), false);
  assert.deepEqual([queued.heldSince(a), queued.heldSince(c), queued.heldSince(d)], [null, 1, 2]);
  queued.release(c);
  assert.equal(queued.hasRoom('one'), true);
});

test('a shared message counts for the client of another holder when the first one has received it', () => {
  const queued = new QueuedMessages<Receiver>();
  const frames = new Frames([large(MAX_QUEUED_CHARACTERS)]);
  const [first, second] = [holder('one'), holder('two')];
  for (const each of [first, second]) queued.hold(each, frames, 1);
  assert.deepEqual([queued.hasRoom('one'), queued.hasRoom('two')], [false, true]);
  queued.release(first);
  assert.deepEqual([queued.hasRoom('one'), queued.hasRoom('two')], [true, false]);
  queued.release(second);
  assert.deepEqual([queued.has('one'), queued.has('two')], [false, false]);
});

test('a client whose followers read nothing leaves room to others, who see the sizes of its messages only coarsely', () => {
  const room = (unread: number): number => {
    const queued = new QueuedMessages<Receiver>();
    for (let left = unread; left > 0; left -= MAX_QUEUED_CHARACTERS) {
      queued.hold(holder('greedy'), new Frames([large(Math.min(left, MAX_QUEUED_CHARACTERS))]), 1);
    }
    for (let count = 0; ; count += 1) {
      if (!queued.hasRoom('other')) return count;
      queued.hold(holder('other'), new Frames([large(LARGE_STREAM_BYTES)]), 1);
    }
  };
  assert.ok(room(3 * MAX_QUEUED_CHARACTERS) > 50);
  const quarter = MAX_QUEUED_CHARACTERS / 4;
  assert.equal(room(quarter + 1), room(quarter * 1.25));
});

test('small messages do not count', () => {
  const queued = new QueuedMessages<Receiver>();
  const a = holder('one');
  queued.hold(a, new Frames([large(LARGE_STREAM_BYTES - 1)]), 1);
  assert.equal(queued.heldSince(a), null);
});

test('followers of one client that read no large messages do not keep away those of a follower of another client', async () => {
  const MIB = 1024 * 1024;
  const stage = new Stage(256 * MIB);
  for (let index = 0; index < 9; index += 1) stage.follow(`position=now&prefix=own${index}`, true, 'greedy');
  const live = stage.follow('position=now&prefix=f', false, 'other').socket;
  await stage.world.settle();
  for (let index = 0; index < 9; index += 1) stage.set(`own${index}`, 16 * MIB);
  await stage.world.settle();
  stage.set('f', 300 * 1024);
  await stage.world.settle();
  assert.deepEqual(live.seen, ['continue', 'f']);
});
