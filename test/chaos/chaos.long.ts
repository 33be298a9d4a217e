import test from 'node:test';
import { seeded } from '../support/random.ts';
import { chaos } from './chaos.ts';

const KILLS = 8;

test(`${KILLS} kills, stops, cuts, promotions and hand-overs under writers: nothing answered is lost, nobody diverges`, async (t) => {
  const chance = seeded();
  t.diagnostic(`PSYNCD_SEED=${chance.seed}`);
  await chaos(chance, KILLS, (line) => t.diagnostic(line));
});
