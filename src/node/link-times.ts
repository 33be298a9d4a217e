/** What both ends of a replication connection agree on: how it is kept alive, and how an acknowledgement is asked for. */

export interface LinkTimes {
  /** A connection that has been silent for so long is dropped. */
  readonly timeoutMs: number;
  /** Both sides send a ping frame this often. */
  readonly pingIntervalMs: number;
}

/** A ping frame that says this asks for a REPLCONF ACK at once (Redis puts REPLCONF GETACK into the stream). */
export const GETACK = 'GETACK';
