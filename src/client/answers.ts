/**
 * Answers of the REST API. Made by `npm run openapi` from the schemas in src/http/schemas; do not edit.
 *
 * A newer node may send more members, and values that are not named here.
 */

/** `Written` of openapi.yaml. */
export interface Written {
  /** At most 1,024 bytes of UTF-8. */
  readonly key: string;
  /** The offset of the end of the command that last set the entry; its ETag. */
  readonly version: number;
  /** The key was not there before. */
  readonly created: boolean;
  /** When the entry expires, in milliseconds since 1970; null: never. */
  readonly expiresAt: number | null;
  /** A position in the stream: `<run ID>:<offset>`. */
  readonly position: string;
  /** With `acks`: how many replicas have it in their journals. */
  readonly acks?: number;
}

/** `Incremented` of openapi.yaml. */
export interface Incremented {
  /** The new value. */
  readonly value: number;
  /** The offset of the end of the command that last set the entry; its ETag. */
  readonly version: number;
  /** A position in the stream: `<run ID>:<offset>`. */
  readonly position: string;
  /** With `acks`: how many replicas have it in their journals. */
  readonly acks?: number;
}

/** `Appended` of openapi.yaml. */
export interface Appended {
  /** Of the value, in bytes. */
  readonly size: number;
  /** The offset of the end of the command that last set the entry; its ETag. */
  readonly version: number;
  /** A position in the stream: `<run ID>:<offset>`. */
  readonly position: string;
  /** With `acks`: how many replicas have it in their journals. */
  readonly acks?: number;
}

/** `Imported` of openapi.yaml. */
export interface Imported {
  /** How many entries were written. */
  readonly imported: number;
  /** A position in the stream: `<run ID>:<offset>`. */
  readonly position: string;
  /** With `acks`: how many replicas have it in their journals. */
  readonly acks?: number;
}

/** `BatchResults` of openapi.yaml. */
export interface BatchAnswer {
  /** One for each operation, in order. */
  readonly results: readonly {
    /** The offset of the end of the command that last set the entry; its ETag. */
    readonly version?: number;
    /** When the entry expires, in milliseconds since 1970; null: never. */
    readonly expiresAt?: number | null;
    /** `set`: the key was not there before. */
    readonly created?: boolean;
    /** `delete`: the key was there. */
    readonly deleted?: boolean;
    /** `expire`, `persist`, `get`: the key is there. */
    readonly found?: boolean;
    /** `append`: of the value, in bytes. */
    readonly size?: number;
    /** `increment`: the new value. `get`: the value. */
    readonly value?: number | string;
    /** `get`: how `value` is written. */
    readonly encoding?: 'utf8' | 'base64';
  }[];
  /** A position in the stream: `<run ID>:<offset>`. */
  readonly position: string;
  /** With `acks`: how many replicas have it in their journals. */
  readonly acks?: number;
}

/** `Digest` of openapi.yaml. */
export interface DigestAnswer {
  /** A position in the stream: `<run ID>:<offset>`. */
  readonly position: string;
  /** How many entries. */
  readonly keys: number;
  /** A hash over key, value and expiry of all entries: equal on every node at equal positions. */
  readonly digest: string;
  /** With `against`: what the other node holds at the same position. */
  readonly against?: {
    readonly url: string;
    /** A position in the stream: `<run ID>:<offset>`. */
    readonly position: string;
    readonly keys: number;
    readonly digest: string;
  };
  /**
   * With `against`: both hold the same. If not, one of them is wrong, and should be stopped
   * and looked at.
   */
  readonly equal?: boolean;
}

