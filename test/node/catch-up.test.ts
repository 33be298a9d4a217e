/** Followers that return together: the stream is decoded once for all of them, whatever their prefixes and places are. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { Prefixes } from '../../src/keyspace/prefixes.ts';
import {
  MAX_MESSAGE_MEMORY,
  MAX_STRETCH_MEMORY,
  Stretches,
} from '../../src/node/feed/followers/stretches.ts';
import { Subscription } from '../../src/node/feed/followers/subscription.ts';
import { type Offset, offset } from '../../src/replication/position.ts';
import { type FakeSocket, KIB, MIB, RUN_ID, Stage } from '../support/feed-stage.ts';
import { seeded } from '../support/random.ts';

/** Counts from now on how many bytes of the stream the feed reads. */
function countReads(stage: Stage): { bytes: number } {
  const count = { bytes: 0 };
  const read = stage.head.read.bind(stage.head);
  stage.head.read = (after: Offset, enoughBytes: number): Buffer => {
    const bytes = read(after, enoughBytes);
    count.bytes += bytes.length;
    return bytes;
  };
  return count;
}

/** Turns of the event loop, with a write in each of them, until nobody is behind. */
async function turnsUntilLive(stage: Stage, write: (turn: number) => void): Promise<number> {
  for (let turn = 0; ; turn += 1) {
    if (stage.feed.status.behind === 0) return turn;
    assert.ok(turn < 1_000, `${stage.feed.status.behind} are behind after ${turn} turns`);
    write(turn);
    await stage.world.turn();
  }
}

function changesOf({ events }: FakeSocket): readonly string[] {
  return events.flatMap(({ type, key }) => (type === 'set' ? [String(key)] : []));
}

test('a follower that has everything is live at once', () => {
  const stage = new Stage();
  stage.set('other/1');
  stage.follow('position=now&prefix=mine/');
  assert.equal(stage.feed.status.behind, 0);
});

for (const places of ['the same place', 'places of their own']) {
  test(`3,000 followers with prefixes of their own that return to ${places} share one decoding while others write`, async () => {
    const stage = new Stage();
    const count = 3_000;
    const ends: number[] = [0];
    for (let index = 0; index < count; index += 1) {
      stage.set(`f${index}/k`, 200);
      ends.push(stage.head.offset);
    }
    const before = stage.head.offset;
    const reads = countReads(stage);
    const sockets = Array.from({ length: count }, (_, index) => {
      const place = places === 'the same place' ? 0 : ends[index];
      return stage.follow(`position=${RUN_ID}:${place}&prefix=f${index}/`).socket;
    });
    const turns = await turnsUntilLive(stage, (turn) => stage.set(`f${turn}/late`, 200));
    await stage.world.settle();
    assert.ok(reads.bytes <= 2 * stage.head.offset, `${reads.bytes} bytes read, of ${stage.head.offset}`);
    // Each of them is sent its change, and where it stands: as fast as live followers are sent anything.
    assert.ok(turns < 150, `${turns} turns`);
    assert.ok(before < stage.head.offset);
    for (const [index, socket] of sockets.entries()) {
      const late = index < turns ? [`f${index}/late`] : [];
      assert.deepEqual(changesOf(socket), [`f${index}/k`, ...late]);
    }
  });
}

