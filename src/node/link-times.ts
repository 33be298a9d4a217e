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

/** How far a replica is behind, as its master tells it in the text of a ping frame. */
export interface ToldLag {
  /** Bytes that the master has after those that it sent before the frame. */
  readonly bytes: number;
  /** Milliseconds by which the master may itself be behind the master above it; null: it does not know. */
  readonly ms: number | null;
}

/** Text of a ping frame: `LAG`, and the two numbers; `-` if the second is not known. Other nodes take no notice of it. */
const LAG = /^LAG (\d{1,15}) (\d{1,15}|-)$/;

/** @returns the text of the ping frame that tells a lag */
export function lagText({ bytes, ms }: ToldLag): string {
  return `LAG ${bytes} ${ms ?? '-'}`;
}

/** @returns the lag that a ping frame tells; null: it tells none */
export function toldLag(text: string): ToldLag | null {
  const [, bytes, ms] = LAG.exec(text) ?? [];
  if (bytes === undefined) return null;
  return { bytes: Number(bytes), ms: ms === '-' ? null : Number(ms) };
}
