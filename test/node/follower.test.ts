/** The phases and places of one follower: every event in every phase. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { Prefixes } from '../../src/keyspace/prefixes.ts';
import type { FeedRequest } from '../../src/node/feed/feed-request.ts';
import { Follower } from '../../src/node/feed/followers/follower.ts';
import {
  FOLLOWER_TRANSITIONS,
  type FollowerEvent,
  type FollowerPhase,
} from '../../src/node/feed/followers/follower-phase.ts';
import { Subscription } from '../../src/node/feed/followers/subscription.ts';
import { Frames } from '../../src/node/feed/messages/frames.ts';
import { bookmarkMessage } from '../../src/node/feed/messages/message.ts';
import { offset } from '../../src/replication/position.ts';
import { parseFeedRequest } from '../../src/web/feed-query.ts';
import { FakeSocket, FakeWorld } from '../support/feed-stage.ts';
import { seeded } from '../support/random.ts';

const AT = offset(100);
const HEAD = offset(150);

function newFollower(query = 'position=now'): {
  readonly follower: Follower;
  readonly world: FakeWorld;
  readonly moves: FollowerPhase[];
} {
  const world = new FakeWorld();
  const moves: FollowerPhase[] = [];
  const subscription = new Subscription(new Prefixes(['']), AT, world.monotonic());
  const follower = new Follower(
    parseFeedRequest(`/?${query}`) as FeedRequest,
    new FakeSocket(),
    subscription,
    AT,
    {
      monotonic: () => world.monotonic(),
      after: (delayMs, callback) => world.after(delayMs, callback),
      moved: ({ phase }) => moves.push(phase),
      overdue: () => undefined,
      sent: () => undefined,
      drained: () => undefined,
      closed: () => undefined,
    },
  );
  return { follower, world, moves };
}

const EVENTS: Readonly<Record<FollowerEvent, (follower: Follower) => void>> = {
  awaitSnapshot: (follower) => follower.awaitSnapshot('first-sync'),
  startSnapshot: (follower) => follower.startSnapshot(AT),
  finishSnapshot: (follower) => follower.finishSnapshot(HEAD),
  resumeAt: (follower) => follower.resumeAt(AT, HEAD),
  fallBehind: (follower) => follower.fallBehind(AT, AT),
  goLive: (follower) => follower.goLive(),
  close: (follower) => follower.close(),
};
/** Events that lead a new follower to each phase. */
const WAYS: Readonly<Record<FollowerPhase, readonly FollowerEvent[]>> = {
  waiting: [],
  snapshot: ['startSnapshot'],
  behind: ['resumeAt'],
  live: ['resumeAt', 'goLive'],
  closed: ['close'],
};
/** The events that a phase allows; all others are impossible. */
const ALLOWED: Readonly<Record<FollowerPhase, Partial<Record<FollowerEvent, FollowerPhase>>>> = {
  waiting: { awaitSnapshot: 'waiting', startSnapshot: 'snapshot', resumeAt: 'behind', close: 'closed' },
  snapshot: { awaitSnapshot: 'waiting', finishSnapshot: 'behind', close: 'closed' },
  behind: { awaitSnapshot: 'waiting', resumeAt: 'behind', goLive: 'live', close: 'closed' },
  live: { fallBehind: 'behind', close: 'closed' },
  closed: {
    awaitSnapshot: 'closed',
    startSnapshot: 'closed',
    finishSnapshot: 'closed',
    resumeAt: 'closed',
    fallBehind: 'closed',
    goLive: 'closed',
    close: 'closed',
  },
};
const phases = Object.keys(WAYS) as FollowerPhase[];
const events = Object.keys(EVENTS) as FollowerEvent[];

for (const phase of phases) {
  test(`a follower in phase ${phase} takes exactly the events that the table allows`, () => {
    for (const event of events) {
      const { follower, moves } = newFollower();
      for (const step of WAYS[phase]) EVENTS[step](follower);
      assert.equal(follower.phase, phase);
      moves.length = 0;
      const next = ALLOWED[phase][event];
      assert.equal(FOLLOWER_TRANSITIONS[phase][event], next ?? 'impossible');
      if (next === undefined) {
        assert.throws(() => EVENTS[event](follower), /is impossible for a follower in phase/, event);
        assert.equal(follower.phase, phase, event);
      } else {
        EVENTS[event](follower);
        assert.equal(follower.phase, next, event);
      }
      // Its owner hears of each move, and of nothing else.
      assert.deepEqual(moves, next === undefined || phase === 'closed' ? [] : [next], event);
    }
  });
}

test('a closed follower keeps its place, its snapshot number and its reason, whatever happens', () => {
  const { follower } = newFollower();
  follower.resumeAt(AT, HEAD);
  follower.close();
  const state = (): unknown => [follower.cursor, follower.told, follower.announcedHead, follower.snapshot];
  const before = state();
  follower.awaitSnapshot('behind-backlog');
  follower.startSnapshot(HEAD);
  follower.finishSnapshot(HEAD);
  follower.resumeAt(HEAD, HEAD);
  follower.fallBehind(HEAD, HEAD);
  assert.deepEqual(state(), before);
  assert.equal(follower.reason, 'first-sync');
});

test('a follower that resumes knows its place, and the head that it is to reach', () => {
  const { follower } = newFollower();
  follower.resumeAt(AT, HEAD);
  assert.deepEqual([follower.cursor, follower.told, follower.announcedHead], [AT, AT, HEAD]);
});

test('a follower may lag by what was written during its snapshot, until it is live', () => {
  const { follower } = newFollower();
  follower.startSnapshot(AT);
  follower.finishSnapshot(HEAD);
  assert.deepEqual([follower.cursor, follower.told, follower.announcedHead], [AT, AT, AT]);
  assert.equal(follower.extraLagBytes, HEAD - AT);
  follower.goLive();
  assert.equal(follower.extraLagBytes, 0);
});

test('a follower may lag by what was written while it was away, until it is within the limit again', () => {
  const { follower } = newFollower();
  follower.resumeAt(AT, HEAD);
  assert.equal(follower.extraLagBytes, HEAD - AT);
  follower.withinLimit();
  assert.equal(follower.extraLagBytes, 0);
});

test('a new snapshot makes the readers of the earlier one stop', () => {
  const { follower } = newFollower();
  follower.awaitSnapshot('first-sync');
  const { snapshot } = follower;
  follower.awaitSnapshot('first-sync');
  assert.notEqual(follower.snapshot, snapshot);
});

test('a follower that is closed leaves no timer of its long poll', () => {
  const { follower, world } = newFollower('position=now&wait=5');
  follower.startWait();
  assert.equal(world.timers, 1);
  follower.close();
  assert.equal(world.timers, 0);
});

test('a follower that catches up was never told a position past its place', () => {
  const { random, seed } = seeded();
  const below = (count: number): number => Math.floor(random() * count);
  const { follower } = newFollower();
  follower.resumeAt(AT, HEAD);
  for (let step = 0; step < 1_000; step += 1) {
    const { cursor, told } = follower;
    const to = offset(cursor + below(50));
    const isSilent = below(2) === 0;
    if (below(3) === 0) follower.tellPlace(bookmarkMessage(`${cursor}`));
    else follower.take({ after: cursor, to, frames: new Frames([]), told: isSilent ? null : to });
    assert.ok(follower.told <= follower.cursor, `step ${step}, PSYNCD_SEED=${seed}`);
    assert.ok(follower.told >= told && follower.cursor >= cursor, `step ${step}, PSYNCD_SEED=${seed}`);
  }
});
