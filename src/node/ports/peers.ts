/** Port: questions to other nodes. `src/http/ask-peer.ts` implements it. */
import type { Position } from '../../replication/position.ts';
import type { Digest } from './keyspace.ts';

/** Number of masters above each other that a node looks at. */
export const MAX_CHAIN = 32;

/** A master somewhere above a node, in the words of others. */
export interface MasterAbove {
  /** URL under which the node below it follows it. */
  readonly url: string;
  /** ID of its process; null: it has not answered the node below it. */
  readonly nodeId: string | null;
}

/** What another node says of itself. */
export interface Peer {
  readonly nodeId: string;
  /** Whom it says that it follows, in its own words, which may be anything; null: nobody. */
  readonly upstream: string | null;
  /**
   * ID of the process that it asks to become the master, in its own words; null: it does not know it yet. Absent: it hands over to
   * nobody.
   */
  readonly handsOverTo?: string | null;
  /** Whether everybody who reaches it may do everything. Absent: it does not say. */
  readonly openToAll?: boolean;
  /** Where it stands, `RUN ID:OFFSET`, in its own words. Absent: it does not say. */
  readonly position?: string;
  /** The masters above it, the nearest first, in its own words; at most `MAX_CHAIN`. Absent: it was not asked, or does not say. */
  readonly masters?: readonly MasterAbove[];
}

/** Why another node says nothing of itself: it wants a token and was shown none, or it does not take the one that it was shown. */
export type NoAccess = 'no-token' | 'token-refused';

/** @returns what to do about it, for the operator of this node @param url of the other node */
export function noAccessDetail(url: string, problem: NoAccess): string {
  return problem === 'no-token'
    ? `${url} needs a token, and this node has none to show to it; --upstream-token-file names the file with one`
    : `${url} refuses the token of this node; the token in --upstream-token-file needs the right replicate there`;
}

/** The token that this node shows to the nodes that operators have named, and to replicas that have shown the same. */
export interface OwnToken {
  /** Whether this node has one: then it must not show it to everybody who asks for a sync. */
  readonly isSet: boolean;
  /** Whether this node uses TLS: then it hands over to nobody without, and shows the token to nobody but its master without. */
  readonly needsTls: boolean;
  /** @returns the token at this moment; null: none, or it cannot be read */
  read(): string | null;
}

/** This node shows no token to others. */
export const NO_TOKEN: OwnToken = { isSet: false, needsTls: false, read: () => null };

/** Why another node has told no digest. */
export interface NoDigest {
  /** `UNKNOWN_HISTORY`, `NOT_REACHED`: what it says itself; else it has not answered like a node. */
  readonly code: 'UNKNOWN_HISTORY' | 'NOT_REACHED' | 'BAD_PEER';
  readonly detail: string;
}

/**
 * Asks the node at `ws://HOST:PORT` for its digest when it has reached the position. It never rejects, and takes no longer than
 * `timeoutMs`, or until `gone`.
 */
export type AskDigest = (
  url: string,
  position: Position,
  timeoutMs: number,
  gone: AbortSignal,
) => Promise<Digest | NoDigest>;

/**
 * Asks the node at `ws://HOST:PORT`; null if it does not answer soon, or not like a node. A text says
 * that it wants another token. It never rejects.
 * @param isOurs whether an operator has named this node, or it is a replica that has shown the same token: only such nodes are
 *   shown the token of this node
 * @param asked asks for the masters above that node too: the IDs of the processes that ask each other, this one last. That takes up to
 *   three seconds
 */
export type AskPeer = (
  url: string,
  isOurs: boolean,
  asked?: readonly string[],
) => Promise<Peer | NoAccess | null>;
