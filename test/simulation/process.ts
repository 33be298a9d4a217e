/**
 * One life of a node: from a start to a crash or a stop. It is the node's `World`, and what ends with it.
 *
 * A crash is thrown out of a port like an error that nobody expects, and from that moment on nothing that the node
 * still does has an effect: its timers never fire, its disk and its sockets take nothing.
 */
import type { World } from '../../src/node/ports/world.ts';
import type { RunId } from '../../src/replication/position.ts';
import type { Chance } from './chance.ts';
import type { EventLoop } from './event-loop.ts';

/** The process is gone; nothing that was to follow happens. */
export class Crashed extends Error {
  override readonly name = 'Crashed';
}

/** Where a disk can fail, or the process end. */
export type DiskPoint =
  | 'append'
  | 'trim'
  | 'save'
  | 'switch'
  | 'begin'
  | 'forget'
  | 'flush'
  | 'receive'
  | 'finish'
  | 'keep'
  | 'remove';

/** 20 November 2025. */
const EPOCH_MS = 1_763_600_000_000;
/** Timers are late, never early. */
const TIMER_LATENESS_MS = 0.5;

export class Process implements World {
  readonly chance: Chance;
  /** On the monotonic clock. */
  readonly startedAt: number;
  readonly #loop: EventLoop;
  readonly #skewMs: () => number;
  readonly #point: (point: DiskPoint, when: 'before' | 'after') => void;
  #alive = true;
  #clock: number | null = null;

  /**
   * @param skewMs how wrong the machine's clock is now
   * @param point may throw, before and after each change of the disk
   */
  constructor(
    loop: EventLoop,
    chance: Chance,
    skewMs: () => number,
    point: (point: DiskPoint, when: 'before' | 'after') => void,
  ) {
    this.#loop = loop;
    this.startedAt = loop.now;
    this.chance = chance;
    this.#skewMs = skewMs;
    this.#point = point;
  }

  get alive(): boolean {
    return this.#alive;
  }

  end(): void {
    this.#alive = false;
  }

  /** Milliseconds on a clock that nobody sets. */
  get elapsed(): number {
    return this.#loop.now;
  }

  now(): number {
    return this.#clock ?? Math.floor(EPOCH_MS + this.#loop.now + this.#skewMs());
  }

  /** Nobody sets it. */
  monotonic(): number {
    return this.#loop.now;
  }

  /** What `look` reads does not depend on the clock: nothing has expired. */
  timeless<T>(look: () => T): T {
    this.#clock = 0;
    try {
      return look();
    } finally {
      this.#clock = null;
    }
  }

  random(): number {
    return this.chance.next();
  }

  newRunId(): RunId {
    return this.chance.hex(40) as RunId;
  }

  after(delayMs: number, callback: () => void): () => void {
    return this.at(delayMs + this.chance.next() * TIMER_LATENESS_MS, callback);
  }

  soon(callback: () => void): void {
    this.at(0, callback);
  }

  /** Exactly then, unless the process has ended by then. */
  at(delayMs: number, callback: () => void): () => void {
    return this.#loop.at(delayMs, () => {
      if (this.#alive) callback();
    });
  }

  /** Resolves after about so many milliseconds; never, if the process ends before. */
  pause(meanMs: number): Promise<void> {
    return new Promise((resolve) => this.at(this.chance.delay(meanMs), resolve));
  }

  /**
   * Makes a change of the disk.
   * @throws Crashed before or after it, StorageError instead of it
   */
  change<T>(point: DiskPoint, change: () => T): T {
    if (!this.#alive) throw new Crashed();
    this.#point(point, 'before');
    const result = change();
    this.#point(point, 'after');
    return result;
  }
}

/** What the fakes of a process need of it: its time, its chance, its end and the failures of its disk. */
export type Life = Pick<Process, 'chance' | 'elapsed' | 'at' | 'pause' | 'change'>;