/** `Replication` of openapi.yaml. */
export interface ReplicationAnswer {
  readonly role: 'master' | 'replica';
  /** Names this process: what is the same node under two addresses has the same. */
  readonly nodeId: string;
  /** Names one history of writes. */
  readonly runId: string;
  /** How many bytes of the stream have been applied. */
  readonly offset: number;
  /** A position in the stream: `<run ID>:<offset>`. */
  readonly position: string;
  /**
   * A hash over all bytes of the stream up to `position`: two nodes that have the same hold
   * the same. Null: not known, because the data came from a psyncd that kept none, or from
   * such a master.
   */
  readonly historyHash: string | null;
  /** The run IDs that this history grew out of, newest first. */
  readonly lineage: readonly {
    /** Names one history of writes. */
    readonly runId: string;
    /** The offset up to which that history is shared. */
    readonly validTo: number;
    readonly reason: 'promoted' | 'unclean-stop' | 'master-changed' | 'copied' | 'rolled-back';
    /** Milliseconds since 1970. */
    readonly at: number;
  }[];
  /** The last bytes of the stream; what a partial resync is served from. Bytes count from 1. */
  readonly backlog: {
    readonly size: number;
    readonly firstOffset: number;
    readonly length: number;
  };
  /** The master that this node follows; null: it is one. */
  readonly upstream: {
    /** Where this node dials it. */
    readonly url: string;
    /**
     * Where the master says that clients reach it (`--announce-url`): writes are redirected
     * there.
     */
    readonly announcedUrl?: string;
    readonly state: 'connecting' | 'handshake' | 'snapshot' | 'streaming' | 'waiting' | 'refused';
    /** What went wrong last. */
    readonly detail?: string;
    readonly lastSync?: {
      readonly kind: 'full' | 'partial';
      /** Of a full resync. */
      readonly reason: string | null;
      /** The snapshot's size, or the bytes that were lacking; null: the master did not tell. */
      readonly bytes: number | null;
      readonly durationMs: number;
    };
    /** While a snapshot arrives: bytes. */
    readonly progress?: {
      readonly received: number;
      readonly total: number;
    };
    /** How long nothing has been heard of the master. */
    readonly lastIoAgeMs?: number;
    /** While it is not streaming: since when. */
    readonly downMs?: number;
    /**
     * A full resync would replace this node’s data by nothing, and waits for `POST
     * /v1/replication/accept`.
     */
    readonly guarded?: boolean;
  } | null;
  readonly replicas: readonly {
    readonly id: string;
    /** Where the replica says that it can be reached. */
    readonly url?: string;
    /** Where the connection comes from. */
    readonly peer: string;
    readonly state: 'handshake' | 'snapshot' | 'online';
    /** What it has acknowledged. */
    readonly offset: number;
    readonly lagBytes: number;
    /**
     * How long ago the first byte was committed here that the replica has not acknowledged; 0:
     * it has everything.
     */
    readonly lagSeconds: number;
    /** How long ago it acknowledged something. */
    readonly ackAgeMs?: number;
    /** While a snapshot is sent: bytes. */
    readonly progress?: {
      readonly sent: number;
      readonly total: number;
    };
    /** How it was last brought up to date. */
    readonly sync?: {
      readonly kind: 'full' | 'partial';
      readonly reason?:
        | 'first-sync'
        | 'forced'
        | 'unknown-run-id'
        | 'ahead-of-master'
        | 'behind-backlog'
        | 'past-shared-history'
        | 'different-bytes'
        | 'different-data';
      /** The snapshot's size, or the bytes that were lacking. */
      readonly bytes: number;
    };
  }[];
  /** With `minReplicasToWrite`: how many replicas have acknowledged something lately. */
  readonly goodReplicas?: number;
  /** The hand-over that is going on. */
  readonly failover: {
    readonly state: 'waiting-for-sync' | 'in-progress';
    /** The replica; null: the first one that has everything. */
    readonly to: string | null;
  } | null;
  /**
   * Keyspace files that full resyncs on a diverged history have replaced, oldest first: SQLite
   * files in the data folder.
   */
  readonly kept: readonly {
    readonly file: string;
    /** A position in the stream: `<run ID>:<offset>`. */
    readonly position: string;
    /** Of the full resync. */
    readonly reason: string | null;
    /** Milliseconds since 1970. */
    readonly at: number;
  }[];
  /**
   * How a replica was last compared with its master in the background (`--verify-interval`);
   * null: not yet, or it is a master.
   */
  readonly verified: {
    /** Milliseconds since 1970. */
    readonly at: number;
    /** The master. */
    readonly against: string;
    /** A position in the stream: `<run ID>:<offset>`. */
    readonly position: string;
    /** false: this node held other data at the same position, and gets everything anew. */
    readonly equal: boolean;
  } | null;
  /** Since the process started, counted as Redis counts them. */
  readonly counters: {
    readonly syncFull: number;
    readonly syncPartialOk: number;
    readonly syncPartialErr: number;
  };
  /** The followers of `/v1/changes`. */
  readonly feed: {
    /** How many are connected. */
    readonly followers: number;
    /** How many of them read more slowly than is written. */
    readonly behind: number;
    /** How many wait for a snapshot, or are being given one. */
    readonly inSnapshot: number;
    /** Since the process started. */
    readonly counters: {
      /** Followers that went on from their position. */
      readonly continued: number;
      /** Snapshots that were begun, by reason. */
      readonly resets: { readonly [name: string]: number };
      /** Followers that were let go because they lagged too far. */
      readonly tooFarBehind: number;
    };
  };
}

/** `Check` of openapi.yaml. */
export interface CheckAnswer {
  readonly decision: 'continue' | 'full-resync';
  /** Of a full resync. */
  readonly reason:
    | 'first-sync'
    | 'forced'
    | 'unknown-run-id'
    | 'ahead-of-master'
    | 'behind-backlog'
    | 'past-shared-history'
    | 'different-bytes'
    | 'different-data'
    | null;
  /** How many bytes are lacking; of a full resync: of the snapshot, about. */
  readonly bytes: number;
  /** The node is a replica that is not connected, and would say this until it is. */
  readonly notNow: string | null;
}

/** `FailoverResult` of openapi.yaml. */
export interface FailoverAnswer {
  /** The new master; this node follows it. */
  readonly master: string;
  /** Where this node stands, under the run ID of the new master. */
  readonly position: string;
  /** How long writes were held. */
  readonly heldMs: number;
  /**
   * Replicas that go on following this node, as a chain; they can be pointed at the new
   * master.
   */
  readonly replicas: readonly string[];
}
