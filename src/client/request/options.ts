/** Options of `Client`, and of each of its calls. */
import type { Signal } from '../platform.ts';
import type { Token, Transport } from './token.ts';

export interface ClientOptions {
  /** For nodes with tokens. A function is asked for every request. */
  readonly token?: Token | undefined;
  /** For nodes with certificates of their own. */
  readonly transport?: Transport | undefined;
  /** Called for every request: headers that it brings too. A redirect brings them to no origin that the application has not named. */
  readonly headers?:
    | (() => Readonly<Record<string, string>> | Promise<Readonly<Record<string, string>>>)
    | undefined;
}

export interface CallOptions {
  /** Aborting it ends the call, which then rejects with the signal's reason. */
  readonly signal?: Signal | undefined;
}

/** A call whose node may wait: for a position before it reads, for replicas after it has written. */
export interface WaitOptions extends CallOptions {
  /** Most time that the node waits, in milliseconds; default 5 s. */
  readonly waitMs?: number | undefined;
}

export interface ReadOptions extends WaitOptions {
  /** The node answers when it has reached this position, such as that of the answer to a write. */
  readonly position?: string | undefined;
}

/**
 * State that the entry must have for the write; otherwise ApiError PRECONDITION_FAILED, with the actual state in
 * `problem`.
 */
export interface Condition {
  /** The entry must have exactly this version. */
  readonly ifVersion?: number | undefined;
  /** The entry must not exist. */
  readonly ifAbsent?: boolean | undefined;
}

export interface AckOptions extends WaitOptions {
  /** The node answers when so many replicas have the write in their journals; `acks` of the answer says how many have. */
  readonly acks?: number | undefined;
  /** The node answers when it, and the replicas of `acks`, have the write on their disks. */
  readonly durable?: boolean | undefined;
}

/** Options of a write to one entry. */
export interface WriteOptions extends Condition, AckOptions {}
