/** A short run of `npm run hostile`. `PSYNCD_SEED=N` repeats it. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { attack, KINDS } from './attack.ts';

const SEED = Number(process.env.PSYNCD_SEED ?? Date.now() % 1_000_000);
const ROUNDS = 60;
/** Beside other tests the processor's caches are cold, and the machine may be slow; `npm run hostile` allows 250 ms. */
const MAX_STALL_MS = 1_000;

test('hostile requests, peers and clients cannot end a node, stall it, make it grow without bound or mislead it', async (t) => {
  t.diagnostic(`PSYNCD_SEED=${SEED}`);
  const { findings, rounds, longestStallMs, peakBytes } = await attack(
    SEED,
    (count) => count < ROUNDS,
    KINDS,
    MAX_STALL_MS,
  );
  t.diagnostic(
    `${JSON.stringify(rounds)}, stall ${longestStallMs} ms, peak ${Math.round(peakBytes / 1024 ** 2)} MiB`,
  );
  assert.equal(
    [...findings].map(([kind, detail]) => `${kind}\n${detail}`).join('\n\n'),
    '',
    `PSYNCD_SEED=${SEED}`,
  );
});
