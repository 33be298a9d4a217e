import assert from 'node:assert/strict';
import test from 'node:test';
import { Cursor, type CursorVerdict } from '../../src/client/cursor.ts';
import type { FeedEvent } from '../../src/client/event.ts';
import { set } from '../support/feed-model.ts';

const A = 'a'.repeat(40);
const B = 'b'.repeat(40);
const RESET: FeedEvent = { type: 'reset', position: `${A}:90`, reason: 'behind-backlog', keys: 1 };
const ENTRY: FeedEvent = {
  type: 'entry',
  key: 'k',
  value: 'v',
  encoding: 'utf8',
  version: 5,
  expiresAt: null,
};
const SYNCED: FeedEvent = { type: 'synced', position: `${A}:90` };
const WAITING: FeedEvent = { type: 'waiting' };
const TOO_FAR_BEHIND: FeedEvent = {
  type: 'error',
  code: 'TOO_FAR_BEHIND',
  detail: '',
  position: `${A}:80`,
};

function change(position: string): FeedEvent {
  return { ...set('k', 'v', 1), position };
}
function bookmark(position: string): FeedEvent {
  return { type: 'bookmark', position };
}
function continues(position: string): FeedEvent {
  return { type: 'continue', position };
}

type Case = readonly [
  name: string,
  asked: string | undefined,
  events: readonly (readonly [FeedEvent, CursorVerdict] | 'connected')[],
  resume: string | undefined,
];

const CASES: readonly Case[] = [
  ['nothing has come: what was asked for is asked for again', 'now', [], 'now'],
  ['`now` is resolved by `continue`', 'now', [[continues(`${A}:50`), 'deliver']], `${A}:50`],
  [
    'a change moves it, and a bookmark does',
    `${A}:50`,
    [
      [continues(`${A}:50`), 'deliver'],
      [change(`${A}:60`), 'deliver'],
      [bookmark(`${A}:70`), 'deliver'],
    ],
    `${A}:70`,
  ],
  [
    'a heartbeat at the same place is passed on; a change at the same place has been',
    `${A}:50`,
    [
      [continues(`${A}:50`), 'deliver'],
      [bookmark(`${A}:50`), 'deliver'],
      [change(`${A}:50`), 'drop'],
    ],
    `${A}:50`,
  ],
  [
    'what comes again is dropped, by number and not by text: 9 is before 50',
    `${A}:50`,
    [
      [continues(`${A}:50`), 'deliver'],
      [change(`${A}:9`), 'drop'],
      [bookmark(`${A}:49`), 'drop'],
      [change(`${A}:51`), 'deliver'],
    ],
    `${A}:51`,
  ],
  [
    'a history may get another run ID, before the connection or on it, and its offsets count on',
    `${A}:50`,
    [
      [continues(`${B}:50`), 'deliver'],
      [change(`${B}:60`), 'deliver'],
      [bookmark(`${A}:60`), 'deliver'],
      [change(`${A}:70`), 'deliver'],
      [continues(`${B}:80`), 'deliver'],
    ],
    `${B}:80`,
  ],
  ...[change(`${B}:59`), change(`${B}:60`), bookmark(`${B}:59`), continues(`${B}:59`)].map(
    (event): Case => [
      `another run ID whose offsets go back is of an unrelated history: ${event.type} ${JSON.stringify(event)}`,
      `${A}:50`,
      [
        [continues(`${A}:50`), 'deliver'],
        [change(`${A}:60`), 'deliver'],
        [event, 'violation'],
      ],
      `${A}:60`,
    ],
  ),
  ...[`${A}:49`, `${A}:51`, `${B}:51`, 'nonsense', ''].map(
    (position): Case => [
      `it continues elsewhere: ${position}`,
      `${A}:50`,
      [[continues(position), 'violation']],
      `${A}:50`,
    ],
  ),
  ['it continues what was not there', undefined, [[continues(`${A}:50`), 'violation']], undefined],
  ...[change('nonsense'), bookmark(`${A}:`), continues('now'), { ...RESET, position: `${A}:x` }].map(
    (event): Case => [
      `a position that is none: ${JSON.stringify(event)}`,
      `${A}:50`,
      [
        [continues(`${A}:50`), 'deliver'],
        [event as FeedEvent, 'violation'],
      ],
      `${A}:50`,
    ],
  ),
  [
    'the end of another snapshot',
    undefined,
    [
      [RESET, 'deliver'],
      [{ type: 'synced', position: `${A}:91` }, 'violation'],
    ],
    undefined,
  ],
  [
    'a snapshot that is put off has ended: the next one begins anew',
    `${A}:50`,
    [
      [RESET, 'deliver'],
      [WAITING, 'deliver'],
      [ENTRY, 'violation'],
    ],
    `${A}:50`,
  ],
  [
    'within a snapshot, the old position is the one to resume from',
    `${A}:50`,
    [
      [RESET, 'deliver'],
      [ENTRY, 'deliver'],
    ],
    `${A}:50`,
  ],
  [
    'without one, it is a snapshot again',
    undefined,
    [
      [RESET, 'deliver'],
      [ENTRY, 'deliver'],
    ],
    undefined,
  ],
  [
    'from `synced` on it is the new one, also if its number is smaller',
    `${A}:500`,
    [
      [RESET, 'deliver'],
      [ENTRY, 'deliver'],
      [SYNCED, 'deliver'],
      [change(`${A}:95`), 'deliver'],
    ],
    `${A}:95`,
  ],
  [
    'a cut snapshot is forgotten: the next connection may continue',
    `${A}:50`,
    [[RESET, 'deliver'], 'connected', [continues(`${A}:50`), 'deliver'], [change(`${A}:60`), 'deliver']],
    `${A}:60`,
  ],
  ['entries without a reset', `${A}:50`, [[ENTRY, 'violation']], `${A}:50`],
  ['synced without a reset', undefined, [[SYNCED, 'violation']], undefined],
  [
    'a change within a snapshot',
    `${A}:50`,
    [
      [RESET, 'deliver'],
      [change(`${A}:60`), 'violation'],
    ],
    `${A}:50`,
  ],
  [
    'a bookmark within a snapshot',
    `${A}:50`,
    [
      [RESET, 'deliver'],
      [bookmark(`${A}:60`), 'violation'],
    ],
    `${A}:50`,
  ],
  [
    'an error is not for the application',
    `${A}:50`,
    [[{ type: 'error', code: 'X', detail: '' }, 'drop']],
    `${A}:50`,
  ],
  [
    'who is let go for being slow goes on from where that was',
    `${A}:50`,
    [
      [continues(`${A}:50`), 'deliver'],
      [TOO_FAR_BEHIND, 'drop'],
    ],
    `${A}:80`,
  ],
  [
    'but not with a position of a history that nothing has announced',
    `${A}:50`,
    [
      [continues(`${A}:50`), 'deliver'],
      [{ ...TOO_FAR_BEHIND, position: `${B}:80` } as FeedEvent, 'drop'],
      [{ ...TOO_FAR_BEHIND, position: 'nonsense' } as FeedEvent, 'drop'],
    ],
    `${A}:50`,
  ],
  [
    'with one of a history that a change has announced',
    `${A}:50`,
    [
      [continues(`${A}:50`), 'deliver'],
      [change(`${B}:60`), 'deliver'],
      [{ ...TOO_FAR_BEHIND, position: `${B}:80` } as FeedEvent, 'drop'],
    ],
    `${B}:80`,
  ],
  ['but not before anything has come', `${A}:50`, [[TOO_FAR_BEHIND, 'drop']], `${A}:50`],
  [
    'and not from a place that it is past',
    `${A}:90`,
    [
      [continues(`${A}:90`), 'deliver'],
      [TOO_FAR_BEHIND, 'drop'],
    ],
    `${A}:90`,
  ],
  [
    'but not in the middle of a snapshot',
    `${A}:50`,
    [
      [RESET, 'deliver'],
      [TOO_FAR_BEHIND, 'drop'],
    ],
    `${A}:50`,
  ],
  ['waiting for a snapshot is told', undefined, [[{ type: 'waiting' }, 'deliver']], undefined],
];

