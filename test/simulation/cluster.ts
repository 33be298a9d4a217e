/** The machines of a run, what connects them, and who watches them. */
import type { RunId } from '../../src/replication/position.ts';
import type { FsyncPolicy } from '../../src/store/state/state-settings.ts';
import type { Backup } from './backups.ts';
import { Chance } from './chance.ts';
import { type FolderCopy, positionOf } from './disk.ts';
import { EventLoop, settled } from './event-loop.ts';
import { SimulatedFollower } from './follower.ts';
import { Machine, type Settings } from './machine.ts';
import { Network } from './network.ts';
import { Crashed } from './process.ts';
import { Referee } from './referee.ts';
import { Trace } from './trace.ts';

/** How long a machine is down, on average. */
const DOWN_MS = 600;
const MAX_COPIES = 6;

export class Cluster {
  readonly chance: Chance;
  readonly trace: Trace;
  readonly loop: EventLoop;
  readonly referee: Referee;
  readonly network: Network;
  readonly machines: readonly Machine[];
  readonly followers: readonly SimulatedFollower[];
  steps = 0;
  /** Copies of folders, the last ones. */
  #copies: { readonly of: Machine; readonly folder: FolderCopy }[] = [];
  readonly #putBack = new Set<Machine>();
  /** Backups that are restored while their machines are down. */
  readonly #restores = new Map<Machine, { readonly backup: Backup; readonly runId: RunId }>();

  constructor(seed: number, keepLines: number) {
    this.chance = new Chance(seed);
    this.trace = new Trace(keepLines);
    this.loop = new EventLoop((error) => this.failed(error));
    this.referee = new Referee((what) => this.trace.note(this.loop.now, `BROKEN ${what}`));
    this.network = new Network(this.loop, this.chance.fork(), this.referee);
    const count = this.chance.between(3, 5);
    // Of a chance of its own, so that what a seed means stays.
    const keep = new Chance(seed ^ 0x6b656570);
    const settings = { ...this.#settings(), ...kept(keep) };
    const fsync = this.chance.of<FsyncPolicy>(['always', 'everysec', 'everysec', 'no']);
    const knowsBoot = this.chance.odds(0.8);
    this.machines = Array.from({ length: count }, (_, index) => {
      return new Machine(`n${index}`, { ...settings }, fsync, knowsBoot, {
        loop: this.loop,
        network: this.network,
        referee: this.referee,
        trace: this.trace,
        chance: this.chance.fork(),
        down: (machine) => this.#restart(machine),
      });
    });
    for (const machine of this.machines) {
      this.network.join(machine);
      this.referee.watch(machine);
    }
    this.followers = Array.from({ length: this.chance.between(1, 3) }, (_, index) => {
      return new SimulatedFollower(`f${index}`, {
        loop: this.loop,
        chance: this.chance.fork(),
        machines: this.machines,
        referee: this.referee,
        trace: this.trace,
      });
    });
  }

  /** Whatever nobody has caught: a node's process would have ended. */
  failed(error: unknown): void {
    if (error instanceof Crashed) return;
    this.referee.blame(error instanceof Error ? (error.stack ?? error.message) : String(error));
  }

  note(text: string): void {
    this.trace.note(this.loop.now, text);
  }

  /** Lets so much time pass. @returns false as soon as a promise is broken */
  async run(forMs: number): Promise<boolean> {
    const until = this.loop.now + forMs;
    // What a client has just asked for is part of this step.
    await settled();
    do {
      await this.referee.check();
      this.steps += 1;
      if (this.referee.verdict !== null) return false;
    } while (await this.loop.step(until));
    return true;
  }

  /** @returns false if it has not come true within so much time, or a promise is broken */
  async until(isTrue: () => boolean, withinMs: number): Promise<boolean> {
    const end = this.loop.now + withinMs;
    while (!isTrue()) {
      if (this.loop.now >= end) return false;
      if (!(await this.run(50))) return false;
    }
    return true;
  }

  /** A copy of the folder is kept; a power cut later does not take from it what was not on disk. */
  keepCopy(machine: Machine): void {
    // Who has handed over waits for an answer: a copy of that is asked about by `copies.test.ts`.
    if (machine.disk.row.keyspaceNumber === 0 || machine.disk.row.handingOver) return;
    this.#copies = [...this.#copies.slice(1 - MAX_COPIES), { of: machine, folder: machine.disk.copy() }];
    this.trace.count('folder copied');
  }

  /** The machine goes down, and comes up with an older folder: its own, or, noticed, another one's. */
  putBack(machine: Machine): void {
    this.#putBack.add(machine);
    machine.crash('process');
  }

  /** The machine goes down, and comes up with the backup in its folder, under the new run ID. */
  restore(machine: Machine, backup: Backup, runId: RunId): void {
    this.#restores.set(machine, { backup, runId });
    machine.crash('process');
  }

  #older(machine: Machine): void {
    if (!this.#putBack.delete(machine)) return;
    const isCloned = this.chance.odds(0.3);
    const copies = isCloned ? this.#copies : this.#copies.filter(({ of }) => of === machine);
    if (copies.length === 0) return;
    const { folder } = this.chance.of(copies);
    const isNoticed = isCloned || this.chance.odds(0.4) || this.#isHandOverAsIfUntouched(machine, folder);
    machine.putBack(folder, isNoticed);
  }

  /**
   * Whether an old master asks the machine to become the master, and the folder has what it had just then: nothing distinguishes it from
   * that of a node that was killed before it took over (docs/design/hand-over.md).
   */
  #isHandOverAsIfUntouched({ url }: Machine, folder: FolderCopy): boolean {
    const { runId, offset } = positionOf(folder);
    return this.machines.some(({ disk: { row, position } }) => {
      const isAsked = row.handingOver && row.upstream === url;
      return isAsked && position.runId === runId && offset >= position.offset;
    });
  }

