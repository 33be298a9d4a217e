/**
 * `access`: what tokens and `--rate-limit` cost a request, compared with a node without tokens in the same run; and how long the event
 * loop stands still while the node reads ten thousand changed tokens.
 */
import { once } from 'node:events';
import { mkdir, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { newToken, tokenDigest } from '../src/access/token.ts';
import type { ChildNode } from '../src/cli/child-node.ts';
import { cpuMicros } from './cpu-time.ts';
import { type Load, type LoadResult, underLoad } from './generator.ts';
import { polled } from './polled.ts';
import { hundredths, tenths, whole } from './report.ts';
import { pidOf } from './requests.ts';
import type { Place, Scope } from './scope.ts';
import type { Stalls } from './stall-recorder.ts';
import { summary } from './statistics.ts';
import type { Findings, Study } from './study.ts';
import { KEYS } from './workload.ts';

const RECORDER = new URL('./stall-recorder.ts', import.meta.url).href;
const ROUNDS = 5;
const WARM_UPS = 2;
const MANY_TOKENS = 10_000;
const GOAL = 0.95;
const GOAL_MS = 20;
/** More than a machine sends: no request is refused. */
const RATE_LIMIT = '1000000/s';
const POLL_MS = 20;
/** Time for which the recorder goes on when the new tokens are known, in milliseconds. */
const AFTER_MS = 200;
/** Length of a turn, in seconds: short, so that what else the machine does meets all nodes alike. */
const TURN_SECONDS = 1;
/** A node is at rest when it has used less than `REST_SHARE` of a core for `REST_MS` milliseconds; it gets `MOST_REST_MS` at most. */
const REST_MS = 50;
const REST_SHARE = 0.2;
const MOST_REST_MS = 2_000;
const METHODS = ['PUT', 'GET'] as const;

/** A node, with the token that its clients show. */
interface Subject {
  readonly node: ChildNode;
  readonly token?: string;
}

/**
 * The nodes in the order in which they are under load; each is compared with the one that `beside` names. `again` is a second node
 * just like `plain`: how far their ratio is from 1 is what chance does to every ratio of the run.
 */
const SUBJECTS = {
  plain: { what: 'without tokens', tokens: 0, flags: [], beside: null },
  again: { what: 'without tokens, a second node', tokens: 0, flags: [], beside: 'plain' },
  token: { what: 'with a token', tokens: 1, flags: [], beside: 'plain' },
  limited: {
    what: 'with a token and --rate-limit',
    tokens: 1,
    flags: ['--rate-limit', RATE_LIMIT],
    beside: 'plain',
  },
  many: { what: 'with one of 10,000 tokens', tokens: MANY_TOKENS, flags: [], beside: 'token' },
} as const;
type Name = keyof typeof SUBJECTS;
const NAMES = Object.keys(SUBJECTS) as readonly Name[];

type Round = Readonly<Record<Name, LoadResult>>;

export const access: Study = {
  name: 'access',
  what: 'the cost of tokens and of --rate-limit, requests/s; stalls of a reload, ms',
  async run(scope, options, progress) {
    const rounds = options.rounds ?? ROUNDS;
    const turns = rounds * Math.ceil(options.seconds / TURN_SECONDS);
    const subjects = {} as Record<Name, Subject>;
    for (const name of NAMES) subjects[name] = await started(scope, name);
    const figures: Findings['figures'][number][] = [];
    const details: Record<string, unknown> = {};
    for (const method of METHODS) {
      const load: Load = { method, keys: KEYS, seconds: TURN_SECONDS };
      const found = await inTurns(scope, subjects, load, turns, progress);
      details[method] = found;
      for (const name of NAMES) {
        const { beside, what } = SUBJECTS[name];
        if (beside !== null) figures.push(figure(`${method} ${what}`, found, name, beside));
      }
    }
    const stalls = await reloads(scope, rounds, progress);
    details.reloads = stalls;
    figures.push({
      row: 11,
      what: `longest stall of a reload of ${whole(MANY_TOKENS)} tokens`,
      unit: 'ms',
      psyncd: summary(stalls.map(({ maxBusy }) => maxBusy)),
      goal: { kind: 'under', value: GOAL_MS, of: 'worst' },
      note: `with what other programs took ${tenths(summary(stalls.map(({ max }) => max)).max)} ms at most`,
    });
    return { figures, details };
  },
};

function figure(what: string, rounds: readonly Round[], name: Name, beside: Name) {
  const of = (subject: Name): number[] => rounds.map((round) => round[subject].perSecond);
  const cpu = rounds.flatMap((round) => {
    const [one, other] = [round[name].serverMicrosPerRequest, round[beside].serverMicrosPerRequest];
    return one === null || other === null ? [] : [one / other];
  });
  return {
    ...{ row: 11, what, unit: 'requests/s' },
    psyncd: summary(of(name)),
    beside: { name: SUBJECTS[beside].what, values: summary(of(beside)) },
    ratio: summary(rounds.map((round) => round[name].perSecond / round[beside].perSecond)),
    ...(name === 'again' ? {} : { goal: { kind: 'at least', value: GOAL, of: 'median ratio' } as const }),
    ...(cpu.length === 0 ? {} : { note: `CPU ratio ${hundredths(summary(cpu).median)}` }),
  } as const;
}

/**
 * Puts the nodes under load one after the other, in short turns. Every second round runs backwards, so that no node always follows the
 * same one. A turn begins when the node before is at rest: after PUTs it goes on to write its keyspace file. The first two rounds do not
 * count.
 */
async function inTurns(
  scope: Scope,
  subjects: Readonly<Record<Name, Subject>>,
  load: Load,
  count: number,
  progress: (line: string) => void,
): Promise<Round[]> {
  const rounds: Round[] = [];
  for (let number = 1 - WARM_UPS; number <= count; number += 1) {
    const round = {} as Record<Name, LoadResult>;
    for (const name of number % 2 === 0 ? NAMES : NAMES.toReversed()) {
      const { node, token } = subjects[name];
      const target = { url: node.url, pid: pidOf(node) };
      round[name] = await underLoad(
        target,
        { ...load, ...(token === undefined ? {} : { token }) },
        scope.signal,
      );
      await atRest(target.pid);
    }
    const text = NAMES.map((name) => `${name} ${whole(round[name].perSecond)}/s`).join(', ');
    progress(`access: ${load.method} ${number < 1 ? 'warm-up' : `round ${number}`}: ${text}`);
    if (number > 0) rounds.push(round);
  }
  return rounds;
}

/** Waits until the process rests. */
async function atRest(pid: number): Promise<void> {
  let before = cpuMicros(pid);
  for (let waited = 0; waited < MOST_REST_MS; waited += REST_MS) {
    await wait(REST_MS);
    const now = cpuMicros(pid);
    if (now === null || before === null || now - before < REST_MS * 1_000 * REST_SHARE) return;
    before = now;
  }
}

/** Starts a node that holds the keys, with tokens if it shall have some. */
async function started(scope: Scope, name: Name): Promise<Subject> {
  const { tokens, flags } = SUBJECTS[name];
  const data = await scope.filledFolder(KEYS);
  const token = tokens === 0 ? undefined : await writeTokens(data, tokens);
  const node = await scope.nodeAt(data, ...flags);
  return { node, ...(token === undefined ? {} : { token }) };
}

/** Makes so many new tokens, which take the place of those before. @returns the last one */
async function writeTokens(data: string, count: number): Promise<string> {
  await mkdir(data, { recursive: true });
  let last = '';
  const tokens = Array.from({ length: count }, () => {
    const { id, text } = newToken();
    last = text;
    return {
      id,
      name: 'bench',
      rights: ['read', 'write'],
      createdAt: '2027-01-31T00:00:00Z',
      sha256: tokenDigest(text),
    };
  });
  const path = join(data, 'tokens.json');
  await writeFile(`${path}.new`, JSON.stringify({ tokens }), { mode: 0o600 });
  await rename(`${path}.new`, path);
  return last;
}

/** Changes all tokens of an idle node, so many times. */
async function reloads(scope: Scope, count: number, progress: (line: string) => void): Promise<Stalls[]> {
  const { data, node }: Place = await (async () => {
    const data = await scope.filledFolder(KEYS);
    await writeTokens(data, MANY_TOKENS);
    return { data, node: await scope.nodeWith({ NODE_OPTIONS: `--import ${RECORDER}` }, data) };
  })();
  const found: Stalls[] = [];
  for (let number = 0; number <= count; number += 1) {
    node.process.send('begin');
    const token = await writeTokens(data, MANY_TOKENS);
    const headers = { authorization: `Bearer ${token}` };
    await polled(POLL_MS, async () => {
      const answer = await fetch(`${node.url}/v1/keys?limit=1`, { headers });
      await answer.arrayBuffer();
      // The node makes clients wait that show many tokens which are not valid yet.
      return answer.ok;
    });
    await wait(AFTER_MS);
    const told = once(node.process, 'message');
    node.process.send('end');
    const [stalls] = (await told) as [Stalls];
    progress(
      `access: reload ${number === 0 ? 'warm-up' : number}: longest stall ${tenths(stalls.maxBusy)} ms, by the clock ${tenths(stalls.max)} ms`,
    );
    if (number > 0) found.push(stalls);
  }
  return found;
}
