/** What a replica knows when it is asked to take over, and how many requests wait for its master at the same time. */
import assert from 'node:assert/strict';
import test from 'node:test';
import type { StreamHead } from '../../src/node/head/stream-head.ts';
import type { Peer } from '../../src/node/ports/peers.ts';
import { TakeOvers, takeOverAnswer } from '../../src/node/role/take-over.ts';
import type { Session } from '../../src/node/session/session.ts';
import type { Offset, Position, RunId } from '../../src/replication/position.ts';

const RUN_ID = 'a'.repeat(40) as RunId;
const POSITION: Position = { runId: RUN_ID, offset: 5 as Offset };
const MASTER: Peer = { nodeId: 'm', upstream: null, handsOverTo: 'n', position: `${RUN_ID}:5` };

type Parts = ConstructorParameters<typeof TakeOvers>[0];

/** A replica whose master answers when the test says so. */
function replica() {
  const answers: ((peer: Peer | null) => void)[] = [];
  const head = { position: POSITION, history: { runId: RUN_ID, lineage: [] }, hash: null };
  const parts = {
    ask: () => new Promise<Peer | null>((resolve) => answers.push(resolve)),
    head: head as unknown as StreamHead,
    nodeId: 'n',
    state: { upstream: 'ws://master:1', isCopy: false },
    hasStreamed: () => false,
  } as unknown as Parts;
  const takeOvers = new TakeOvers(parts);
  const request = (client: string, status: object | null = {}) => {
    const session = { gate: { client }, nodeId: 'm', status } as unknown as Session;
    return takeOvers.answer('replica', { position: POSITION, hash: null, session });
  };
  return { answers, request };
}

test('a request of one client does not keep away a request of another one', async () => {
  const { answers, request } = replica();
  const liar = request('liar');
  const again = await request('liar');
  assert.match(again.kind === 'refused' ? again.line : '', /^-LOADING another request/);
  const honest = request('honest');
  assert.equal(answers.length, 2);
  answers[1]?.(MASTER);
  assert.deepEqual(await honest, { kind: 'take-over' });
  answers[0]?.(null);
  assert.equal((await liar).kind, 'refused');
  const later = request('liar');
  assert.equal(answers.length, 3, 'a request that is answered keeps no place');
  answers[2]?.(null);
  await later;
});

test('eight requests wait for the master at most, whatever tokens bring them', async () => {
  const { answers, request } = replica();
  const waiting = Array.from({ length: 8 }, (_, index) => request(`token ${index}`));
  const ninth = await request('token 8');
  assert.match(ninth.kind === 'refused' ? ninth.line : '', /^-LOADING/);
  assert.equal(answers.length, 8);
  for (const answer of answers) answer(null);
  await Promise.all(waiting);
});

test('a request whose session has ended asks the master nothing', async () => {
  const { answers, request } = replica();
  assert.equal((await request('gone', null)).kind, 'refused');
  assert.equal(answers.length, 0);
});

const BEFORE = 'b'.repeat(40) as RunId;
const AFTER = 'c'.repeat(40) as RunId;
const FRESH = { isCopy: false, streamed: false };

/** What a node says at once that stands there; null: it asks its master. */
function answerAt(
  [runId, offset]: readonly [RunId, number],
  { isCopy, streamed }: typeof FRESH,
  lineage: readonly (readonly [RunId, number])[] = [],
): string | null {
  const history = { runId, lineage: lineage.map(([id, validTo]) => ({ runId: id, validTo })) };
  const head = { position: { runId, offset }, history, hash: null } as unknown as StreamHead;
  const state = { upstream: 'ws://master:1', isCopy };
  const session = { status: {} } as unknown as Session;
  const known = { head, state, hasStreamed: (id: RunId) => streamed && id === runId };
  const answer = takeOverAnswer(known, 'replica', { position: POSITION, hash: null, session });
  return answer?.kind === 'refused' ? answer.line : (answer?.kind ?? null);
}

for (const [where, place] of [
  ['at an earlier offset', [RUN_ID, 3]],
  ['in the history before', [BEFORE, 5]],
  ['in another history', [AFTER, 9]],
  ['at the beginning', [BEFORE, 0]],
] as const) {
  test(`a node that is asked to take over and stands ${where} does not refuse: it may have been the master and may not know it`, () => {
    assert.match(answerAt(place, FRESH) ?? '', /^-LOADING FAILOVER .*may have become the master in between/);
  });
}

test('a node whose history has left that of the request neither refuses nor takes over', () => {
  assert.match(answerAt([AFTER, 9], FRESH, [[RUN_ID, 4]]) ?? '', /^-LOADING FAILOVER/);
  assert.equal(answerAt([AFTER, 9], FRESH, [[RUN_ID, 5]]), 'taken-over');
});

test('a node whose folder was put back neither refuses nor takes over, wherever it stands', () => {
  for (const offset of [3, 5, 7]) {
    assert.match(
      answerAt([RUN_ID, offset], { ...FRESH, isCopy: true }) ?? '',
      /^-LOADING FAILOVER: .* a copy/,
    );
  }
});

test('a node that knows it has not been the master refuses', () => {
  assert.match(answerAt([RUN_ID, 3], { ...FRESH, streamed: true }) ?? '', /^-ERR FAILOVER at /);
  assert.match(answerAt([RUN_ID, 7], FRESH) ?? '', /^-ERR FAILOVER at /);
  assert.equal(answerAt([RUN_ID, 5], FRESH), null);
});