  #restart(machine: Machine): void {
    this.loop.at(this.chance.delay(DOWN_MS), () => {
      this.#older(machine);
      const restored = this.#restores.get(machine);
      if (restored !== undefined) machine.restore(restored.backup, restored.runId);
      this.#restores.delete(machine);
      // An operator has changed the policy meanwhile.
      if (this.chance.odds(0.03)) machine.fsync = this.chance.of<FsyncPolicy>(['always', 'everysec', 'no']);
      const replicaOf = this.chance.odds(0.02) ? this.chance.of(this.machines).url : null;
      machine.start(replicaOf).catch((error: unknown) => this.failed(error));
    });
  }

  /** Limits as small as the writes of a run, so that they are met. */
  #settings(): Settings {
    const { chance } = this;
    const backlogBytes = chance.of([200, 800, 3_000, 20_000]);
    return {
      backlogBytes,
      backlogAwayMs: null,
      backlogFloorBytes: backlogBytes,
      backlogCeilingBytes: backlogBytes * 16,
      journalKeepBytes: 0,
      journalKeepMs: null,
      overlayBytes: chance.of([3_000, 10_000, 100_000]),
      applyIntervalMs: chance.of([20, 200, 2_000]),
      timeoutMs: 3_000,
      pingIntervalMs: 1_000,
      outputLimitBytes: chance.of([1_000, 5_000, 1_000_000]),
      outputSoftBytes: chance.of([500, 3_000, 1_000_000]),
      outputSoftMs: 1_000,
      maxReplicas: chance.of([2, 256, 256, 256]),
      maxWaiting: 10_000,
      shutdownTimeoutMs: 1_000,
      minReplicasToWrite: chance.of([0, 0, 0, 1]),
      minReplicasMaxLagMs: 3_000,
      allowEmptyMaster: chance.odds(0.3),
      maxFollowers: 100,
      followerOutputBytes: chance.of([2_000, 1_000_000]),
      keepReplaced: chance.of([0, 1, 3, 3]),
      snapshotKeepMs: 1_000,
      snapshotBudgetBytes: 1_000_000,
      scrubIntervalMs: 0,
      verifyIntervalMs: 0,
    };
  }
}

/** What the journals of a run keep: in every fourth one more than the backlog has. */
function kept(chance: Chance): Pick<Settings, 'journalKeepBytes' | 'journalKeepMs'> {
  if (!chance.odds(0.25)) return { journalKeepBytes: 0, journalKeepMs: null };
  return {
    journalKeepBytes: chance.of([1_000, 10_000, 1_000_000]),
    journalKeepMs: chance.odds(0.5) ? chance.of([500, 5_000, 60_000]) : null,
  };
}
