/** Whoever runs the nodes: says who follows whom, hands over, stops and restarts, and makes mistakes. */

import { StorageError } from '../../src/node/ports/failures.ts';
import { Problem } from '../../src/node/problem.ts';
import type { Chance } from './chance.ts';
import type { Cluster } from './cluster.ts';
import type { Machine } from './machine.ts';
import { Crashed } from './process.ts';

const FAILOVER_TIMEOUT_MS = 3_000;

export class Operator {
  readonly #cluster: Cluster;
  readonly #chance: Chance;

  constructor(cluster: Cluster) {
    this.#cluster = cluster;
    this.#chance = cluster.chance.fork();
  }

  async start(): Promise<void> {
    const { machines } = this.#cluster;
    const isChained = this.#chance.odds(0.3);
    for (const [index, machine] of machines.entries()) {
      const master = isChained ? machines[index - 1] : machines[0];
      const replicaOf = index === 0 ? null : ((master as Machine).url ?? null);
      machine.start(replicaOf).catch((error: unknown) => this.#cluster.failed(error));
      await this.#cluster.run(this.#chance.delay(30));
    }
  }

  replicaOf(machine: Machine, master: Machine): void {
    if (machine.node === null) return;
    this.#told(machine, `replicaof ${master.name}`, machine.node.replicaOf(master.url));
  }

  promote(machine: Machine): void {
    const { node } = machine;
    if (node === null) return;
    machine.promotions += 1;
    const done = (): void => {
      if (machine.node === node) machine.promotions -= 1;
    };
    const promoted = node.promote();
    promoted.then(done, done);
    this.#told(machine, 'promote', promoted);
  }

  failover(machine: Machine, to: Machine | null): void {
    const { node } = machine;
    if (node === null) return;
    const timeoutMs = this.#chance.between(100, FAILOVER_TIMEOUT_MS);
    this.#told(
      machine,
      `failover ${to?.name ?? ''}`,
      Promise.resolve().then(() => node.failover({ to: to?.url ?? null, timeoutMs })),
    );
  }

  abortFailover(machine: Machine): void {
    const { node } = machine;
    if (node === null) return;
    this.#told(
      machine,
      'abort',
      Promise.resolve().then(() => node.abortFailover()),
    );
  }

  accept(machine: Machine): void {
    if (machine.node?.status.upstream?.guarded === true) machine.node.acceptEmptyMaster();
  }

  /** One is the master, the others follow it. */
  regroup(master: Machine): void {
    this.promote(master);
    for (const machine of this.#cluster.machines) if (machine !== master) this.replicaOf(machine, master);
  }

  resizeBacklog(machine: Machine): void {
    machine.settings.backlogBytes = this.#chance.of([100, 200, 800, 3_000, 20_000]);
    machine.settings.backlogAwayMs = this.#chance.odds(0.2) ? this.#chance.between(100, 5_000) : null;
    machine.node?.settingsChanged();
  }

  #told(machine: Machine, what: string, done: Promise<unknown>): void {
    const { name } = machine;
    this.#cluster.note(`operator: ${name} ${what}`);
    done.then(
      (result) => this.#cluster.note(`operator: ${name} ${what} done ${JSON.stringify(result)}`),
      (error: unknown) => {
        // Refused, or the disk is full: the operator tries again some time.
        if (!(error instanceof Problem || error instanceof StorageError)) this.#cluster.failed(error);
        else if (!(error instanceof Crashed))
          this.#cluster.note(`operator: ${name} ${what}: ${error.message}`);
      },
    );
  }
}
