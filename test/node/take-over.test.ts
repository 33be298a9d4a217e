/** How many requests to take over wait for the master of a replica at the same time. */
import assert from 'node:assert/strict';
import test from 'node:test';
import type { StreamHead } from '../../src/node/head/stream-head.ts';
import type { Peer } from '../../src/node/ports/peers.ts';
import { TakeOvers } from '../../src/node/role/take-over.ts';
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
    state: { upstream: 'ws://master:1' },
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
