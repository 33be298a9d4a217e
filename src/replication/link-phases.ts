/**
 * The phases of the replica's side of the replication conversation, what it asks for, and the effects that it leads to.
 *
 *   ping ──+PONG──► replconf ──+OK──► (partial ──+OK──►) psync
 *                                     psync ──+CONTINUE──────────────────────────────► stream
 *                                       └──+FULLRESYNC──► length ──$n──► snapshot ──n bytes──► stream
 *                                                            └──$n crc32──► snapshot ──n bytes──► checksum ──$crc32──► stream
 *
 * An error of the master, or a line that it must not send, leads to `over`. `link-step.ts` has the tables.
 */
import type { FullResyncReason } from './decide.ts';
import type { Ancestor } from './history.ts';
import type { Position, RunId } from './position.ts';
import type { PartialSnapshot } from './snapshot-terms.ts';

/** What one connection asks its master for. */
export interface LinkRequest {
  /** Position to continue from; null asks for a snapshot. */
  readonly position: Position | null;
  /** With no position: whether the node asks because its data differs from its master's at the same position. */
  readonly different?: boolean;
  /** History hash at `position`; null: unknown. */
  readonly hash: bigint | null;
  /** URL under which this node can be reached; null: it tells none. */
  readonly listeningUrl: string | null;
  /** ID of this process: by it a node notices that it has dialled itself. */
  readonly nodeId: string;
  /** Schema of this node's keyspace files; a snapshot must have the same. */
  readonly keyspaceSchema: number;
  /** Hands over: the node that this one asks becomes the master if it stands at exactly `position`. */
  readonly failover: boolean;
  /** The part of a snapshot that an earlier connection has brought; null or absent: none. */
  readonly partial?: PartialSnapshot | null;
}

/** Lineage that the master's answer states beside the run ID; null: it states none. */
export type AnsweredLineage = readonly Ancestor[] | null;

/**
 * Why the master does not serve this node: its answer is an error. Only `refused` and `other-schema` would be the same if the
 * node asked again soon.
 */
export type NotServed =
  /** `-ERR`: the master rejects the request. */
  | 'refused'
  /** `-SCHEMA`: the node needs a snapshot, and the master's has another schema. It says nothing about a hand-over. */
  | 'other-schema'
  /** `-NOAUTH`, `-WRONGPASS`, `-NOPERM`: the master wants a token, or another one. */
  | 'unauthorized'
  /** `-NOMASTERLINK`: the master is a replica without a link. */
  | 'no-master-link'
  /** Any other error: the master cannot serve now. */
  | 'not-now';

/** Terms of the master's answer that lead to a snapshot. */
interface Announced {
  readonly position: Position;
  /** Reason for the full resync; null: the master states none that this node knows. */
  readonly reason: FullResyncReason | null;
  readonly lineage: AnsweredLineage;
  /** URL under which clients reach the master, `ws://HOST:PORT`; null: it announces none. */
  readonly announcedUrl: string | null;
  /** History hash of the master at `position`; null: it does not know it, or does not tell. */
  readonly hash: bigint | null;
}

export type LinkEffect =
  | { readonly kind: 'send'; readonly words: readonly string[] }
  /** Partial resync: the stream goes on after the position of the request, under this run ID. */
  | {
      readonly kind: 'continue';
      readonly runId: RunId;
      /** Number of bytes that this node lacked; null: the master does not tell. */
      readonly lacking: number | null;
      readonly lineage: AnsweredLineage;
      readonly announcedUrl: string | null;
      /** History hash of the master at the position of the request; null: it does not know it, or does not tell. */
      readonly hash: bigint | null;
    }
  /**
   * Full resync: a snapshot of exactly this position follows, of `length` bytes. `from`: the number of its first bytes that do not
   * come, because this node has announced that it has them; null: all bytes come, and the master will never send only the rest.
   */
  | ({ readonly kind: 'snapshot'; readonly length: number; readonly from: number | null } & Announced)
  | { readonly kind: 'snapshot-bytes'; readonly bytes: Buffer }
  /** `crc32`: checksum of the bytes as the master has sent them; null: it does not tell. */
  | { readonly kind: 'snapshot-end'; readonly crc32: number | null }
  | { readonly kind: 'stream'; readonly bytes: Buffer }
  /** The master serves nothing on this connection; the node keeps everything and comes back. `detail`: its words. */
  | { readonly kind: 'not-served'; readonly why: NotServed; readonly detail: string }
  | { readonly kind: 'protocol-error'; readonly detail: string };

export type LinkPhase =
  /** The node waits for the answer to PING, REPLCONF or PSYNC. */
  | { readonly kind: 'ping' }
  | { readonly kind: 'replconf' }
  /** The node waits for the answer to the announcement of its part of a snapshot. */
  | { readonly kind: 'partial' }
  | { readonly kind: 'psync' }
  /** A snapshot follows, and the line with its length comes first. */
  | ({ readonly kind: 'length' } & Announced)
  /** `left`: bytes that have not come, at least 1; `checksummed`: whether a checksum follows them. */
  | { readonly kind: 'snapshot'; readonly left: number; readonly checksummed: boolean }
  | { readonly kind: 'checksum' }
  | { readonly kind: 'stream' }
  | { readonly kind: 'over' };

type Kind = LinkPhase['kind'];
/** The phases that read lines. */
export type LinePhase = 'ping' | 'replconf' | 'partial' | 'psync' | 'length' | 'checksum';
/** The phases that read bytes. */
export type BytesPhase = 'snapshot' | 'stream';
/** The phase of one kind. */
export type In<K extends Kind> = Extract<LinkPhase, { readonly kind: K }>;
