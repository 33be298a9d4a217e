/** The states of a hand-over: what each event does in each state, as one table. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { Problem } from '../../src/node/problem.ts';
import {
  type HandOver,
  type HandOverEvent,
  handOverStatus,
  handOverStep,
} from '../../src/node/role/hand-over.ts';

const TARGET = 'ws://target:1';
const FAILED = new Problem('FAILOVER_ABORTED', 'it was aborted');

const STATES = {
  none: { kind: 'none' },
  choosing: { kind: 'choosing', to: null },
  waiting: { kind: 'waiting', to: null },
  asked: { kind: 'asked', to: TARGET },
  'ended early': { kind: 'ended', status: { state: 'waiting-for-sync', to: null }, problem: FAILED },
  'ended late': { kind: 'ended', status: { state: 'in-progress', to: TARGET }, problem: null },
} as const satisfies Readonly<Record<string, HandOver>>;

const EVENTS = {
  begin: { kind: 'begin', to: TARGET },
  chosen: { kind: 'chosen' },
  'caught-up': { kind: 'caught-up', target: TARGET },
  gone: { kind: 'gone' },
  'took-over': { kind: 'took-over' },
  'target-refused': { kind: 'target-refused', detail: 'it is elsewhere' },
  'timed-out': { kind: 'timed-out', timeoutMs: 50 },
  abort: { kind: 'abort' },
  stop: { kind: 'stop' },
  over: { kind: 'over' },
} as const satisfies { readonly [E in HandOverEvent['kind']]: Extract<HandOverEvent, { kind: E }> };

/** `=` stays; `!CODE` is refused; `+` ends well; `-CODE` ends with this problem; otherwise the kind of the next state. */
const EXPECTED: Readonly<Record<keyof typeof STATES, readonly string[]>> = {
  // begin, chosen, caught-up, gone, took-over, target-refused, timed-out, abort, stop, over
  none: ['choosing', '=', '=', '=', '=', '=', '=', '!FAILOVER_REFUSED', '=', 'none'],
  choosing: [
    '!FAILOVER_REFUSED',
    'waiting',
    '=',
    '=',
    '=',
    '=',
    '-FAILOVER_TIMED_OUT',
    '-FAILOVER_ABORTED',
    '-FAILOVER_ABORTED',
    'none',
  ],
  waiting: [
    '!FAILOVER_REFUSED',
    '=',
    'asked',
    '-FAILOVER_REFUSED',
    '=',
    '=',
    '-FAILOVER_TIMED_OUT',
    '-FAILOVER_ABORTED',
    '-FAILOVER_ABORTED',
    'none',
  ],
  asked: [
    '!FAILOVER_REFUSED',
    '=',
    '=',
    '=',
    '+',
    '-FAILOVER_REFUSED',
    '-FAILOVER_TIMED_OUT',
    '!FAILOVER_REFUSED',
    '-SHUTTING_DOWN',
    'none',
  ],
  'ended early': ['!FAILOVER_REFUSED', '=', '=', '=', '=', '=', '=', '=', '=', 'none'],
  'ended late': ['!FAILOVER_REFUSED', '=', '=', '=', '=', '=', '=', '!FAILOVER_REFUSED', '=', 'none'],
};

function told(before: HandOver, next: HandOver | Problem): string {
  if (next instanceof Problem) return `!${next.code}`;
  if (next === before) return '=';
  if (next.kind !== 'ended') return next.kind;
  return next.problem === null ? '+' : `-${next.problem.code}`;
}

test('a hand-over does in each state with each event what its table says', () => {
  for (const [name, state] of Object.entries(STATES)) {
    const found = Object.values(EVENTS).map((event) => told(state, handOverStep(state, event)));
    assert.deepEqual(found, EXPECTED[name as keyof typeof STATES], name);
  }
});

test('users see a hand-over until its caller has the outcome, and see how far it came', () => {
  let state: HandOver = STATES.none;
  const seen = [handOverStatus(state)];
  for (const event of [EVENTS.begin, EVENTS.chosen, EVENTS['caught-up'], EVENTS['took-over'], EVENTS.over]) {
    const next = handOverStep(state, event);
    assert.ok(!(next instanceof Problem));
    state = next;
    seen.push(handOverStatus(state));
  }
  const waiting = { state: 'waiting-for-sync', to: TARGET };
  const asked = { state: 'in-progress', to: TARGET };
  assert.deepEqual(seen, [null, waiting, waiting, asked, asked, null]);
});

test('an aborted hand-over never asks the target, even if the target catches up at the same moment', () => {
  const aborted = handOverStep(STATES.waiting, EVENTS.abort);
  assert.ok(!(aborted instanceof Problem));
  assert.equal(handOverStep(aborted, EVENTS['caught-up']), aborted);
});
