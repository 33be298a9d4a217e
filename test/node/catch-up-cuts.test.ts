/**
 * Where the portions of a follower end, and with them its long polls, bookmarks and sends: others must not see in them from which
 * positions a client has resumed, because it resumes at the ends of writes under its prefixes.
 */
import assert from 'node:assert/strict';
import test from 'node:test';
import { Prefixes } from '../../src/keyspace/prefixes.ts';
import type { FeedRequest } from '../../src/node/feed/feed-request.ts';
import { STRETCH_BYTES } from '../../src/node/feed/followers/stretch.ts';
import { Stretches } from '../../src/node/feed/followers/stretches.ts';
import { Subscription } from '../../src/node/feed/followers/subscription.ts';
import { type Offset, ZERO } from '../../src/replication/position.ts';
import type { Command } from '../../src/stream/command.ts';
import { Encoder } from '../../src/stream/encoder.ts';
import { parseFeedRequest } from '../../src/web/feed-query.ts';
import { FakeSocket, KIB, keyspaceAt, MIB, RUN_ID, Stage } from '../support/feed-stage.ts';
import type { FeedEvent } from '../support/follower.ts';
import { seeded } from '../support/random.ts';

type Write = readonly Command[];

function set(key: string, bytes: number): Command {
  return { kind: 'set', key, value: Buffer.alloc(bytes, 'x'), expiresAt: null };
}

/** Commits the writes together: they are one row of the journal. @returns the ends of the writes */
function commit(stage: Stage, writes: readonly Write[]): readonly Offset[] {
  const encoder = new Encoder();
  for (const write of writes) {
    if (write.length > 1) encoder.beginTransaction();
    for (const command of write) encoder.add(command);
    if (write.length > 1) encoder.endTransaction();
  }
  const run = encoder.finish();
  const from = stage.head.offset;
  stage.head.commit(run);
  return run.boundaries.map((at) => (from + at) as Offset);
}

interface Randomly {
  below(limit: number): number;
  one<T>(of: readonly T[]): T;
}

function randomly(random: () => number): Randomly {
  const below = (limit: number): number => Math.floor(random() * limit);
  return { below, one: (of) => of[below(of.length)] as (typeof of)[number] };
}

/** Small writes, batches of many keys, and few writes of several blocks; some of them are under `own:`. */
function someWrites({ below, one }: Randomly, count: number): readonly Write[] {
  const key = (): string => `${one(['own:', 'a:', 'b:', 'c'])}${below(40)}`;
  return Array.from({ length: count }, () => {
    const kind = below(60);
    if (kind === 0) return [set(key(), one([70, 300]) * KIB)];
    if (kind < 8) return Array.from({ length: 2 + below(100) }, () => set(key(), below(100)));
    if (kind < 12) return [{ kind: 'del', keys: [key(), key()] }];
    return [set(key(), one([10, 500, 2_000]))];
  });
}

/** What one send has: the types of its events, and the offsets that they name. */
function shown(frames: Buffer): string {
  const events = frames.toString('utf8').trimEnd().split('\n');
  return events
    .map((line) => JSON.parse(line) as FeedEvent)
    .map(({ type, position }) => `${type} ${position?.split(':')[1]}`)
    .join(', ');
}

/** A socket that notes what it is sent at a time. */
class NotingSocket extends FakeSocket {
  readonly sends: string[] = [];

  override send(frames: Buffer): void {
    this.sends.push(shown(frames));
    super.send(frames);
  }

  override close(code: number, reason: string): void {
    this.sends.push(`closed with ${code}`);
    super.close(code, reason);
  }
}

/** @returns what the follower is sent at a time, which grows */
function follow(stage: Stage, query: string): readonly string[] {
  const socket = new NotingSocket();
  stage.feed.attach(parseFeedRequest(`/?${query}`) as FeedRequest, socket);
  return socket.sends;
}

function stageOf(keep: 'backlog' | 'journal', writes: readonly (readonly Write[])[]): [Stage, Offset[]] {
  const keyspace = keyspaceAt({ runId: RUN_ID, offset: ZERO }, new Map());
  const stage = new Stage(keep === 'backlog' ? 64 * MIB : 64 * KIB, keyspace, [], 64 * MIB);
  return [stage, writes.flatMap((row) => [...commit(stage, row)])];
}

