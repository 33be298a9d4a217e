/** A backlog that becomes larger is filled from the journal, a few milliseconds at a time. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { offset } from '../../src/replication/position.ts';
import { KIB, MIB, Stage } from '../support/feed-stage.ts';

/** A stream of 40 MiB in the journal, of which the backlog holds the last MiB; reading takes time. */
function filled(): Stage {
  const stage = new Stage(MIB);
  for (let index = 0; index < 160; index += 1) stage.set(`k${index}`, 256 * KIB);
  const read = stage.head.read.bind(stage.head);
  stage.head.read = (after, enoughBytes) => {
    stage.world.ms += 2;
    return read(after, enoughBytes);
  };
  return stage;
}

test('a large backlog is filled in the background, and then holds what the journal has and what came meanwhile', async () => {
  const stage = filled();
  const { head, world } = stage;
  let done: boolean | null = null;
  void head.resizeBacklog(32 * MIB).then((result) => {
    done = result;
  });
  await world.settle();
  assert.equal(done, null, 'it was filled at once');
  assert.equal(head.backlog.size, MIB);
  stage.set('meanwhile', 100 * KIB);
  await world.pass(20_000);
  assert.equal(done, true);
  const { size, firstOffset, length } = head.backlog;
  assert.equal(size, 32 * MIB);
  assert.equal(firstOffset + length - 1, head.offset);
  assert.ok(length > 31 * MIB, `it holds ${length} bytes`);
  assert.deepEqual(head.backlog.read(offset(firstOffset - 1), 64 * MIB).length, length);
});

test('a new size requested while a backlog is being filled takes effect', async () => {
  const { head, world } = filled();
  const first = head.resizeBacklog(32 * MIB);
  const second = head.resizeBacklog(16 * MIB);
  await world.settle();
  await world.pass(20_000);
  assert.deepEqual(await Promise.all([first, second]), [false, true]);
  assert.equal(head.backlog.size, 16 * MIB);
  assert.ok(head.backlog.length > 15 * MIB);
});
