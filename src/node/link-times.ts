/** Rules that both ends of a replication connection share: how it stays alive, and how a master asks for an acknowledgement. */

export interface LinkTimes {
  /** Milliseconds of silence of the other end after which a node drops the connection. */
  readonly timeoutMs: number;
  /** Milliseconds between two ping frames; both ends send them. */
  readonly pingIntervalMs: number;
}

/** Text of a ping frame with which a master asks for a REPLCONF ACK at once (Redis puts REPLCONF GETACK into the stream). */
export const GETACK = 'GETACK';
