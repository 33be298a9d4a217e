/** Counts the objects of an archive, so that a node warns before there are more than a restore reads. */
import type { BackupTarget, TargetCall } from '../../node/ports/backup-target.ts';
import { inLogOf } from '../../node/ports/failures.ts';
import type { Log, World } from '../../node/ports/world.ts';
import { unattended } from '../../node/unattended.ts';
import { MAX_OBJECTS } from '../catalogue.ts';

/** Part of the most objects from which on a node warns. */
const NEARLY = 0.8;
/** Shortest time between two counts of all objects, in milliseconds. */
const COUNT_MS = 24 * 3_600_000;

interface CountParts {
  readonly world: Pick<World, 'monotonic'>;
  readonly log: Log;
  readonly target: BackupTarget;
  /** First part of the names in the target. */
  readonly cluster: string;
  /** Objects that a restore reads at most. */
  readonly mostObjects?: number;
}

export class ObjectCount {
  readonly #parts: CountParts;
  readonly #most: number;
  #objects: number | null = null;
  #countedAt = Number.NEGATIVE_INFINITY;

  constructor(parts: CountParts) {
    this.#parts = parts;
    this.#most = parts.mostObjects ?? MAX_OBJECTS;
  }

  /** Objects that were counted last, and those that the node has put since; null: nobody has counted. */
  get objects(): number | null {
    return this.#objects;
  }

  /** Takes note of how many objects of the node's history the target lists. */
  listed(objects: number): void {
    this.#objects = objects;
  }

  /** Takes note of an object that the node has put. */
  added(): void {
    if (this.#objects !== null) this.#objects += 1;
  }

  /**
   * Counts all objects of the cluster if there may be nearly too many, and warns if there are: others archive there too, and delete old ones.
   * Nothing waits for it, because a long list takes minutes.
   */
  check(call: TargetCall): void {
    const { log, target, world } = this.#parts;
    const now = world.monotonic();
    if (!this.#isNearlyTooMuch || now - this.#countedAt < COUNT_MS) return;
    this.#countedAt = now;
    unattended(this.#count(call), (error) => {
      if (call.signal?.aborted !== true)
        log.warn('archive-count-failed', { target: target.shown, error: inLogOf(error) });
    });
  }

  async #count(call: TargetCall): Promise<void> {
    const { cluster, log, target } = this.#parts;
    let objects = 0;
    for await (const _ of target.list(cluster, call)) objects += 1;
    this.#objects = objects;
    if (!this.#isNearlyTooMuch) return;
    log.warn('archive-nearly-too-large', { target: target.shown, objects, most: this.#most });
  }

  get #isNearlyTooMuch(): boolean {
    return (this.#objects ?? 0) >= this.#most * NEARLY;
  }
}