test('followers that return to places inside one large commit share one look at it', async () => {
  const stage = new Stage();
  const count = 2_000;
  const keys = Array.from({ length: count }, (_, index) => `f${index}/k`);
  stage.commit(
    ...keys.map((key) => ({ kind: 'set', key, value: Buffer.alloc(200, 'x'), expiresAt: null }) as const),
  );
  const first = stage.follow(`position=${RUN_ID}:0`).socket;
  await stage.world.settle();
  const places = first.events.filter(({ type }) => type === 'set').map(({ position }) => position);
  assert.equal(places.length, count);
  const reads = countReads(stage);
  const inside = String(Number(places[0]?.split(':')[1]) - 1);
  const lost = stage.follow(`position=${RUN_ID}:${inside}&snapshot=false`).socket;
  assert.equal(lost.events.at(-1)?.code, 'POSITION_LOST');
  const sockets = places.map(
    (place, index) => stage.follow(`position=${place}&prefix=f${index + 1}/`).socket,
  );
  await stage.world.settle();
  assert.ok(reads.bytes <= 2 * stage.head.offset, `${reads.bytes} bytes read, of ${stage.head.offset}`);
  for (const [index, socket] of sockets.entries()) {
    assert.deepEqual(changesOf(socket), index + 1 < count ? [`f${index + 1}/k`] : []);
  }
});

test('a position inside a large write is judged by decoding a small part of it, with and without other followers', async () => {
  for (const others of [0, 1]) {
    const stage = new Stage(64 * MIB);
    const value = Buffer.alloc(200, 'x');
    const sets = Array.from(
      { length: 20_000 },
      (_, index) => ({ kind: 'set', key: `k${index}`, value, expiresAt: null }) as const,
    );
    stage.commit(...sets);
    stage.set('large', 8 * MIB);
    if (others > 0) stage.follow('position=now');
    const reads = countReads(stage);
    for (const inside of [8 * MIB, 9 * MIB, 10 * MIB]) {
      for (const _ of [1, 2]) {
        const place = stage.head.offset - inside;
        const { socket } = stage.follow(`position=${RUN_ID}:${place}&snapshot=false&prefix=mine/`);
        assert.equal(socket.events.at(-1)?.code, 'POSITION_LOST');
      }
    }
    assert.ok(reads.bytes > 0 && reads.bytes <= 6 * 64 * KIB, `${reads.bytes} bytes read`);
  }
});

test('one turn decodes several small writes or one large one, and each byte of it once', async () => {
  const stage = new Stage(64 * MIB);
  const large = 4;
  for (let index = 0; index < large; index += 1) stage.set(`other/${index}`, 2 * MIB);
  for (let index = 0; index < 64; index += 1) stage.set(`other/${index}`, 8 * KIB);
  const reads = countReads(stage);
  stage.follow(`position=${RUN_ID}:0&prefix=mine/`);
  let turns = 0;
  for (let before = 0; stage.feed.status.behind > 0; before = reads.bytes, turns += 1) {
    await stage.world.turn();
    assert.ok(reads.bytes - before <= 3.5 * MIB, `${reads.bytes - before} bytes in turn ${turns}`);
  }
  assert.ok(turns > large && turns < 64, `${turns} turns`);
});

test('a follower with no change of its own for a long stretch keeps its place meanwhile', async () => {
  const stage = new Stage();
  for (let index = 0; index < 64; index += 1) stage.set('other', 15 * KIB);
  const { socket } = stage.follow(`position=${RUN_ID}:0&prefix=mine/`);
  const told = (): number => Number(socket.events.at(-1)?.position?.split(':')[1]);
  await stage.world.turn();
  await stage.world.turn();
  assert.ok(stage.feed.status.behind === 1 && told() >= MIB / 4, `told ${told()}`);
  await stage.world.settle();
  assert.equal(told(), stage.head.offset);
});

test('a follower of another history gets nothing that was decoded for the old one', async () => {
  const stage = new Stage();
  for (let index = 0; index < 10; index += 1) stage.set(`k${index}`, 1_000);
  const { socket } = stage.follow(`position=${RUN_ID}:0`);
  await stage.world.settle();
  assert.equal(changesOf(socket).length, 10);
  stage.rename(RUN_ID.replaceAll('a', 'b') as typeof RUN_ID);
  const { socket: later } = stage.follow(`position=${RUN_ID}:0`);
  await stage.world.settle();
  const positions = later.events.map(({ position }) => position?.slice(0, 1));
  assert.deepEqual(new Set(positions), new Set(['b']));
});

