/** `backup`: what `psyncd backup` of a node with much data does to the writes that the node answers meanwhile. */
import { execFile } from 'node:child_process';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { BUILT_MAIN } from '../tools/program.ts';
import { type BesideWrites, besideWrites, p99Figure } from './beside-writes.ts';
import { whole } from './report.ts';
import { copied } from './resync.ts';
import type { Place, Scope } from './scope.ts';
import { summary } from './statistics.ts';
import type { Study } from './study.ts';

const ROUNDS = 3;
const ROW = 13;
const WRITES_PER_SECOND = 2_000;

interface Backup extends BesideWrites {
  readonly copyMs: number;
}

export const backup: Study = {
  name: 'backup',
  what: 'a backup of a running node under writes, beside a file copy',
  async run(scope, options, progress) {
    const master = await scope.filledNode(options.entries);
    const rounds: Backup[] = [];
    for (let number = 0; number <= (options.rounds ?? ROUNDS); number += 1) {
      const round = await backedUp(scope, master, options.entries, options.seconds);
      progress(
        `backup: ${number === 0 ? 'warm-up' : `round ${number}`}: ${whole(round.ms)} ms, file copy ${whole(round.copyMs)} ms; ` +
          `p99 of writes ${round.p99Before.toFixed(1)} ms before, ${round.p99During.toFixed(1)} ms during`,
      );
      if (number > 0) rounds.push(round);
    }
    const copies = rounds.map(({ copyMs }) => copyMs);
    return {
      figures: [
        p99Figure(
          ROW,
          `p99 of writes during a backup, at ${whole(WRITES_PER_SECOND)} a second`,
          WRITES_PER_SECOND,
          rounds,
        ),
        {
          row: ROW,
          what: 'the backup, beside a copy of the file',
          unit: 'ms',
          psyncd: summary(rounds.map(({ ms }) => ms)),
          beside: { name: 'file copy', values: summary(copies) },
          ratio: summary(rounds.map(({ ms, copyMs }) => ms / copyMs)),
        },
      ],
      details: rounds,
    };
  },
};

async function backedUp(scope: Scope, master: Place, keys: number, seconds: number): Promise<Backup> {
  const file = join(scope.folder, 'backup.db');
  const { port, url } = master.node;
  const writing = { port, keys, protocol: 'put', rate: WRITES_PER_SECOND } as const;
  const times = await besideWrites(scope, writing, seconds, () =>
    promisify(execFile)(process.execPath, [BUILT_MAIN, 'backup', file, '--node', url], {
      signal: scope.signal,
    }),
  );
  await rm(file);
  return { ...times, copyMs: await copied(scope, master.data) };
}
