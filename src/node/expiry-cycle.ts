/**
 * Deletes what has expired, on a master only: replicas hide it and wait for the DEL (psync-rules.md, 56).
 *
 * A tick looks at so many due keys of the keyspace file, in the order in which they are due, and hands them to the
 * write turn, which decides on the newest state. A tick that finds many is followed by another soon, so a million
 * entries that expire together are deleted in steps of a few milliseconds with room for other work in between.
 * Entries that are only in the overlay are found once the applier has written them, at most an apply interval later;
 * until then readers do not see them any more either.
 */
import type { DueCursor, Log, World } from './ports.ts';
import type { StreamHead } from './stream-head.ts';
import type { WriteTurn } from './write-turn.ts';

/** One DEL deletes at most so many keys. */
export const DUE_KEYS = 1_000;
const IDLE_MS = 100;
const BUSY_MS = 5;

export class ExpiryCycle {
  readonly #world: World;
  readonly #log: Log;
  readonly #head: StreamHead;
  readonly #writes: WriteTurn;
  readonly #isMaster: () => boolean;
  #cursor: DueCursor | null = null;
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

  #later(delayMs: number): void {
    if (this.#stopped) return;
    this.#cancel = this.#world.after(delayMs, () => {
      this.#tick().then(
        (more) => this.#later(more ? BUSY_MS : IDLE_MS),
        (error: unknown) => {
          // A full disk, or the role changed: what is due stays due.
          this.#log.warn('expiry-failed', { error: error instanceof Error ? error.message : String(error) });
          this.#later(IDLE_MS * 10);
        },
      );
    });
  }

  /** @returns whether there may be more that is due now */
  async #tick(): Promise<boolean> {
    if (!this.#isMaster()) return false;
    const { keys, cursor } = this.#head.due(this.#world.now(), this.#cursor, DUE_KEYS);
    // What was deleted is listed until the applier has written it: the cursor is past it until the end is reached.
    this.#cursor = keys.length < DUE_KEYS ? null : cursor;
    if (keys.length > 0) await this.#writes.submit({ kind: 'expire-due', keys });
    return keys.length === DUE_KEYS;
  }
}
