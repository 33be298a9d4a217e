import type { Log } from '../node/ports/world.ts';
import type { LogLevel } from '../settings/table.ts';

/** A log whose level may change while the node runs. */
export interface AppLog extends Log {
  /** @param level the least important level to write from now on */
  setLevel(level: LogLevel): void;
}
