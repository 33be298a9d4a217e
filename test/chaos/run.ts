/**
 * `npm run chaos -- --kills 200 --seed 7`: the crash test for as long as one likes; with `--rounds 200` the one in which
 * folders are copied, restored, rolled back and cloned. Exit code 1: a promise was broken.
 */
import { parseArgs } from 'node:util';
import { seeded } from '../support/random.ts';
import { chaos } from './chaos.ts';
import { folders } from './folders.ts';

const { values } = parseArgs({
  options: {
    kills: { type: 'string', default: '200' },
    rounds: { type: 'string' },
    seed: { type: 'string' },
  },
});
const { kills, rounds, seed } = values;
const chance = seed === undefined ? seeded() : seeded(Number(seed));
const length = rounds === undefined ? `--kills ${kills}` : `--rounds ${rounds}`;
const again = `npm run chaos -- ${length} --seed ${chance.seed}`;
const tell = (line: string): void => void process.stdout.write(`${line}\n`);
tell(again);
try {
  if (rounds === undefined) await chaos(chance, Number(kills), tell);
  else await folders(chance, Number(rounds), tell);
  tell('every answered write was accounted for, and all nodes hold the same');
} catch (error) {
  process.stderr.write(`${error instanceof Error ? error.stack : error}\nrepeat: ${again}\n`);
  process.exitCode = 1;
}