for (const keep of ['backlog', 'journal'] as const) {
  test(`what a follower is sent at a time, from the ${keep}, does not depend on which positions others resume from`, async (t) => {
    const { seed, random } = seeded();
    t.diagnostic(`PSYNCD_SEED=${seed}`);
    const some = randomly(random);
    for (let round = 0; round < 6; round += 1) {
      const writes = someWrites(some, 200 + some.below(400));
      const rows = (): Write[][] => {
        const all: Write[][] = [];
        for (let at = 0; at < writes.length; ) {
          const until = at + 1 + some.below(some.one([1, 5, 60]));
          all.push(writes.slice(at, until));
          at = until;
        }
        return all;
      };
      const [alone, ends] = stageOf(keep, rows());
      const [crowded] = stageOf(keep, rows());
      assert.equal(crowded.head.offset, alone.head.offset);
      const place = (): number => some.one([0, ...ends]);
      const query = `position=${RUN_ID}:${some.one([0, place()])}&prefix=${some.one(['own:', 'none:'])}${some.one(['', '&wait=0', '&limit=20'])}`;
      const wanted = follow(alone, query);
      await alone.world.settle();
      // Keeps what has been decoded.
      crowded.follow('position=now&prefix=live:');
      const other = (): void => {
        const prefix = some.one(['prefix=a:', 'prefix=b:&prefix=c', 'prefix=', 'prefix=none']);
        crowded.follow(
          `position=${RUN_ID}:${place()}&${prefix}${some.one(['', '&wait=0'])}`,
          some.below(3) === 0,
          `client ${some.below(5)}`,
        );
      };
      for (let count = some.below(6); count > 0; count -= 1) {
        other();
        if (some.below(2) === 0) await crowded.world.turn();
      }
      const got = follow(crowded, query);
      for (let count = some.below(4); count > 0; count -= 1) {
        other();
        await crowded.world.turn();
      }
      await crowded.world.settle();
      assert.deepEqual(got, wanted, `round ${round}: ${query}`);
    }
  });
}

for (const keep of ['backlog', 'journal'] as const) {
  test(`a portion from the ${keep} ends at the first end of a write after the block of the cursor, or at the head, whatever is kept`, (t) => {
    const { seed, random } = seeded();
    t.diagnostic(`PSYNCD_SEED=${seed}`);
    const some = randomly(random);
    const none = new Prefixes(['none:']);
    for (let round = 0; round < 6; round += 1) {
      const [stage, ends] = stageOf(keep, []);
      const { head } = stage;
      const limits = {
        memory: some.one([0, 200 * KIB, 16 * MIB]),
        messageMemory: some.one([0, 200 * KIB, 16 * MIB]),
        stretches: some.one([1, 3, 512]),
      };
      const stretches = new Stretches(head, limits);
      const subscriptions = [none, new Prefixes([]), new Prefixes(['own:'])].map((prefixes) => {
        const subscription = new Subscription(prefixes, head.offset, 0);
        // As if two followed: what they are given is kept for both.
        Object.defineProperty(subscription.members, 'size', { value: 2 });
        return subscription;
      });
      const cursors: Offset[] = [ZERO, ZERO, ZERO];
      for (let step = 0; step < 250; step += 1) {
        if (some.below(3) === 0) ends.push(...commit(stage, someWrites(some, 1 + some.below(20))));
        const which = some.below(6);
        const cursor = cursors[which] ?? some.one([ZERO, ...ends]);
        const upTo = some.below(5) === 0 ? some.one([ZERO, ...ends]) : head.offset;
        if (cursor >= upTo) continue;
        const stretch = stretches.get(cursor, upTo) ?? stretches.read(cursor);
        const subscription = some.one(subscriptions);
        const portion =
          stretch.sharedPortion(subscription, cursor, upTo) ??
          stretches.portion(stretch, subscription, cursor, upTo);
        const blockEnd = (Math.floor(cursor / STRETCH_BYTES) + 1) * STRETCH_BYTES;
        assert.equal(portion.to, Math.min(ends.find((end) => end >= blockEnd) ?? upTo, upTo));
        if (which < cursors.length) cursors[which] = portion.to;
        if (subscription !== subscriptions[1]) continue;
        const told = portion.frames.messages.map(({ position }) => Number(position?.split(':')[1]));
        const wanted = ends.filter((end) => end > cursor && end <= portion.to);
        assert.deepEqual(told, wanted);
      }
      assert.ok(stretches.memory >= 0 && stretches.messageMemory >= 0);
    }
  });
}

test('writes at the head are joined to few segments, and each byte is decoded once for followers that ride there', () => {
  const stage = new Stage(64 * MIB);
  const stretches = new Stretches(stage.head);
  for (let index = 0; index < 3_000; index += 1) {
    const before = stage.head.offset;
    stage.set(`k${index}`, 100);
    const stretch = stretches.get(before, stage.head.offset) ?? stretches.read(before);
    assert.equal(stretch.to, stage.head.offset);
    assert.ok(stretch.segments <= 12, `${stretch.segments} segments`);
  }
  assert.equal(stretches.readBytes, stage.head.offset);
});

test('rows of the journal that are longer than a block are read once', () => {
  const [stage] = stageOf('journal', []);
  const writes = Array.from({ length: 4_000 }, (_, index) => [set(`k${index}`, 200)]);
  for (let row = 0; row < 4; row += 1) commit(stage, writes);
  const { head } = stage;
  let readBytes = 0;
  const read = head.read.bind(head);
  head.read = (after, enoughBytes) => {
    const bytes = read(after, enoughBytes);
    readBytes += bytes.length;
    return bytes;
  };
  const stretches = new Stretches(head);
  for (let at = ZERO; at < head.offset; at = stretches.read(at).to);
  assert.ok(readBytes <= 1.1 * head.offset, `${readBytes} bytes read, of ${head.offset}`);
});
