import test from 'node:test';
import { seeded } from '../support/random.ts';
import { chaos } from './chaos.ts';
import { folders } from './folders.ts';

const KILLS = 8;
const ROUNDS = 4;

test(`${KILLS} kills, stops, cuts, promotions and hand-overs under writers: nothing answered is lost, nobody diverges`, async (t) => {
  const chance = seeded();
  t.diagnostic(`PSYNCD_SEED=${chance.seed}`);
  await chaos(chance, KILLS, (line) => t.diagnostic(line));
});

test(`${ROUNDS} rounds of copies, restores, roll-backs and clones under writers: no position has two contents`, async (t) => {
  const chance = seeded();
  t.diagnostic(`PSYNCD_SEED=${chance.seed}`);
  await folders(chance, ROUNDS, (line) => t.diagnostic(line));
});
