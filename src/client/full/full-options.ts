/** Options that only the `Client` of psyncd/client/full has. */
import type { ClientOptions } from '../request/options.ts';

export interface FullCallOptions {
  /**
   * Most time for each request and its answer, in milliseconds; default 30 s. Where the node waits, `waitMs` comes in addition. For
   * an export it is the time until the stream begins; an import has no limit by default.
   */
  readonly timeoutMs?: number | undefined;
  /** How often a call is repeated that has failed and may be repeated; default 3. */
  readonly retries?: number | undefined;
}

/** Each applies to every call that has none of its own. */
export interface FullClientOptions extends ClientOptions, FullCallOptions {
  /** Whether each read waits until its node has what this client has written. */
  readonly readOwnWrites?: boolean | undefined;
}
