/** The life of a process in which nothing takes time and nothing fails: for tests that need the fakes without a simulation. */
import { newHistory } from '../../src/replication/history.ts';
import type { RunId } from '../../src/replication/position.ts';
import { Chance } from './chance.ts';
import { Disk } from './disk.ts';
import type { Life } from './process.ts';

class NoChance extends Chance {
  override odds(): boolean {
    return false;
  }

  override delay(): number {
    return 0;
  }
}

/** Everything is due at once, so a store that syncs in intervals (`everysec`, `no`) would never come to rest. */
export const CALM: Life = {
  chance: new NoChance(1),
  elapsed: 0,
  at: (_delayMs, callback) => {
    let isCancelled = false;
    queueMicrotask(() => {
      if (!isCancelled) callback();
    });
    return () => {
      isCancelled = true;
    };
  },
  pause: () => Promise.resolve(),
  change: (_point, change) => change(),
};

/** @returns the disk of a node that has never run: psyncd.db names no keyspace file */
export function emptyDisk(runId: RunId): Disk {
  return new Disk(
    {
      history: newHistory(runId),
      upstream: null,
      handingOver: false,
      guardedAgainst: null,
      keyspaceNumber: 0,
      clean: true,
      boot: null,
      fsync: 'always',
      kept: [],
      file: null,
      toldHash: null,
      renamedAt: null,
    },
    'boot',
  );
}
