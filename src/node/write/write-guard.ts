/** Decides whether this node takes writes: only if it follows no master, has started, does not stop, and has not lost its disk. */
import { httpUrl } from '../../replication/upstream.ts';
import { LOST_FILE, StorageError } from '../ports/failures.ts';
import type { StateStore } from '../ports/state-store.ts';
import { Problem, storageProblem } from '../problem.ts';

export interface WriteGuardSettings {
  /** The fewest replicas that must have acknowledged something within `minReplicasMaxLagMs` for a write; 0: no replica is needed. */
  readonly minReplicasToWrite: number;
  /** The longest time since the last acknowledgement of a replica that counts, in milliseconds. */
  readonly minReplicasMaxLagMs: number;
}

/** The phases of a node's life, each true once it has begun. */
export interface Life {
  /** Whether the node knows its role and its run ID. */
  readonly started: boolean;
  /** Whether the node refuses writes and changes of its role, because it stops. */
  readonly stopping: boolean;
}

interface WriteGuardParts {
  readonly settings: WriteGuardSettings;
  readonly state: Pick<StateStore, 'lost' | 'upstream'>;
  readonly life: Life;
  /** The node that takes writes, `ws://HOST:PORT`, or null. */
  masterUrl(): string | null;
  /** Whether this node refuses the history of its master. */
  guarded(): boolean;
  /** Counts the replicas that have acknowledged something within the last `maxLagMs` milliseconds. */
  goodReplicas(maxLagMs: number): number;
  /** Whether a hand-over is going on. */
  handsOver(): boolean;
  /** Whether an administrator holds writes. */
  isHeld(): boolean;
}

export class WriteGuard {
  readonly #parts: WriteGuardParts;

  constructor(parts: WriteGuardParts) {
    this.#parts = parts;
  }

  /** The reason why a write turn must refuse its requests, or null. */
  get problem(): Problem | null {
    const { life, state } = this.#parts;
    if (life.stopping) return shuttingDown();
    const { lost, upstream } = state;
    if (upstream !== null) return this.#replicaProblem(upstream);
    if (!life.started) return new Problem('LOADING', 'this node is starting');
    return lost === null
      ? this.#acknowledgementProblem()
      : storageProblem(new StorageError(LOST_FILE, false));
  }

  /** The reason why the node refuses a new request, or null. During a hand-over the node accepts requests and holds them. */
  get admissionProblem(): Problem | null {
    return this.#parts.handsOver() ? null : this.problem;
  }

  /**
   * Whether this node deletes expired entries: a master does, except during a hand-over (docs/design/redis-rules.md, R10) or while its
   * writes are held, when deletions would only wait.
   */
  get mayExpire(): boolean {
    return this.problem === null && !this.#parts.handsOver() && !this.#parts.isHeld();
  }

  #replicaProblem(upstream: string): Problem {
    const master = httpUrl(this.#parts.masterUrl() ?? upstream);
    if (this.#parts.guarded()) {
      return new Problem(
        'LOADING',
        `this node refuses the history of ${master}, and sends no writes there; POST /v1/replication/accept accepts it`,
      );
    }
    return new Problem(
      'READONLY',
      `this node is a replica; write to ${master} (curl: add -L, or --location-trusted with a token)`,
      { master },
    );
  }

  #acknowledgementProblem(): Problem | null {
    const { minReplicasToWrite, minReplicasMaxLagMs } = this.#parts.settings;
    if (minReplicasToWrite === 0) return null;
    const good = this.#parts.goodReplicas(minReplicasMaxLagMs);
    if (good >= minReplicasToWrite) return null;
    return new Problem(
      'NOREPLICAS',
      `${good} replicas have acknowledged something within ${minReplicasMaxLagMs} ms; ${minReplicasToWrite} are required for writes`,
    );
  }
}

/** @returns the problem that a node which stops answers with */
export function shuttingDown(): Problem {
  return new Problem('SHUTTING_DOWN', 'the node is shutting down');
}
