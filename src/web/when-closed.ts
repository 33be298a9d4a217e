/** Ends what belongs to an answer or a connection, also when that closed while something was awaited. */

/** An answer, a request or a connection. */
interface Closable {
  /** Whether the event `close` has come. */
  readonly closed: boolean;
  once(event: 'close', listener: () => void): unknown;
}

/**
 * Calls `end` when `what` closes, or now if it has closed: its event `close` does not come again. To be used instead of `once('close')`
 * wherever something may have been awaited since the request arrived.
 */
export function whenClosed(what: Closable, end: () => void): void {
  if (what.closed) end();
  else what.once('close', end);
}
