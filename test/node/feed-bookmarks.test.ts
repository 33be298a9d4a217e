/** A follower to whom nothing happens keeps its place: the backlog does not move on past what it was told. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { newHistory } from '../../src/replication/history.ts';
import { offset } from '../../src/replication/position.ts';
import { runId } from '../support/arbitraries.ts';
import { type FakeSocket, KIB, keyspaceAt, MIB, RUN_ID, Stage } from '../support/feed-stage.ts';
import { seeded } from '../support/random.ts';

const RUNS = Number(process.env.PSYNCD_RUNS ?? 25);
/** What docs/limits.md promises: all hurried bookmarks together, in a second. */
const BOOKMARKS_PER_SECOND = 20_000;

/** The last offset that the follower was told. */
function told({ events }: FakeSocket): number {
  const position = events.findLast((event) => event.position !== undefined)?.position;
  return Number(position?.split(':')[1]);
}

/** Whether a follower that is cut off now can go on where it was. */
function keepsItsPlace(stage: Stage, socket: FakeSocket): boolean {
  return told(socket) >= stage.head.backlog.firstOffset - 1;
}

for (const query of ['prefix=quiet/', 'prefix=quiet/&limit=5', 'prefix=quiet/&wait=600']) {
  test(`a follower of ${query} keeps its place when a burst elsewhere is longer than the backlog`, async () => {
    const stage = new Stage();
    const { socket } = stage.follow(`position=now&${query}`);
    await stage.world.settle();
    await stage.world.pass(1_000);
    for (let index = 0; index < 40; index += 1) {
      stage.set('other', 200 * KIB);
      await stage.world.pass(2);
    }
    await stage.world.pass(50);
    assert.ok(keepsItsPlace(stage, socket), `told ${told(socket)}, at ${stage.head.offset}`);
    assert.equal(socket.closed, null);
  });
}

test('a follower that goes live in the middle of a burst is told where it ended', async () => {
  const stage = new Stage();
  stage.follow('position=now&prefix=quiet/');
  await stage.world.settle();
  for (let index = 0; index < 20; index += 1) stage.set('other', 200 * KIB);
  const { socket } = stage.follow(`position=now&prefix=silent/`);
  for (let index = 0; index < 20; index += 1) stage.set('other', 200 * KIB);
  await stage.world.settle();
  await stage.world.pass(100);
  assert.ok(keepsItsPlace(stage, socket));
});

test('after a full resync to a lower offset a live follower still hears within 2 s where the stream is', async () => {
  const stage = new Stage();
  const { socket } = stage.follow('position=now&prefix=quiet/');
  await stage.world.settle();
  for (let index = 0; index < 20; index += 1) stage.set('other', 200 * KIB);
  // A bookmark announces a high offset of the former stream.
  await stage.world.pass(3_000);
  assert.equal(told(socket), stage.head.offset);
  const low = { runId: runId('b'), offset: offset(1_000) };
  stage.replace(keyspaceAt(low, new Map()), newHistory(low.runId));
  await stage.world.settle();
  stage.set('other');
  await stage.world.pass(3_000);
  assert.equal(told(socket), stage.head.offset);
});

test('property: after each burst every live follower has a place that the backlog holds', async (t) => {
  const { seed } = seeded();
  t.diagnostic(`PSYNCD_SEED=${seed}`);
  for (let run = seed; run < seed + RUNS; run += 1) {
    const { random } = seeded(run);
    const below = (limit: number): number => Math.floor(random() * limit);
    const stage = new Stage([16 * KIB, 256 * KIB, MIB][below(3)]);
    const { size } = stage.head.backlog;
    const followers = Array.from({ length: 1 + below(30) }, (_, index) =>
      stage.follow(`position=now&prefix=quiet/${index % (1 + below(30))}/`),
    );
    await stage.world.settle();
    for (let burst = 0; burst < 10; burst += 1) {
      for (let writes = 1 + below(20); writes > 0; writes -= 1) {
        stage.set(below(4) === 0 ? `quiet/${below(30)}/k` : 'other', below(size / 2));
        if (below(2) === 0) await stage.world.pass(below(40));
      }
      await stage.world.settle();
      await stage.world.pass(50);
      for (const { socket } of followers) {
        const where = `told ${told(socket)}, at ${stage.head.offset}, the backlog has ${size}`;
        assert.ok(keepsItsPlace(stage, socket), `PSYNCD_SEED=${run} PSYNCD_RUNS=1: ${where}`);
      }
      await stage.world.pass(below(1_000));
    }
  }
});

test(`followers of many prefixes get at most ${BOOKMARKS_PER_SECOND} hurried bookmarks a second together`, async () => {
  const stage = new Stage(16 * KIB);
  const followers = Array.from({ length: 4_000 }, (_, index) =>
    stage.follow(`position=${RUN_ID}:0&prefix=quiet/${index}/`),
  );
  await stage.world.settle();
  const before = followers.reduce((sum, { socket }) => sum + socket.events.length, 0);
  for (let ms = 0; ms < 1_000; ms += 10) {
    stage.set('other', 20 * KIB);
    await stage.world.pass(10);
  }
  const sent = followers.reduce((sum, { socket }) => sum + socket.events.length, 0) - before;
  assert.ok(sent >= followers.length, `${sent} bookmarks`);
  // The first ones of all followers come at once.
  assert.ok(sent <= BOOKMARKS_PER_SECOND + followers.length, `${sent} bookmarks`);
});
