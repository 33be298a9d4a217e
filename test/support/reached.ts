/** What a restore from an archive comes to, without a folder: where, and the history hash there. */
import { Catalogue } from '../../src/archive/catalogue.ts';
import { isProven } from '../../src/archive/restoring/base-proof.ts';
import { type Replayed, replay } from '../../src/archive/restoring/replay.ts';
import { type Goal, routeTo } from '../../src/archive/restoring/route.ts';
import { historyOfBase } from '../../src/cli/tasks/archive-base.ts';
import type { BackupTarget } from '../../src/node/ports/backup-target.ts';
import type { RunId } from '../../src/replication/position.ts';
import { HistoryHasher } from '../../src/store/backup/history-hasher.ts';

export interface Reached {
  readonly runId: RunId;
  readonly offset: number;
  readonly hash: bigint | null;
}

/** Hashes what a restore would apply. */
class Hashed implements Replayed {
  #hasher: HistoryHasher;

  constructor(offset: number, hash: bigint | null) {
    this.#hasher = new HistoryHasher({ offset, hash });
  }

  get offset(): number {
    return this.#hasher.offset;
  }

  get hash(): bigint | null {
    return this.#hasher.hash;
  }

  adoptHash(hash: bigint): void {
    this.#hasher = new HistoryHasher({ offset: this.offset, hash });
  }

  hasher(offset: number, hash: bigint | null): HistoryHasher {
    return new HistoryHasher({ offset, hash });
  }

  async push(bytes: Buffer): Promise<void> {
    this.#hasher.push(Buffer.from(bytes));
  }
}

/**
 * @param work an empty folder
 * @param hashOf tells the history hash of a base
 * @throws ArchiveError
 */
export async function reached(
  target: BackupTarget,
  goal: Goal,
  work: string,
  hashOf: (run: RunId, at: number) => bigint | null,
): Promise<Reached> {
  const { signal } = new AbortController();
  const catalogue = await Catalogue.read(target, null, work, signal, historyOfBase(target, work, signal));
  const route = await routeTo(catalogue, goal);
  const { base, history } = route;
  const hash = hashOf(base.runId, base.offset);
  const into = new Hashed(base.offset, hash);
  const isBaseProven = await isProven(catalogue, route, hash, (at, known) => into.hasher(at, known));
  if (route.segments.length > 0) await replay(catalogue, route, goal, into, { isBaseProven });
  return { runId: history.runId, offset: into.offset, hash: into.hash };
}
