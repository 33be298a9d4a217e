/**
 * Deletes expired entries, on a master only: a replica hides them and waits for the master's DEL (docs/design/redis-rules.md, R10).
 *
 * A step reads up to 500 due keys of the keyspace file, in the order of their expiries, and submits them to the write turn,
 * which checks each key against the newest state. If more keys are due, the cycle rests for three times as long as the step took:
 * so the deletion takes at most a quarter of the event loop (`BACKGROUND_SHARE`), however many entries expire together.
 * The cycle finds an entry of the overlay only after the applier has written it to the keyspace file, at most an apply interval
 * later. Readers do not see an expired entry meanwhile.
 */
import { compareKeys } from '../../keyspace/key.ts';
import type { StreamHead } from '../head/stream-head.ts';
import { inLogOf } from '../ports/failures.ts';
import type { DueCursor } from '../ports/keyspace.ts';
import type { Log, World } from '../ports/world.ts';
import { restAfter } from '../turns.ts';
import type { WriteTurn } from './write-turn.ts';

/** The most keys that one DEL deletes; a step takes a few milliseconds. */
export const DUE_KEYS = 500;
/** The wait after a step that found the last due keys, in milliseconds. */
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
  /** The last key that the cycle has looked at; null: the next step begins with the first due key. */
  #cursor: DueCursor | null = null;
  /** The deleted entry with the latest expiry. */
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
          // The disk was full, or the role changed. The keys stay due, and a later step deletes them.
          this.#log.warn('expiry-failed', { error: inLogOf(error) });
          this.#later(RETRY_MS);
        },
      );
    });
  }

  /** @returns the wait before the next step, in milliseconds */
  async #step(): Promise<number> {
    if (!this.#isMaster()) return IDLE_MS;
    const startedAt = this.#world.monotonic();
    const now = this.#world.now();
    // Somebody set the clock back, so the entries that expire next come before the last deleted one.
    if (this.#deletedUpTo !== null && this.#deletedUpTo.expiresAt > now) this.#deletedUpTo = null;
    const { keys, cursor } = this.#head.due(now, this.#cursor, DUE_KEYS);
    const lookedMs = this.#world.monotonic() - startedAt;
    // The file lists deleted entries until the applier has written the deletion. The cursor skips them, up to the last due key.
    this.#cursor = keys.length < DUE_KEYS ? null : cursor;
    if (keys.length === 0) return IDLE_MS;
    await this.#writes.submit({ kind: 'expire-due', keys });
    // After a new beginning, the cursor may be at entries before the last deleted one: their deletion is not written yet.
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
