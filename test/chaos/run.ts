/** `npm run chaos -- --kills 200 --seed 7`: the crash test for as long as one likes. Exit code 1: a promise was broken. */
import { parseArgs } from 'node:util';
import { seeded } from '../support/random.ts';
import { chaos } from './chaos.ts';

const { values } = parseArgs({
  options: { kills: { type: 'string', default: '200' }, seed: { type: 'string' } },
});
const chance = values.seed === undefined ? seeded() : seeded(Number(values.seed));
const again = `npm run chaos -- --kills ${values.kills} --seed ${chance.seed}`;
process.stdout.write(`${again}\n`);
try {
  await chaos(chance, Number(values.kills), (line) => process.stdout.write(`${line}\n`));
  process.stdout.write('every answered write was accounted for, and all nodes hold the same\n');
} catch (error) {
  process.stderr.write(`${error instanceof Error ? error.stack : error}\nrepeat: ${again}\n`);
  process.exitCode = 1;
}