for (const [name, asked, events, resume] of CASES) {
  test(`cursor: ${name}`, () => {
    let cursor = new Cursor(asked);
    for (const step of events) {
      if (step === 'connected') cursor = new Cursor(cursor.position);
      else assert.equal(cursor.take(step[0]), step[1], JSON.stringify(step[0]));
    }
    assert.equal(cursor.position, resume);
  });
}

test('cursor: in each state it takes the events of the protocol, and no others', () => {
  const events: Readonly<Record<FeedEvent['type'], FeedEvent>> = {
    reset: RESET,
    entry: ENTRY,
    synced: SYNCED,
    continue: continues(`${A}:50`),
    set: change(`${A}:60`),
    delete: { type: 'delete', key: 'k', position: `${A}:60` },
    expiry: { type: 'expiry', key: 'k', expiresAt: null, position: `${A}:60` },
    flush: { type: 'flush', position: `${A}:60` },
    batch: { type: 'batch', changes: [], position: `${A}:60` },
    bookmark: bookmark(`${A}:60`),
    waiting: WAITING,
    error: { type: 'error', code: 'X', detail: '' },
  };
  const taken = (...before: readonly FeedEvent[]): readonly string[] =>
    Object.entries(events).flatMap(([type, event]) => {
      const cursor = new Cursor(`${A}:50`);
      for (const each of before) cursor.take(each);
      return cursor.take(event) === 'violation' ? [] : [type];
    });
  const first = ['reset', 'continue', 'waiting', 'error'];
  assert.deepEqual(taken(), first);
  assert.deepEqual(taken(WAITING), first);
  assert.deepEqual(taken(RESET), ['reset', 'entry', 'synced', 'continue', 'waiting', 'error']);
  const changes = ['set', 'delete', 'expiry', 'flush', 'batch'];
  assert.deepEqual(taken(continues(`${A}:50`)), [
    'reset',
    'continue',
    ...changes,
    'bookmark',
    'waiting',
    'error',
  ]);
});

test('cursor: a snapshot has as many entries as announced, with some room for writes', () => {
  const received = (keys: number): number => {
    const cursor = new Cursor();
    cursor.take({ type: 'reset', position: `${A}:90`, reason: 'first-sync', keys });
    let count = 0;
    while (count < 100_000 && cursor.take({ ...ENTRY, key: `${count}` } as FeedEvent) === 'deliver')
      count += 1;
    return count;
  };
  assert.deepEqual([0, 2, 10_000].map(received), [1_000, 1_004, 21_000]);
});

test('cursor: snapshots that begin again and again, and never end, are a violation', () => {
  const begun = (cursor: Cursor, between: readonly FeedEvent[]): number => {
    let count = 0;
    while (count < 1_000 && cursor.take(RESET) === 'deliver') {
      count += 1;
      for (const event of between) cursor.take(event);
    }
    return count;
  };
  for (const between of [[], [ENTRY], [WAITING], [ENTRY, continues(`${A}:50`)]]) {
    assert.equal(begun(new Cursor(`${A}:50`), between), 16, JSON.stringify(between));
  }
  assert.equal(begun(new Cursor(), [ENTRY, SYNCED]), 1_000);
});
