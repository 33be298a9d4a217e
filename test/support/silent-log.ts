import type { AppLog } from '../../src/runtime/app-log.ts';

/** A log for parts whose messages do not matter to the test. */
export const SILENT: AppLog = {
  setLevel: () => undefined,
  debug: () => undefined,
  info: () => undefined,
  warn: () => undefined,
  error: () => undefined,
};
