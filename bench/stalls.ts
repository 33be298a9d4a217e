/**
 * `stalls`: how long a master's event loop makes requests wait under full load: writes of all kinds, expiring entries,
 * pages, a full resync, and the applier's work with checkpoints and trimming.
 */
import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { rm } from 'node:fs/promises';
import { setTimeout as wait } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import type { ChildNode } from '../src/cli/child-node.ts';
import { replicaOf } from './replica.ts';
import { tenths, whole } from './report.ts';
import type { Scope } from './scope.ts';
import type { Stalls } from './stall-recorder.ts';
import { summary } from './statistics.ts';
import type { Study } from './study.ts';

const LOAD = fileURLToPath(new URL('./soak-load.ts', import.meta.url));
const RECORDER = new URL('./stall-recorder.ts', import.meta.url).href;
const ROUNDS = 2;
const GOAL_MS = 25;
/** Multiple of `--seconds` that the load lasts, because checkpoints come every few seconds, and expiry begins after two. */
const LONGER = 5;
const PAGE_EVERY_MS = 50;

type Round = Stalls & { readonly requestsPerSecond: number; readonly pages: number };

export const stalls: Study = {
  name: 'stalls',
  what: "the event loop's delays at full load, ms",
  async run(scope, { entries, seconds, rounds: count = ROUNDS }, progress) {
    const data = await scope.filledFolder(entries);
    const node = await scope.nodeWith({ NODE_OPTIONS: `--import ${RECORDER}` }, data);
    const rounds: Round[] = [];
    for (let number = 1; number <= count; number += 1) {
      const round = await underFullLoad(scope, node, seconds * LONGER);
      progress(
        `stalls: round ${number}: p99.9 ${whole(round.p999)} ms, max ${tenths(round.max)} ms at ` +
          `${whole(round.requestsPerSecond)} requests/s and ${round.pages} pages`,
      );
      rounds.push(round);
    }
    const rate = summary(rounds.map(({ requestsPerSecond }) => requestsPerSecond)).median;
    const one = { row: 10, unit: 'ms' } as const;
    return {
      figures: [
        {
          ...one,
          what: 'stalls at full load, 99.9 % of the time',
          psyncd: summary(rounds.map(({ p999 }) => p999)),
          goal: { kind: 'under', value: GOAL_MS, of: 'worst' },
          note: `${whole(rate)} requests/s of all kinds, pages, and a full resync`,
        },
        { ...one, what: 'the longest one', psyncd: summary(rounds.map(({ max }) => max)) },
      ],
      details: rounds,
    };
  },
};

async function underFullLoad(scope: Scope, node: ChildNode, seconds: number): Promise<Round> {
  node.process.send('begin');
  const load = { done: false };
  const loading = promisify(execFile)(
    process.execPath,
    [LOAD, '--url', node.url, '--seconds', String(seconds)],
    { signal: scope.signal },
  ).finally(() => {
    load.done = true;
  });
  const paging = readPages(node, () => load.done);
  await wait((seconds * 1000) / 4);
  await fullResync(scope, node);
  const { requests } = JSON.parse((await loading).stdout) as { readonly requests: number };
  const told = once(node.process, 'message');
  node.process.send('end');
  const [found] = (await told) as [Stalls];
  return { ...found, requestsPerSecond: requests / seconds, pages: await paging };
}

/** Reads pages from random places, with pauses, until `done`. @returns the number of pages */
async function readPages(node: ChildNode, done: () => boolean): Promise<number> {
  let pages = 0;
  while (!done()) {
    const after = `bench:${String(Math.floor(Math.random() * 1e6)).padStart(9, '0')}`;
    const answer = await fetch(
      `${node.url}/v1/keys?limit=1000&values=true&after=${encodeURIComponent(after)}`,
    );
    if (!answer.ok) throw new Error(`a page was refused: ${await answer.text()}`);
    await answer.arrayBuffer();
    pages += 1;
    await wait(PAGE_EVERY_MS);
  }
  return pages;
}

async function fullResync(scope: Scope, master: ChildNode): Promise<void> {
  const { node: replica, data } = await replicaOf(scope, master);
  await replica.stop();
  await rm(data, { recursive: true, force: true });
}
