/** Port: what the node needs of the process around it. */
import type { RunId } from '../../replication/position.ts';

/** Time, chance and turns of the event loop; a test can bring its own. */
export interface World {
  /**
   * The wall clock, in milliseconds since 1970: for what expires, and for times of day that people read. Anybody may set it, by
   * hours, at any moment.
   */
  now(): number;
  /**
   * Milliseconds, with fractions, on a clock that nobody can set: for everything else, because only its differences mean
   * something.
   */
  monotonic(): number;
  /** A number in [0, 1). */
  random(): number;
  newRunId(): RunId;
  /** Calls back once, after so many milliseconds. @returns what cancels it */
  after(delayMs: number, callback: () => void): () => void;
  /** Calls back once, when what is ready now in the event loop has been handled. */
  soon(callback: () => void): void;
}

export interface Log {
  debug(event: string, fields?: Readonly<Record<string, unknown>>): void;
  info(event: string, fields?: Readonly<Record<string, unknown>>): void;
  warn(event: string, fields?: Readonly<Record<string, unknown>>): void;
  error(event: string, fields?: Readonly<Record<string, unknown>>): void;
}
