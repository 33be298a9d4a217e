/**
 * Signals that stop a node while it starts. Usually they end the process by themselves. For PID 1, the first process of a container, the
 * kernel ignores a signal that has no handler, and a container that is stopped while its node starts would be killed only after
 * the time-out of the engine.
 */

/** The exit codes that a shell shows for processes which these signals have ended. */
const EXIT_CODES = { SIGTERM: 143, SIGINT: 130 } as const;
const SIGNALS = ['SIGTERM', 'SIGINT'] as const;

/** Lets the signals end the process if it is PID 1. That is safe at any moment of a start, as `kill -9` is. */
export function endOnSignals(): void {
  if (process.pid !== 1) return;
  for (const signal of SIGNALS) process.on(signal, end);
}

/** From now on other handlers take the signals. */
export function othersTakeSignals(): void {
  for (const signal of SIGNALS) process.off(signal, end);
}

function end(signal: NodeJS.Signals): void {
  process.exit(EXIT_CODES[signal as (typeof SIGNALS)[number]]);
}
