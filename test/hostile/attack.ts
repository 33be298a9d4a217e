/** One attack: a master and a replica, rounds of all kinds that follow from one seed, and the verdict. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ChildNode } from '../../src/cli/child-node.ts';
import { violations } from '../support/contract.ts';
import { MAIN } from '../support/main-file.ts';
import { Chance } from './chance.ts';
import { paceRound } from './pace-round.ts';
import { goodSnapshot, hostileMaster, hostileReplicas } from './peer-round.ts';
import { requestRound, type Truth } from './request-round.ts';
import { Subject } from './subject.ts';

export const KINDS = ['requests', 'replicas', 'master', 'pace'] as const;
export type Kind = (typeof KINDS)[number];

export interface Verdict {
  readonly rounds: Readonly<Record<Kind, number>>;
  /** Kind of the finding, and what belongs to it. */
  readonly findings: ReadonlyMap<string, string>;
  readonly longestStallMs: number;
  readonly peakBytes: number;
}

/** How often each kind of round is drawn. A round of requests takes a tenth of the time of any other. */
const DRAWN: readonly Kind[] = [
  ...Array<Kind>(20).fill('requests'),
  'replicas',
  'replicas',
  'master',
  'pace',
  'pace',
];
/** A round that takes so long has met a node that hangs, in milliseconds. */
const ROUND_MS = 120_000;
/** A replica is small, so that its full resyncs are quick. */
const ENTRIES = 200;

/**
 * @param seed everything follows from it but the times
 * @param goesOn asked before each round, with how many there were
 * @param kinds which kinds of rounds
 * @param maxStallMs how long `/healthz` may wait for the node's own work
 */
export async function attack(
  seed: number,
  goesOn: (rounds: number) => boolean,
  kinds: readonly Kind[] = KINDS,
  maxStallMs?: number,
): Promise<Verdict> {
  const folder = await mkdtemp(join(tmpdir(), 'psyncd-hostile-'));
  const chance = new Chance(seed);
  const data = (name: string): string[] => ['--data', join(folder, name), '--port', '0'];
  const master = new Subject(await ChildNode.start(data('master'), {}, MAIN), maxStallMs);
  const subjects = [master];
  try {
    for (let index = 0; index < ENTRIES; index += 1)
      await master.node.client.set(`entry${index}`, `value${index}`);
    const replica = new Subject(
      await ChildNode.start([...data('replica'), '--replica-of', master.node.wsUrl], {}, MAIN),
      maxStallMs,
    );
    subjects.push(replica);
    const good = await goodSnapshot(master.node);
    const truth: Truth = new Map();
    const rounds = { requests: 0, replicas: 0, master: 0, pace: 0 };
    const drawn = DRAWN.filter((kind) => kinds.includes(kind));
    for (let count = 0; goesOn(count) && !subjects.some(({ hasEnded }) => hasEnded); count += 1) {
      const kind = chance.of(drawn);
      const roundSeed = seed * 10_000 + count;
      rounds[kind] += 1;
      for (const subject of subjects) subject.doing = kind;
      try {
        const round = (): Promise<void> => {
          const drawn = new Chance(roundSeed);
          if (kind === 'requests') return requestRound(master, roundSeed, truth);
          if (kind === 'replicas') return hostileReplicas(master, drawn);
          return kind === 'pace'
            ? paceRound(master, drawn)
            : hostileMaster(replica, master.node, good, drawn, folder);
        };
        await within(ROUND_MS, `a round of ${kind} ends`, round());
      } catch (error) {
        // A node that has ended is a finding of its own.
        if (!subjects.some(({ hasEnded }) => hasEnded))
          master.found(`${kind}: ${error}`.slice(0, 60), String(error));
      }
      for (const subject of subjects) subject.look(`round ${count}, ${kind}, seed ${seed}`);
    }
    await Promise.all(subjects.map((subject) => subject.end()));
    await Promise.all(subjects.map((subject) => subject.givesBack()));
    await keepsWhatItAnswered(master, truth, data);
    return {
      rounds,
      findings: new Map(subjects.flatMap(({ findings }) => [...findings])),
      longestStallMs: Math.max(...subjects.map(({ longestStallMs }) => longestStallMs)),
      peakBytes: Math.max(...subjects.map(({ peakBytes }) => peakBytes)),
    };
  } finally {
    violations.splice(0);
    await Promise.all(subjects.map((subject) => subject.end()));
    await Promise.all(subjects.map(({ node }) => node.stop('SIGKILL')));
    await rm(folder, { recursive: true, force: true });
  }
}

async function within(timeoutMs: number, what: string, work: Promise<void>): Promise<void> {
  const { promise, reject } = Promise.withResolvers<never>();
  const timer = setTimeout(() => reject(new Error(`${what}: not within ${timeoutMs} ms`)), timeoutMs);
  try {
    await Promise.race([work, promise]);
  } finally {
    clearTimeout(timer);
  }
}

/** Kills the master, starts it again, and looks whether it holds what the model says. */
async function keepsWhatItAnswered(
  master: Subject,
  truth: Truth,
  data: (name: string) => string[],
): Promise<void> {
  if (master.hasEnded) return;
  await master.node.stop('SIGKILL');
  const again = await ChildNode.start(data('master'), {}, MAIN);
  try {
    const exported = await fetch(`${again.url}/v1/export?prefix=${encodeURIComponent('known/')}`);
    const held = new Map<string, Buffer>();
    for (const line of (await exported.text()).split('\n').filter((each) => each !== '')) {
      const { key, value, encoding } = JSON.parse(line) as {
        key: string;
        value: string;
        encoding?: 'base64';
      };
      held.set(key, Buffer.from(value, encoding ?? 'utf8'));
    }
    for (const [key, expected] of truth) {
      const value = held.get(key) ?? null;
      if (value === null ? expected === null : expected?.equals(value)) continue;
      const shown = (bytes: Buffer | null): string =>
        JSON.stringify(bytes?.toString('latin1').slice(0, 200) ?? null);
      master.found(
        'lost or invented',
        `${JSON.stringify(key)} holds ${shown(value)} instead of ${shown(expected)}`,
      );
    }
  } finally {
    await again.stop('SIGKILL');
  }
}
