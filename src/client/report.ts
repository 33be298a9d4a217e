/** Calls functions of the application, whose faults must not stop the client. */

/**
 * Calls a listener, if there is one. What it throws, or what a promise that it returns rejects with, is reported to the page's `error`
 * listeners, or in programs without `reportError` (Node) on the console. It never throws.
 */
export function call<Event>(listener: ((event: Event) => unknown) | undefined, event: Event): void {
  try {
    (listener?.(event) as Partial<Promise<unknown>> | undefined)?.catch?.(report);
  } catch (error) {
    report(error);
  }
}

function report(error: unknown): void {
  const { reportError = console.error } = globalThis as { reportError?: (error: unknown) => void };
  try {
    reportError(error);
  } catch {
    // Nobody is left to be told.
  }
}
