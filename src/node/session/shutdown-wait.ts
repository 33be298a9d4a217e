/**
 * The wait of a master that stops, until its replicas have acknowledged every write that it has answered (Redis's
 * `shutdown-timeout`; docs/design/redis-rules.md, R12). The node refuses writes by then, so the end of the stream does not move.
 *
 * Only a master waits. A replica has nothing that its master does not have, and its own replicas can get that from the master.
 */
import { formatPosition, type Offset } from '../../replication/position.ts';
import { replicaName } from '../../replication/upstream.ts';
import { msSince } from '../elapsed.ts';
import type { StreamHead } from '../head/stream-head.ts';
import type { Log, World } from '../ports/world.ts';
import type { Session } from './session.ts';
import type { Sessions } from './sessions.ts';

export interface ShutdownSettings {
  /** Milliseconds for which a master that stops waits for its replicas; 0: it does not wait. */
  readonly shutdownTimeoutMs: number;
}

/** The replicas that the master waits for. */
export interface Lacking {
  readonly replicas: number;
  /** Bytes of the stream that they have not acknowledged, all of them together. */
  readonly bytes: number;
}

interface ShutdownWaitParts {
  readonly world: World;
  readonly log: Log;
  readonly settings: ShutdownSettings;
  readonly head: StreamHead;
  readonly sessions: Sessions;
}

export class ShutdownWait {
  readonly #parts: ShutdownWaitParts;
  /** Ends the wait; null: this node does not wait. */
  #end: (() => void) | null = null;

  constructor(parts: ShutdownWaitParts) {
    this.#parts = parts;
  }

  /** The replicas that this node waits for now; null: it does not wait. */
  get lacking(): Lacking | null {
    return this.#end === null ? null : this.#lackingNow();
  }

  /** Resolves when all connected replicas have acknowledged everything, the time is up, or somebody has called `end`. */
  async run(): Promise<void> {
    const { log, sessions, settings, world } = this.#parts;
    const startedAt = world.monotonic();
    const before = sessions.replicas;
    sessions.wantLastAcks();
    const lacking = this.#lackingNow();
    const timeoutMs = settings.shutdownTimeoutMs;
    if (lacking.replicas > 0 && timeoutMs > 0) {
      log.info('waiting-for-replicas', { ...lacking, timeoutMs });
      await new Promise<void>((resolve) => {
        const cancel = world.after(timeoutMs, () => this.end());
        this.#end = () => {
          cancel();
          resolve();
        };
      });
    }
    this.#report(before, msSince(world, startedAt));
  }

  /** Notes that a replica has acknowledged something, or that its session has ended. */
  changed(): void {
    if (this.#end !== null && this.#lackingNow().replicas === 0) this.end();
  }

  /** Ends the wait. @returns false if this node did not wait */
  end(): boolean {
    const end = this.#end;
    this.#end = null;
    end?.();
    return end !== null;
  }

  #lackingNow(): Lacking {
    const behind = this.#parts.sessions.replicas.filter((session) => !session.progress.hasEverything);
    return {
      replicas: behind.length,
      bytes: behind.reduce((sum, { progress }) => sum + progress.lagBytes, 0),
    };
  }

  /**
   * Logs each replica that lacks bytes, and how many replicas have everything. A replica that left during the wait and did not
   * come back counts too.
   * @param before the replicas that were connected when the wait began
   */
  #report(before: readonly Session[], waitedMs: number): void {
    const { head, log, sessions } = this.#parts;
    const present = sessions.replicas;
    const gone = before.filter(
      (session) =>
        session.status === null &&
        !session.progress.hasEverything &&
        !present.some(({ nodeId }) => nodeId !== null && nodeId === session.nodeId),
    );
    const all = [...present, ...gone];
    const behind = all.filter((session) => !session.progress.hasEverything);
    for (const session of behind) {
      log.warn('replica-left-behind', {
        replica: replicaName(session),
        state: session.status?.state ?? 'gone',
        acknowledged: formatPosition({
          ...head.position,
          offset: session.progress.acknowledgedOffset as Offset,
        }),
        lacksBytes: session.progress.lagBytes,
      });
    }
    if (all.length === 0) return;
    log.info('replicas-at-stop', {
      replicas: all.length,
      upToDate: all.length - behind.length,
      position: formatPosition(head.position),
      waitedMs,
    });
  }
}
