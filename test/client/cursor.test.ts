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
      [bookmark(`${A}:50`), 'deliver'],
      [change(`${A}:50`), 'drop'],
    ],
    `${A}:50`,
  ],
  [
    'what comes again is dropped, by number and not by text: 9 is before 50',
    `${A}:50`,
    [
      [change(`${A}:9`), 'drop'],
      [bookmark(`${A}:49`), 'drop'],
      [change(`${A}:51`), 'deliver'],
    ],
    `${A}:51`,
  ],
  [
    'offsets of another run ID say nothing',
    `${A}:50`,
    [
      [continues(`${B}:50`), 'deliver'],
      [change(`${B}:60`), 'deliver'],
    ],
    `${B}:60`,
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
    [[{ type: 'error', code: 'TOO_FAR_BEHIND', detail: '', position: `${A}:80` }, 'drop']],
    `${A}:80`,
  ],
  [
    'but not in the middle of a snapshot',
    `${A}:50`,
    [
      [RESET, 'deliver'],
      [{ type: 'error', code: 'TOO_FAR_BEHIND', detail: '', position: `${A}:80` }, 'drop'],
    ],
    `${A}:50`,
  ],
  ['waiting for a snapshot is told', undefined, [[{ type: 'waiting' }, 'deliver']], undefined],
];

for (const [name, asked, events, resume] of CASES) {
  test(`cursor: ${name}`, () => {
    const cursor = new Cursor(asked);
    for (const step of events) {
      if (step === 'connected') cursor.connected();
      else assert.equal(cursor.take(step[0]), step[1], JSON.stringify(step[0]));
    }
    assert.equal(cursor.position, resume);
  });
}
