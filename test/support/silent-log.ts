import type { Log } from '../../src/node/ports/world.ts';

/** A log for parts whose messages do not matter to the test. */
export const SILENT: Log = { info: () => undefined, warn: () => undefined, error: () => undefined };
