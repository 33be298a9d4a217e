import test from 'node:test';
import { seeded } from '../support/random.ts';
import { chaos } from './chaos.ts';
import { folders } from './folders.ts';

const KILLS = 6;
const ROUNDS = 3;

test(`after ${KILLS} kills, stops, cuts, promotions and hand-overs under writers, no answered write is lost and all nodes are equal`, async (t) => {
  const chance = seeded();
  t.diagnostic(`PSYNCD_SEED=${chance.seed}`);
  await chaos(chance, KILLS, (line) => t.diagnostic(line));
});

test(`after ${ROUNDS} rounds of copies, restores, roll-backs and clones under writers, no position has two contents`, async (t) => {
  const chance = seeded();
  t.diagnostic(`PSYNCD_SEED=${chance.seed}`);
  await folders(chance, ROUNDS, (line) => t.diagnostic(line));
});
