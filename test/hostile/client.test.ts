/** A short run of `npm run hostile -- --kinds client`. `PSYNCD_SEED=N` repeats it. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { attackClient } from './client/attack-client.ts';

const SEED = Number(process.env.PSYNCD_SEED ?? Date.now() % 1_000_000);
const ROUNDS = 8;

test('hostile nodes cannot mislead a mirror or a follower, keep it from ending, or make it hurry', async (t) => {
  t.diagnostic(`PSYNCD_SEED=${SEED}`);
  const { findings, connections, peakBytes } = await attackClient(SEED, ROUNDS);
  t.diagnostic(`${connections} connections, peak ${Math.round(peakBytes / 1024 ** 2)} MiB`);
  assert.equal(
    [...findings].map(([kind, detail]) => `${kind}\n${detail}`).join('\n\n'),
    '',
    `PSYNCD_SEED=${SEED}`,
  );
});
