/**
 * What psyncd promises, checked after every step of a run, against what all nodes have done so far.
 *
 * Owns: the ledger, where each node was seen last, and the first promise that was broken. What nodes write to their disks,
 * say to each other and tell clients is checked in `disks`, `resyncs` and `readers`, at the moment when it happens.
 */
import { formatPosition, type Position } from '../../src/replication/position.ts';
import { DiskChecks } from './disk-checks.ts';
import { Ledger } from './ledger.ts';
import type { Machine } from './machine.ts';
import { ReaderChecks } from './reader-checks.ts';
import { ResyncChecks } from './resync-checks.ts';
import { Times } from './times.ts';
import { isSame, trulyAt, wrongContent } from './truth.ts';

interface Sighting {
  readonly position: Position;
  /** Under the true name of its stream. */
  readonly truth: Position;
  readonly adoptions: number;
}

export class Referee {
  readonly ledger = new Ledger();
  readonly #blamed = (what: string): void => this.blame(what);
  readonly disks = new DiskChecks(this.ledger, this.#blamed);
  readonly resyncs = new ResyncChecks(this.ledger, this.#blamed);
  readonly readers = new ReaderChecks(this.ledger, this.#blamed);
  readonly #times = new Times(this.#blamed);
  readonly #seen = new Map<Machine, Sighting>();
  readonly #reported: (what: string) => void;
  readonly #machines: Machine[] = [];
  #verdict: string | null = null;

  /** @param reported told each broken promise */
  constructor(reported: (what: string) => void) {
    this.#reported = reported;
  }

  /** The first promise that was broken, or null. */
  get verdict(): string | null {
    return this.#verdict;
  }

  blame(what: string): void {
    this.#reported(what);
    this.#verdict ??= what;
  }

  watch(machine: Machine): void {
    this.#machines.push(machine);
    this.ledger.begin(machine.disk.row.history.runId);
  }

  /** Called after each step. */
  async check(): Promise<void> {
    for (const machine of this.#machines) {
      await this.#look(machine);
      this.#times.check(machine);
    }
    this.#countMasters();
  }

  /** The folder of a node that is down holds what an older copy held. @param noticed psyncd.db is another file */
  restored(machine: Machine, noticed: boolean): void {
    const { disk } = machine;
    this.#seen.delete(machine);
    this.resyncs.forget(machine);
    if (noticed || disk.row.upstream !== null) return;
    const { runId, offset } = disk.position;
    disk.truth = this.ledger.fork(runId, disk.truth, offset);
  }

  /** The folder of a node that is down holds a backup, as a history that nobody has had. */
  restoredBackup(machine: Machine): void {
    const { disk } = machine;
    this.#seen.delete(machine);
    this.resyncs.forget(machine);
    const { runId, offset } = disk.position;
    // Under a run ID that it had, its bytes have to be those of that history.
    if (this.ledger.knows(runId)) return;
    this.ledger.branch(runId, { runId: disk.truth, offset }, runId);
    disk.truth = runId;
  }

  async #look(machine: Machine): Promise<void> {
    const { node } = machine;
    if (node === null) return;
    const { position } = node;
    const before = this.#seen.get(machine);
    const { adoptions } = machine.disk;
    if (before !== undefined && isSame(before.position, position) && before.adoptions === adoptions) return;
    const truth = { runId: machine.disk.truth, offset: position.offset };
    this.#seen.set(machine, { position, truth, adoptions });
    if (before !== undefined && before.adoptions === adoptions) this.#checkProgress(machine, before);
    machine.mayHaveLost = false;
    this.disks.checkKept(machine);
    this.resyncs.compareHashes(machine, position, node.status.historyHash);
    const page = await machine.everything();
    const wrong = page === null ? null : wrongContent(this.ledger, machine.name, truth, page);
    if (wrong !== null) this.blame(wrong);
  }

  #checkProgress(machine: Machine, { position: before, truth }: Sighting): void {
    const { name, mayHaveLost, disk } = machine;
    const at = machine.node?.position as Position;
    const step = `${name} was at ${formatPosition(before)} and is at ${formatPosition(at)}`;
    if (this.ledger.includes(trulyAt(disk), truth)) return;
    if (!mayHaveLost) this.blame(`${step}: what it had is gone`);
    // A replica gets from its master what it has lost.
    else if (at.runId === before.runId && disk.row.upstream === null) {
      this.blame(`${step}: it lost bytes, and kept its run ID`);
    }
  }

  /** A hand-over never makes two masters. */
  #countMasters(): void {
    const masters = new Map<string, Machine>();
    for (const machine of this.#machines) {
      const { file, truth, row } = machine.disk;
      // A copy says at its start under which run ID it goes on.
      if (row.upstream !== null || (row.file !== null && row.file !== file)) continue;
      const house = this.ledger.houseOf(truth);
      const other = masters.get(house);
      if (other !== undefined) this.blame(`${other.name} and ${machine.name} are both masters of ${house}`);
      masters.set(house, machine);
    }
  }
}
