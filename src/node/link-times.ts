/** Rules that both ends of a replication connection share: how it stays alive, and how a master asks for an acknowledgement. */

export interface LinkTimes {
  /** Milliseconds of silence of the other end after which a node drops the connection. */
  readonly timeoutMs: number;
  /** Milliseconds between two ping frames; both ends send them. */
  readonly pingIntervalMs: number;
}

/** Text of a ping frame with which a master asks for a REPLCONF ACK at once (Redis puts REPLCONF GETACK into the stream). */
export const GETACK = 'GETACK';
/**
 * Text of a ping frame with which a master asks for an acknowledgement at once, and for another one when everything up to there is
 * on the replica's disk. From then on all acknowledgements on the connection say FACK (Redis's WAITAOF).
 */
export const GETFACK = 'GETFACK';
