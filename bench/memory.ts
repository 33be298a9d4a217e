/** `memory`: the resident memory of a node with one million entries, and with ten, after an import and after many writes. */
import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { setTimeout as wait } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import type { ChildNode } from '../src/cli/child-node.ts';
import type { Figure } from './figure.ts';
import { fill } from './fill.ts';
import { underLoad } from './generator.ts';
import { infoOf } from './info.ts';
import type { Options } from './options.ts';
import { polled } from './polled.ts';
import { whole } from './report.ts';
import { pidOf } from './requests.ts';
import { residentBytes } from './resident-bytes.ts';
import type { Scope } from './scope.ts';
import { summary } from './statistics.ts';
import type { Study } from './study.ts';

const BULK = fileURLToPath(new URL('./bulk-writes.ts', import.meta.url));
const MB = 1e6;
const ROUNDS = 1;
const GOAL_MB = 200;
const MANY = 10_000_000;
/** Milliseconds without requests after which a node has returned the memory of a burst (`src/runtime/memory/quiet-memory.ts`). */
const QUIET_MS = 20_000;
/** The single PUTs after the batches last for this many times `--seconds`. */
const LONGER = 3;

interface Resident {
  readonly loaded: number;
  readonly churned: number;
  /** Highest resident memory since the start, in bytes. */
  readonly peak: number;
}

export const memory: Study = {
  name: 'memory',
  what: 'resident memory, bytes',
  async run(scope, options, progress) {
    const { entries, manyEntries, rounds: count = ROUNDS } = options;
    const measured = new Map<number, Resident[]>();
    for (const size of [entries, manyEntries].filter((each) => each > 0)) {
      const rounds: Resident[] = [];
      for (let number = 1; number <= count; number += 1) {
        const round = await resident(scope, size, options);
        progress(
          `memory: ${whole(size)} entries, round ${number}: ${whole(round.loaded / MB)} MB after load, ` +
            `${whole(round.churned / MB)} MB after churn, at most ${whole(round.peak / MB)} MB`,
        );
        rounds.push(round);
      }
      measured.set(size, rounds);
    }
    const figures = [entries, manyEntries === 0 ? MANY : manyEntries].flatMap((size) =>
      figuresOf(size, measured.get(size) ?? [], options),
    );
    return { figures, details: Object.fromEntries(measured) };
  },
};

function figuresOf(entries: number, rounds: readonly Resident[], { operations }: Options): Figure[] {
  const of = (what: (round: Resident) => number): Figure['psyncd'] =>
    rounds.length === 0 ? null : summary(rounds.map((round) => what(round) / MB));
  const peak = of((round) => round.peak);
  const note = peak === null ? 'only with --full' : `at most ${whole(peak.max)} MB`;
  const one = { row: 9, unit: 'MB', goal: { kind: 'under', value: GOAL_MB, of: 'worst' } } as const;
  return [
    {
      ...one,
      what: `resident, ${whole(entries)} entries, loaded`,
      psyncd: of(({ loaded }) => loaded),
      ...(peak === null ? { note } : {}),
    },
    {
      ...one,
      what: `… after ${operations / 1e6} million more writes`,
      psyncd: of(({ churned }) => churned),
      note,
    },
  ];
}

async function resident(scope: Scope, entries: number, { operations, seconds }: Options): Promise<Resident> {
  const { node, data } = await scope.node();
  const pid = pidOf(node);
  await fill(node, entries);
  const loaded = await quietBytes(node, pid);
  const flags = ['--port', String(node.port), '--kind', 'batch', '--operations', String(operations)];
  // The generator makes its requests before it sends them, so it does not use all of ten million keys.
  const keys = Math.min(entries, 1_000_000);
  await promisify(execFile)(process.execPath, [BULK, ...flags, '--keys', String(keys)], {
    signal: scope.signal,
  });
  const target = { url: node.url, pid };
  await underLoad(target, { method: 'PUT', keys: entries, seconds: seconds * LONGER }, scope.signal);
  const churned = await quietBytes(node, pid);
  const [, kib = '0'] = /VmHWM:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, 'utf8')) ?? [];
  await node.stop();
  await rm(data, { recursive: true, force: true });
  return { loaded, churned, peak: Number(kib) * 1024 };
}

/** @returns resident bytes after the applier has finished and the node has returned unused memory */
async function quietBytes(node: ChildNode, pid: number): Promise<number> {
  await polled(100, async () => Number((await infoOf(node)).overlay_bytes) === 0);
  await wait(QUIET_MS);
  return residentBytes(pid);
}
