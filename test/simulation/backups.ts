/**
 * Backups of nodes, and nodes into whose folders an older one is restored, as `psyncd backup` and `psyncd restore` do: in every
 * fifth run, by a chance of their own, so that what the other seeds mean stays.
 */
import type { Entry } from '../../src/keyspace/entry.ts';
import { type History, restoredHistory } from '../../src/replication/history.ts';
import { parseHash } from '../../src/replication/history-hash.ts';
import type { Position, RunId } from '../../src/replication/position.ts';
import { Chance } from './chance.ts';
import type { Disk } from './disk.ts';
import type { Ledger } from './ledger.ts';
import type { Machine } from './machine.ts';

/** Before each action of a run. */
const BACKUP_ODDS = 0.06;
const RESTORE_ODDS = 0.03;
const MAX_BACKUPS = 5;

export interface Backup {
  readonly history: History;
  readonly position: Position;
  readonly hash: bigint | null;
  readonly entries: ReadonlyMap<string, Entry>;
  /** The true name of the stream that its entries are of. */
  readonly truth: RunId;
}

/** @returns what a node holds now; null: it is not up, or inside of a write */
export function backUp({ node, disk }: Machine, ledger: Ledger): Backup | null {
  if (node === null || disk.row.keyspaceNumber === 0) return null;
  const { position, truth } = disk;
  const at = { runId: truth, offset: position.offset };
  if (ledger.digestAt(at) === undefined) return null;
  const { historyHash } = node.status;
  const hash = historyHash === null ? null : parseHash(historyHash);
  return { history: disk.row.history, position, hash, entries: ledger.entriesAt(at), truth };
}

/**
 * What `psyncd restore` makes of a folder.
 * @param runId new one of the node
 */
export function restoreInto(disk: Disk, backup: Backup, runId: RunId): void {
  const { position, hash, entries, truth } = backup;
  const { offset } = position;
  const history = restoredHistory(backup.history, { runId, validTo: offset, hash, at: 0 });
  const at = { runId: hash === null ? history.runId : position.runId, offset };
  disk.putBack({
    row: {
      history,
      upstream: null,
      handingOver: false,
      guardedAgainst: null,
      keyspaceNumber: 1,
      clean: true,
      boot: null,
      fsync: 'no',
      kept: [],
      file: disk.file,
      toldHash: { offset, hash },
      renamedAt: null,
    },
    truth,
    journal: [],
    files: new Map([[1, { position: at, entries }]]),
    kept: new Map(),
  });
}

/** Who makes backups and restores them in a run. */
export class BackupKeeper {
  readonly #machines: readonly Machine[];
  readonly #ledger: Ledger;
  readonly #chance: Chance;
  readonly #isAtWork: boolean;
  readonly #restore: (machine: Machine, backup: Backup, runId: RunId) => void;
  #backups: Backup[] = [];

  /** @param restore has the machine end, and come up with the backup in its folder */
  constructor(
    seed: number,
    machines: readonly Machine[],
    ledger: Ledger,
    restore: (machine: Machine, backup: Backup, runId: RunId) => void,
  ) {
    this.#chance = new Chance(seed ^ 0x6261636b);
    this.#isAtWork = this.#chance.odds(0.2);
    this.#machines = machines;
    this.#ledger = ledger;
    this.#restore = restore;
  }

  /** Called before each action. */
  act(): void {
    if (!this.#isAtWork) return;
    const chance = this.#chance;
    if (chance.odds(BACKUP_ODDS)) {
      const made = backUp(this.#any(), this.#ledger);
      if (made !== null) this.#backups = [...this.#backups.slice(1 - MAX_BACKUPS), made];
    }
    if (this.#backups.length > 0 && chance.odds(RESTORE_ODDS)) {
      this.#restore(this.#any(), chance.of(this.#backups), chance.hex(40) as RunId);
    }
  }

  /** Mostly a master: it is the one that others follow. */
  #any(): Machine {
    const masters = this.#machines.filter(({ node }) => node?.role === 'master');
    return this.#chance.of(masters.length > 0 && this.#chance.odds(0.6) ? masters : this.#machines);
  }
}
