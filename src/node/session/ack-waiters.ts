/** Writes that wait until a number of replicas has them in its journals (Redis's WAIT), or on their disks (WAITAOF). */
import type { Offset } from '../../replication/position.ts';
import { ClientPlaces, clientShare } from '../client-places.ts';
import type { WaitingSettings } from '../head/position-waiters.ts';
import type { World } from '../ports/world.ts';
import { Problem } from '../problem.ts';
import type { WantedAcks } from './session-context.ts';

/** What a write waits for. */
export interface AckDemand {
  /** Offset up to which the stream must have come. */
  readonly offset: Offset;
  /** Number of replicas. */
  readonly replicas: number;
  /** Whether the bytes must be on the disks, of this node too; else in the journals of the replicas. */
  readonly durable: boolean;
}

/** How far a write has come. */
export interface AckCount {
  /** Number of replicas that have it, as it was demanded. */
  readonly replicas: number;
  /** Whether this node has it, as it was demanded. */
  readonly isHere: boolean;
}

/** The right of one write to wait. The place counts towards `maxWaiting` until the write calls `leave`. */
export interface AckPlace {
  /** Waits until the demand is met, the time is up, or the write calls `leave`. */
  wait(demand: AckDemand, timeoutMs: number): Promise<AckCount>;
  /** Gives the place back, and ends the wait if there is one. Further calls change nothing. */
  leave(): void;
}

interface Waiter {
  readonly demand: AckDemand;
  resolve(count: AckCount): void;
}

export class AckWaiters {
  readonly #world: World;
  readonly #settings: WaitingSettings;
  readonly #places: ClientPlaces;
  readonly #countFor: (demand: AckDemand) => AckCount;
  #waiters = new Set<Waiter>();
  #checkDue = false;

  /** @param countFor tells how far the stream has come up to the demand's offset */
  constructor(world: World, settings: WaitingSettings, countFor: (demand: AckDemand) => AckCount) {
    this.#world = world;
    this.#settings = settings;
    this.#countFor = countFor;
    const most = (): number => settings.maxWaiting;
    this.#places = new ClientPlaces(most, () => clientShare(most()));
  }

  /**
   * Takes a place. The caller does so before it makes the write, so that it does not make a write that cannot wait.
   * @param client name of the client that writes
   * @throws Problem TOO_MANY_REQUESTS when `maxWaiting` writes have a place, or so many of this client as one may have
   */
  enter(client: string): AckPlace {
    const refusal = this.#places.refusal(client);
    if (refusal !== null) {
      const { maxWaiting } = this.#settings;
      const which =
        refusal === 'all' ? `${maxWaiting} writes` : `${clientShare(maxWaiting)} writes of this client`;
      throw new Problem('TOO_MANY_REQUESTS', `${which} wait for acks already; nothing was written`);
    }
    const giveBack = this.#places.take(client);
    let left = false;
    let waiter: Waiter | null = null;
    return {
      wait: (demand, timeoutMs) => {
        const count = this.#countFor(demand);
        if (left || isMet(demand, count) || timeoutMs <= 0) return Promise.resolve(count);
        return new Promise((resolve) => {
          waiter = this.#add(demand, timeoutMs, resolve);
        });
      },
      leave: () => {
        if (left) return;
        left = true;
        giveBack();
        waiter?.resolve(this.#countFor(waiter.demand));
      },
    };
  }

  #add(demand: AckDemand, timeoutMs: number, resolve: (count: AckCount) => void): Waiter {
    const waiter: Waiter = {
      demand,
      resolve: (count) => {
        cancel();
        this.#waiters.delete(waiter);
        resolve(count);
      },
    };
    const cancel = this.#world.after(timeoutMs, () => waiter.resolve(this.#countFor(demand)));
    this.#waiters.add(waiter);
    return waiter;
  }

  /** The largest offsets that writes wait for replicas to have. */
  get wanted(): WantedAcks {
    return { inJournal: this.#largest(false), onDisk: this.#largest(true) };
  }

  #largest(durable: boolean): Offset | null {
    let largest: Offset | null = null;
    for (const { demand } of this.#waiters) {
      if (demand.durable !== durable || demand.replicas === 0) continue;
      if (largest === null || demand.offset > largest) largest = demand.offset;
    }
    return largest;
  }

  /**
   * Notes that a replica has acknowledged something, or that this node's disk has more. One look at the end of the tick serves all
   * that the tick brings.
   */
  changed(): void {
    if (this.#checkDue || this.#waiters.size === 0) return;
    this.#checkDue = true;
    this.#world.soon(() => {
      this.#checkDue = false;
      // Writes of one turn wait for the same offset.
      const [inJournals, onDisks] = [new Map<Offset, AckCount>(), new Map<Offset, AckCount>()];
      for (const waiter of this.#waiters) {
        const { demand } = waiter;
        const counts = demand.durable ? onDisks : inJournals;
        const count = counts.get(demand.offset) ?? this.#countFor(demand);
        counts.set(demand.offset, count);
        if (isMet(demand, count)) waiter.resolve(count);
      }
    });
  }

  /** Ends all waits with the counts of this moment: this node is no longer the master, or it stops. */
  release(): void {
    for (const waiter of this.#waiters) waiter.resolve(this.#countFor(waiter.demand));
  }
}

/** @returns whether the write has come as far as it shall */
export function isMet({ replicas }: AckDemand, count: AckCount): boolean {
  return count.isHere && count.replicas >= replicas;
}
