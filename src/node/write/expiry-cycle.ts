/**
 * Deletes expired entries, on a master only: replicas hide it and wait for the DEL (docs/design/redis-rules.md, R10).
 *
 * A step looks at so many due keys of the keyspace file, in the order in which they are due, and hands them to the
 * write turn, which decides on the newest state. When more is due the next step follows after a rest that is as long as
 * the step makes necessary: however many entries expire together, and whatever a step costs, deleting them takes a quarter
 * of the event loop (`BACKGROUND_SHARE`).
 * Entries that are only in the overlay are found once the applier has written them, at most an apply interval later;
 * until then readers do not see them any more either.
 */
import { compareKeys } from '../../keyspace/key.ts';
import type { StreamHead } from '../head/stream-head.ts';
import type { DueCursor, Log, World } from '../ports.ts';
import { restAfter } from '../turns.ts';
import type { WriteTurn } from './write-turn.ts';

/** The most keys that one DEL deletes; a step takes a few milliseconds. */
export const DUE_KEYS = 500;
/** The wait after a step that found nothing more, in milliseconds. */
const IDLE_MS = 100;
/** The wait after a step that failed, in milliseconds. */
const RETRY_MS = 1_000;
/** The most entries that the backlog counts, which takes about five milliseconds. */
export const MAX_COUNTED = 100_000;

export class ExpiryCycle {
  readonly #world: World;
  readonly #log: Log;
  readonly #head: StreamHead;
  readonly #writes: WriteTurn;
  readonly #isMaster: () => boolean;
  #cursor: DueCursor | null = null;
  /** The last entry that the cycle has deleted. */
  #deletedUpTo: DueCursor | null = null;
  #cancel: (() => void) | null = null;
  #stopped = false;

  constructor(parts: {
    world: World;
    log: Log;
    head: StreamHead;
    writes: WriteTurn;
    isMaster: () => boolean;
  }) {
    this.#world = parts.world;
    this.#log = parts.log;
    this.#head = parts.head;
    this.#writes = parts.writes;
    this.#isMaster = parts.isMaster;
  }

  start(): void {
    this.#later(IDLE_MS);
  }

  stop(): void {
    this.#stopped = true;
    this.#cancel?.();
  }

  /**
   * The number of expired entries that the cycle has not deleted yet, up to `MAX_COUNTED`. It is an estimate: it lacks entries that
   * the keyspace file does not hold yet, and entries that expired before the last deleted one.
   */
  get backlog(): number {
    return this.#head.countDue(this.#world.now(), this.#deletedUpTo, MAX_COUNTED);
  }

  #later(delayMs: number): void {
    if (this.#stopped) return;
    this.#cancel = this.#world.after(delayMs, () => {
      this.#step().then(
        (restMs) => this.#later(restMs),
        (error: unknown) => {
          // A full disk, or the role changed: what is due stays due.
          this.#log.warn('expiry-failed', { error: error instanceof Error ? error.message : String(error) });
          this.#later(RETRY_MS);
        },
      );
    });
  }

  /** @returns when the next step is due, in milliseconds */
  async #step(): Promise<number> {
    if (!this.#isMaster()) return IDLE_MS;
    const startedAt = this.#world.monotonic();
    const now = this.#world.now();
    // The clock was set back: what expires now comes before what was deleted then.
    if (this.#deletedUpTo !== null && this.#deletedUpTo.expiresAt > now) this.#deletedUpTo = null;
    const { keys, cursor } = this.#head.due(now, this.#cursor, DUE_KEYS);
    const lookedMs = this.#world.monotonic() - startedAt;
    // What was deleted is listed until the applier has written it: the cursor is past it until the end is reached.
    this.#cursor = keys.length < DUE_KEYS ? null : cursor;
    if (keys.length === 0) return IDLE_MS;
    await this.#writes.submit({ kind: 'expire-due', keys });
    // From the beginning it comes by entries again that are deleted and not written yet.
    if (isBehind(cursor, this.#deletedUpTo)) this.#deletedUpTo = cursor;
    return keys.length < DUE_KEYS ? IDLE_MS : restAfter(lookedMs + this.#writes.lastTurnMs);
  }
}

/** Whether `one` comes after `other` in the order in which entries are due. */
function isBehind(one: DueCursor | null, other: DueCursor | null): boolean {
  if (one === null || other === null) return other === null;
  if (one.expiresAt !== other.expiresAt) return one.expiresAt > other.expiresAt;
  return compareKeys(one.key, other.key) > 0;
}