test('the cache of decoded stream ranges stays within its memory limit and returns the stream’s commands', (t) => {
  const { seed, random } = seeded();
  t.diagnostic(`PSYNCD_SEED=${seed}`);
  const below = (limit: number): number => Math.floor(random() * limit);
  const stage = new Stage(64 * MIB);
  const groups: { key: string; start: number; end: number }[] = [];
  while (stage.head.offset < 60 * MIB) {
    const key = `${'abc'[below(3)]}${below(100)}`;
    const start = stage.head.offset;
    stage.set(key, [10, 1_000, 100 * KIB][below(3)]);
    groups.push({ key, start, end: stage.head.offset });
  }
  const choices = [[], ['a'], ['b1', 'c'], ['c99'], ['none']];
  const subscriptions = choices.map((prefixes) => {
    const subscription = new Subscription(new Prefixes(prefixes), stage.head.offset, 0);
    // As if two followed: what they are given is kept for both.
    Object.defineProperty(subscription.members, 'size', { value: 2 });
    return subscription;
  });
  const stretches = new Stretches(stage.head);
  for (let step = 0; step < 2_000; step += 1) {
    const first = below(groups.length);
    const after = offset(groups[first]?.start ?? 0);
    const which = below(choices.length);
    const stretch = stretches.get(after, stage.head.offset) ?? stretches.read(after);
    assert.ok(stretch.from <= after && after < stretch.to, `${after} in ${stretch.from} to ${stretch.to}`);
    const upTo = offset(groups[Math.min(groups.length - 1, first + below(200))]?.end ?? 0);
    const portion = stretches.portion(stretch, subscriptions[which] as Subscription, after, upTo);
    assert.equal(portion.to, Math.min(stretch.to, upTo));
    const wanted = groups.filter(
      ({ key, end }) =>
        end > after &&
        end <= portion.to &&
        (which === 0 || choices[which]?.some((prefix) => key.startsWith(prefix))),
    );
    const given = portion.frames.messages.map(({ json }) => JSON.parse(json) as { key: string });
    assert.deepEqual(
      given.map(({ key }) => key),
      wanted.map(({ key }) => key),
    );
    assert.equal(portion.told ?? undefined, wanted.at(-1)?.end);
    assert.ok(stretches.memory <= MAX_STRETCH_MEMORY, `${stretches.memory} bytes`);
    assert.ok(stretches.messageMemory <= MAX_MESSAGE_MEMORY, `${stretches.messageMemory} bytes`);
  }
  assert.ok(stretches.messageMemory > MAX_MESSAGE_MEMORY / 2, 'the limit of messages was not reached');
  assert.ok(stretches.memory > MAX_STRETCH_MEMORY / 2, 'the limit was not reached');
});

test('where the stream is cut does not depend on how long the messages of others are', () => {
  const cuts = (character: string): readonly string[] => {
    const stage = new Stage(64 * MIB);
    const starts: number[] = [];
    for (let index = 0; index < 400; index += 1) {
      starts.push(stage.head.offset);
      const value = Buffer.alloc(30 * KIB, character);
      stage.commit({ kind: 'set', key: `k${index}`, value, expiresAt: null });
    }
    const everything = new Subscription(new Prefixes([]), stage.head.offset, 0);
    const stretches = new Stretches(stage.head);
    const seen: string[] = [];
    // Stretches are used again in another order, so that it shows which ones were dropped.
    for (const step of [1, 7, 3]) {
      for (let index = 0; index < starts.length; index += step) {
        const after = offset(starts[index] as number);
        const stretch = stretches.get(after, stage.head.offset) ?? stretches.read(after);
        stretches.portion(stretch, everything, after, stage.head.offset);
        seen.push(`${stretch.from} to ${stretch.to}`);
      }
    }
    return seen;
  };
  // As JSON, the second character is six times as long.
  assert.deepEqual(cuts('x'), cuts('\u0001'));
});
