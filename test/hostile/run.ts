/**
 * `npm run hostile -- [--seed N] [--minutes M] [--rounds N] [--kinds requests,replicas,master,pace,client]`
 *
 * Attacks nodes with one seed after the other, a minute each, until time is up; `client` attacks mirrors and followers with
 * hostile nodes. It prints each kind of finding once, with the seed that repeats it. Exit code 0: nothing was found; 1: something was; 2: wrong usage.
 */
import { parseArgs } from 'node:util';
import { attack, KINDS, type Kind } from './attack.ts';
import { attackClient } from './client/attack-client.ts';

const MINUTE_MS = 60_000;
/** Rounds against clients for each seed: some half a minute. */
const CLIENT_ROUNDS = 50;

const { values } = parseArgs({
  options: {
    seed: { type: 'string', default: String(Date.now() % 1_000_000) },
    minutes: { type: 'string', default: '5' },
    /** One seed, and so many rounds. */
    rounds: { type: 'string' },
    kinds: { type: 'string', default: [...KINDS, 'client'].join(',') },
  },
});
const [seed, minutes] = [Number(values.seed), Number(values.minutes)];
const rounds = values.rounds === undefined ? null : Number(values.rounds);
const named = values.kinds.split(',');
const kinds = KINDS.filter((kind) => named.includes(kind));
const attacksClients = named.includes('client');
if (
  !Number.isSafeInteger(seed) ||
  !(minutes > 0) ||
  (kinds.length === 0 && !attacksClients) ||
  Number.isNaN(rounds)
) {
  console.error(
    'usage: npm run hostile -- [--seed N] [--minutes M] [--rounds N] [--kinds requests,replicas,master,pace,client]',
  );
  process.exit(2);
}

const endAt = performance.now() + minutes * MINUTE_MS;
const known = new Set<string>();
const total: Record<Kind | 'client', number> = { requests: 0, replicas: 0, master: 0, pace: 0, client: 0 };
for (let each = seed; performance.now() < endAt; each += 1) {
  if (kinds.length > 0) await attackNodes(each);
  if (attacksClients) await attackClients(each);
  if (rounds !== null) break;
}
console.log(
  `${Object.entries(total)
    .map(([kind, count]) => `${count} ${kind}`)
    .join(', ')}: ${known.size === 0 ? 'nothing found' : [...known].join('; ')}`,
);
process.exit(known.size === 0 ? 0 : 1);

async function attackNodes(each: number): Promise<void> {
  const until = Math.min(endAt, performance.now() + MINUTE_MS);
  const verdict = await attack(
    each,
    (count) => (rounds === null ? performance.now() < until : count < rounds),
    kinds,
  );
  tell(each, verdict.findings);
  for (const kind of KINDS) total[kind] += verdict.rounds[kind];
  const counts = KINDS.map((kind) => `${verdict.rounds[kind]} ${kind}`).join(', ');
  console.log(
    `seed ${each}: rounds ${counts}; longest stall ${verdict.longestStallMs.toFixed(0)} ms, ` +
      `peak ${Math.round(verdict.peakBytes / 1024 ** 2)} MiB, ${verdict.findings.size} findings`,
  );
}

async function attackClients(each: number): Promise<void> {
  const verdict = await attackClient(each, rounds ?? CLIENT_ROUNDS);
  tell(each, verdict.findings);
  total.client += rounds ?? CLIENT_ROUNDS;
  console.log(
    `seed ${each}: ${rounds ?? CLIENT_ROUNDS} client, ${verdict.connections} connections; ` +
      `peak ${Math.round(verdict.peakBytes / 1024 ** 2)} MiB, ${verdict.findings.size} findings`,
  );
}

function tell(each: number, findings: ReadonlyMap<string, string>): void {
  for (const [kind, detail] of findings) {
    if (known.has(kind)) continue;
    known.add(kind);
    console.log(`\nseed ${each}: ${kind}\n${detail}\n`);
  }
}
