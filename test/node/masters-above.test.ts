/** How many looks at the masters above a node wait for its master at the same time. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { MastersAbove } from '../../src/node/link/masters-above.ts';
import type { Peer } from '../../src/node/ports/peers.ts';

const URL = 'ws://master:1';
const ALONE = [{ url: URL, nodeId: null }];
const ANSWERED = [{ url: URL, nodeId: 'm' }];

/** A replica whose master answers when the test says so. */
function replica() {
  const answers: ((peer: Peer | null) => void)[] = [];
  const above = new MastersAbove({
    nodeId: 'n',
    ask: () => new Promise<Peer | null>((resolve) => answers.push(resolve)),
    state: { upstream: URL } as ConstructorParameters<typeof MastersAbove>[0]['state'],
  });
  return { answers, look: (client: string) => above.look(['a'], client) };
}

test('looks of one client, however many, do not keep away a look of another one', async () => {
  const { answers, look } = replica();
  const greedy = Array.from({ length: 100 }, () => look('greedy'));
  assert.equal(answers.length, 4);
  assert.deepEqual(await greedy[4], ALONE);
  const honest = look('honest');
  assert.equal(answers.length, 5);
  answers[4]?.({ nodeId: 'm', upstream: null });
  assert.deepEqual(await honest, ANSWERED);
  for (const answer of answers) answer(null);
  await Promise.all(greedy);
  const later = look('greedy');
  assert.equal(answers.length, 6, 'a look that has ended keeps no place');
  answers[5]?.({ nodeId: 'm', upstream: null });
  assert.deepEqual(await later, ANSWERED);
});

test('32 looks wait for the master at most, whatever clients there are', async () => {
  const { answers, look } = replica();
  const waiting = Array.from({ length: 32 }, (_, index) => look(`client ${index}`));
  assert.deepEqual(await look('one more'), ALONE);
  assert.equal(answers.length, 32);
  for (const answer of answers) answer(null);
  await Promise.all(waiting);
});

test('a look that fails keeps no place', async () => {
  let asked = 0;
  const above = new MastersAbove({
    nodeId: 'n',
    ask: () => {
      asked += 1;
      return Promise.reject(new Error('planned'));
    },
    state: { upstream: URL } as ConstructorParameters<typeof MastersAbove>[0]['state'],
  });
  for (let count = 1; count <= 10; count += 1) {
    await assert.rejects(above.look(['a'], 'client'), /planned/);
    assert.equal(asked, count);
  }
});
