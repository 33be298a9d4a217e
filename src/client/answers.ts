/**
 * Answers of the REST API. Made by `npm run openapi` from the schemas in src/http/schemas; do not edit.
 *
 * A newer node may send more members, and values that are not named here.
 *
 * Over 350 lines: they are one list, and nobody writes them by hand.
 */

/** `Written` of openapi.yaml. */
export interface Written {
  /** At most 1,024 bytes of UTF-8. */
  readonly key: string;
  /** Offset of the end of the command that last set the entry. It is also the ETag. */
  readonly version: number;
  /** Whether the key is new. */
  readonly created: boolean;
  /** When the entry expires, in milliseconds since 1970; null: never. */
  readonly expiresAt: number | null;
  /** A position in the stream: `<run ID>:<offset>`. */
  readonly position: string;
  /**
   * With `acks`: number of replicas that have the write in their journals; with `durable`: on
   * their disks.
   */
  readonly acks?: number;
  /** With `durable`: whether this node has the write on its disk. */
  readonly durable?: boolean;
}

/** `Incremented` of openapi.yaml. */
export interface Incremented {
  /** The new value. JavaScript rounds it beyond 2^53; `GET` returns all digits. */
  readonly value: number;
  /** Offset of the end of the command that last set the entry. It is also the ETag. */
  readonly version: number;
  /** A position in the stream: `<run ID>:<offset>`. */
  readonly position: string;
  /**
   * With `acks`: number of replicas that have the write in their journals; with `durable`: on
   * their disks.
   */
  readonly acks?: number;
  /** With `durable`: whether this node has the write on its disk. */
  readonly durable?: boolean;
}

/** `Appended` of openapi.yaml. */
export interface Appended {
  /** Size of the value in bytes. */
  readonly size: number;
  /** Offset of the end of the command that last set the entry. It is also the ETag. */
  readonly version: number;
  /** A position in the stream: `<run ID>:<offset>`. */
  readonly position: string;
  /**
   * With `acks`: number of replicas that have the write in their journals; with `durable`: on
   * their disks.
   */
  readonly acks?: number;
  /** With `durable`: whether this node has the write on its disk. */
  readonly durable?: boolean;
}

/** `Expiry` of openapi.yaml. */
export interface ExpiryAnswer {
  /** At most 1,024 bytes of UTF-8. */
  readonly key: string;
  /** When the entry expires, in milliseconds since 1970; null: never. */
  readonly expiresAt: number | null;
  /** Offset of the end of the command that last set the entry. It is also the ETag. */
  readonly version: number;
  /** A position in the stream: `<run ID>:<offset>`. */
  readonly position: string;
  /**
   * With `acks`: number of replicas that have the write in their journals; with `durable`: on
   * their disks.
   */
  readonly acks?: number;
  /** With `durable`: whether this node has the write on its disk. */
  readonly durable?: boolean;
}

/** `KeyPage` of openapi.yaml. */
export interface KeyPage {
  readonly keys: readonly {
    /** At most 1,024 bytes of UTF-8. */
    readonly key: string;
    /** Offset of the end of the command that last set the entry. It is also the ETag. */
    readonly version: number;
    /** Size of the value in bytes. */
    readonly size: number;
    /** When the entry expires, in milliseconds since 1970; null: never. */
    readonly expiresAt: number | null;
    /** With `values=true`. */
    readonly value?: string;
    /**
     * How `value` is written: text if it is valid UTF-8, unless escapes would more than double
     * it.
     */
    readonly encoding?: 'utf8' | 'base64';
  }[];
  /**
   * Ask again with `after` = this; null: that was the last page. A page with `next` may have
   * fewer entries than `limit`, or none.
   */
  readonly next: string | null;
  /** A position in the stream: `<run ID>:<offset>`. */
  readonly position: string;
}

/** `DeletedMany` of openapi.yaml. */
export interface DeletedMany {
  /** Number of deleted entries; null with `all=true`, which does not count them. */
  readonly deleted: number | null;
  /** A position in the stream: `<run ID>:<offset>`. */
  readonly position: string;
  /**
   * With `acks`: number of replicas that have the write in their journals; with `durable`: on
   * their disks.
   */
  readonly acks?: number;
  /** With `durable`: whether this node has the write on its disk. */
  readonly durable?: boolean;
}

/** `Imported` of openapi.yaml. */
export interface Imported {
  /** Number of entries that were written. */
  readonly imported: number;
  /** A position in the stream: `<run ID>:<offset>`. */
  readonly position: string;
  /**
   * With `acks`: number of replicas that have the write in their journals; with `durable`: on
   * their disks.
   */
  readonly acks?: number;
  /** With `durable`: whether this node has the write on its disk. */
  readonly durable?: boolean;
}

/** `Difference` of openapi.yaml. */
export interface DiffAnswer {
  /** A position in the stream: `<run ID>:<offset>`. */
  readonly from: string;
  /** The position of the question, or that of the node if it named none. */
  readonly to: string;
  /**
   * Position of the last deletion of all entries in between, FLUSHALL. The keys that were
   * there before it and are not in `changes` are removed too; the node does not know which.
   * null: there is none.
   */
  readonly flushed: string | null;
  /**
   * In the order of the UTF-8 bytes of the keys. Keys that are the same at both positions are
   * not in it.
   */
  readonly changes: readonly {
    /** At most 1,024 bytes of UTF-8. */
    readonly key: string;
    /**
     * `added`, `changed`, or `removed`. `added-or-changed`: there now, and the stream that the
     * node still has does not say whether it was there at `from`. `removed-or-passing`: not
     * there now, and it does not say whether it was there at `from`, or came and went in
     * between. A key counts as changed if it was written, also with the value that it had.
     */
    readonly change: 'added' | 'changed' | 'removed' | 'added-or-changed' | 'removed-or-passing';
    /** Version of the entry at `to`; null: it is removed, or only its expiry was changed. */
    readonly version: number | null;
  }[];
  /**
   * `after` of the next page; ask with the same `from`, and with `to` of this page. null: this
   * is the last one.
   */
  readonly next: string | null;
}

/** `BatchResults` of openapi.yaml. */
export interface BatchAnswer {
  /** Result of each operation, in order. */
  readonly results: readonly {
    /** Offset of the end of the command that last set the entry. It is also the ETag. */
    readonly version?: number;
    /** When the entry expires, in milliseconds since 1970; null: never. */
    readonly expiresAt?: number | null;
    /** `set`: whether the key is new. */
    readonly created?: boolean;
    /** `delete`: whether the key existed. */
    readonly deleted?: boolean;
    /** `expire`, `persist`, `get`: whether the key exists. */
    readonly found?: boolean;
    /** `append`: size of the value in bytes. */
    readonly size?: number;
    /** `increment`: the new value. `get`: the value. */
    readonly value?: number | string;
    /** `get`: how `value` is written. */
    readonly encoding?: 'utf8' | 'base64';
  }[];
  /** A position in the stream: `<run ID>:<offset>`. */
  readonly position: string;
  /**
   * With `acks`: number of replicas that have the write in their journals; with `durable`: on
   * their disks.
   */
  readonly acks?: number;
  /** With `durable`: whether this node has the write on its disk. */
  readonly durable?: boolean;
}

/** `Digest` of openapi.yaml. */
export interface DigestAnswer {
  /** A position in the stream: `<run ID>:<offset>`. */
  readonly position: string;
  /** Number of entries. */
  readonly keys: number;
  /**
   * Hash over key, value and expiry of all entries. It is equal on all nodes at the same
   * position.
   */
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
   * With `against`: whether both nodes hold the same data. If not, one of them is wrong: stop
   * it and look at it.
   */
  readonly equal?: boolean;
}

/** `Replication` of openapi.yaml. */
export interface ReplicationAnswer {
  readonly role: 'master' | 'replica';
  /** Name of this process. Two addresses with the same name are one node. */
  readonly nodeId: string;
  /** Name of one history of writes. */
  readonly runId: string;
  /** Number of bytes of the stream that this node has applied. */
  readonly offset: number;
  /** A position in the stream: `<run ID>:<offset>`. */
  readonly position: string;
  /**
   * Hash over all bytes of the stream up to `position`. Two nodes with the same hash hold the
   * same data. Null: unknown, because the data came from a psyncd that kept none, or from such
   * a master; or the token has neither `replicate` nor `read` for all keys.
   */
  readonly historyHash: string | null;
  /** Run IDs of the earlier histories that this history continues, newest first. */
  readonly lineage: readonly {
    /** Name of one history of writes. */
    readonly runId: string;
    /** Offset up to which both histories have the same bytes. */
    readonly validTo: number;
    readonly reason: 'promoted' | 'unclean-stop' | 'master-changed' | 'copied' | 'rolled-back' | 'restored';
    /** Milliseconds since 1970. */
    readonly at: number;
  }[];
  /**
   * Last bytes of the stream, in memory, from which this node serves partial resyncs. Bytes
   * count from 1.
   */
  readonly backlog: {
    readonly size: number;
    readonly firstOffset: number;
    readonly length: number;
  };
  /**
   * The bytes from which this node serves partial resyncs: the backlog, and before it what
   * `--journal-keep` keeps on the disk. They begin behind what was found damaged.
   */
  readonly window: {
    readonly firstOffset: number;
    readonly length: number;
  };
  /** The master that this node follows; null: this node is a master. */
  readonly upstream: {
    /** URL that this node dials. */
    readonly url: string;
    /**
     * URL that the master announces to clients (`--public-url`, else `--announce-url`). This
     * node redirects writes there.
     */
    readonly announcedUrl?: string;
    /**
     * `unauthorized`: the master wants a token, or another one (`--upstream-token-file`). `tls`:
     * the two nodes do not agree on TLS, or one does not trust the certificate of the other
     * (`--upstream-ca`, `--upstream-cert`).
     */
    readonly state:
      | 'connecting'
      | 'handshake'
      | 'snapshot'
      | 'streaming'
      | 'waiting'
      | 'refused'
      | 'unauthorized'
      | 'tls';
    /** The last error of the link. */
    readonly detail?: string;
    readonly lastSync?: {
      readonly kind: 'full' | 'partial';
      /** Reason of a full resync; null for a partial one. */
      readonly reason: string | null;
      /**
       * Size of the snapshot, or of the part of the stream that this node lacked; null: the master
       * did not say.
       */
      readonly bytes: number | null;
      readonly durationMs: number;
      /** Bytes of the snapshot that had come on connections before, which broke; absent: none. */
      readonly resumedBytes?: number;
    };
    /** Bytes of the snapshot, while it arrives. */
    readonly progress?: {
      readonly received: number;
      readonly total: number;
    };
    /** The part of a snapshot that this node keeps from a connection that broke; absent: none. */
    readonly keptSnapshot?: {
      /** A position in the stream: `<run ID>:<offset>`. */
      readonly position: string;
      /** Bytes of the whole snapshot. */
      readonly length: number;
      /** Number of its first bytes that are here. */
      readonly bytes: number;
      /**
       * What the next connection announces, and `snapshot` of `/v1/replication/check` takes. Null:
       * as with `historyHash` the token may not know it.
       */
      readonly announced: string | null;
    };
    /** Milliseconds since this node last heard from the master. */
    readonly lastIoAgeMs?: number;
    /** Milliseconds since the link stopped streaming, while it does not stream. */
    readonly downMs?: number;
    /**
     * Whether a full resync that would replace the data of this node by nothing waits for `POST
     * /v1/replication/accept`.
     */
    readonly guarded?: boolean;
    /**
     * Present while this node asks the other one to become the master: the `nodeId` of that one;
     * null: not known yet. A replica takes over only if its own master names it here.
     */
    readonly handsOverTo?: string | null;
  } | null;
  /**
   * In the answer to GET: whether everybody may do everything, without tokens or certificates.
   * No node that needs some hands over to it.
   */
  readonly openToAll?: boolean;
  /**
   * With `asked`: the masters above this node, the nearest first. Each node asks the one that
   * it follows, and shows its own token.
   */
  readonly masters?: readonly {
    /** URL under which the node below follows it. */
    readonly url: string;
    /** Name of its process; null: it does not answer the node below it. */
    readonly nodeId: string | null;
  }[];
  readonly replicas: readonly {
    readonly id: string;
    /** URL under which the replica says that other nodes reach it. */
    readonly url?: string;
    /** Address from which the replica connects. */
    readonly peer: string;
    readonly state: 'handshake' | 'snapshot' | 'online';
    /** Offset up to which the replica has the stream in its journal, as it says. */
    readonly offset: number;
    /** Offset up to which it has the stream on its disk; it says so at each acknowledgement. */
    readonly durableOffset?: number;
    readonly lagBytes: number;
    /**
     * Seconds since this node committed the first byte that the replica has not acknowledged; 0:
     * the replica has everything.
     */
    readonly lagSeconds: number;
    /** Milliseconds since the last acknowledgement. */
    readonly ackAgeMs?: number;
    /** Bytes of the snapshot, while this node sends it. */
    readonly progress?: {
      readonly sent: number;
      readonly total: number;
    };
    /** The last resync of the replica. */
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
      /** Size of the snapshot, or of the part of the stream that the replica lacked. */
      readonly bytes: number;
      /**
       * Bytes of the snapshot that the replica had from connections before, which broke; absent:
       * none.
       */
      readonly resumedBytes?: number;
    };
  }[];
  /** With `minReplicasToWrite`: number of replicas that have acknowledged something lately. */
  readonly goodReplicas?: number;
  /** The hand-over in progress; null: there is none. */
  readonly failover: {
    readonly state: 'waiting-for-sync' | 'in-progress';
    /** The replica; null: the first one that has everything. */
    readonly to: string | null;
  } | null;
  /** Whether this node takes writes now, and if not, why. */
  readonly writes: {
    /** `held`: they wait, during a hand-over or because of `PUT /v1/writes/hold`. */
    readonly state: 'taken' | 'held' | 'refused';
    /** The code that refused writes get. */
    readonly problem: string | null;
    /** The reason in words. */
    readonly reason: string | null;
  };
  /**
   * Keyspace files that full resyncs on a diverged history have replaced, oldest first. They
   * are SQLite files in the data folder.
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
   * Backups by the schedule since the start of the process; null: the node makes none
   * (`--backup-to`).
   */
  readonly backups: {
    /** Whether the node looks at the target now, or makes a backup. */
    readonly running: boolean;
    /**
     * Why the node makes no backup now. `master`: it is a replica that does not follow its
     * master; `upstream` says why. `role`: it has another role than `--backup-role` names. Null:
     * nothing but the interval, or `failing`.
     */
    readonly waitsFor?: string | null;
    /**
     * When the target was last known to have a backup of the position that the node had, or a
     * young one, in milliseconds since 1970; null: not yet.
     */
    readonly lastSuccessAt: number | null;
    /** The last backup that this process has made. */
    readonly last: {
      /** Its name in the target. */
      readonly name: string;
      /** A position in the stream: `<run ID>:<offset>`. */
      readonly position: string;
      /** When the entries were so, in milliseconds since 1970. */
      readonly at: number;
      /** Its length. */
      readonly bytes: number;
      readonly durationMs: number;
    } | null;
    /**
     * The last backup of this process that the target had not any more, without a later one in
     * its place: somebody has deleted it, or the disk of the target is not mounted. Null: none.
     */
    readonly gone?: {
      /** Its name in the target. */
      readonly name: string;
      /** When the node noticed that, in milliseconds since 1970. */
      readonly at: number;
    } | null;
    /** Number of backups that failed. */
    readonly failures: number;
    /** The last failure; null: there was none, or a success came after it. */
    readonly failing: {
      /** When the first of the failures since the last success was, in milliseconds since 1970. */
      readonly since: number;
      /** When the last one was, in milliseconds since 1970. */
      readonly at: number;
      /** A code of docs/backup.md, or that of a problem; the log says more. */
      readonly code: string;
    } | null;
  } | null;
  /** The archive of the stream (`--archive-to`); null: this node archives nothing. */
  readonly archive: {
    /**
     * The stream can be restored up to here; null: nothing is known that can, as before the
     * target has answered, and before it has the first backup.
     */
    readonly position: string | null;
    /**
     * When the last byte there was written at the latest, in milliseconds since 1970; null:
     * unknown, as when that was before the start.
     */
    readonly at: number | null;
    /**
     * Bytes of the stream after what can be restored: without a backup in front of them, also
     * those that the target has. Before the target has answered, those that it may lack.
     */
    readonly lagBytes: number;
    /**
     * Whether a backup is in front of the segments; without one, nothing can be restored of
     * them.
     */
    readonly hasBase: boolean;
    /** Whether it has a backup and everything after it, up to the last byte. */
    readonly isWhole: boolean;
    /**
     * When the archive last got something, or had everything, in milliseconds since 1970; null:
     * not since the start.
     */
    readonly lastSuccessAt: number | null;
    /** Number of failures since the start. */
    readonly failures: number;
    /**
     * Number of gaps since the start. The archive begins anew after each, with a new backup;
     * until that is there, the same gap grows.
     */
    readonly restarts: number;
    /**
     * The last gap since the start, of which nothing can be restored unless another node has
     * archived it; null: there was none.
     */
    readonly gap: {
      /** The last position before it that can be restored; null: nothing before it can. */
      readonly after: string | null;
      /** The position of the backup that ends it; null: the target does not have that yet. */
      readonly to: string | null;
      /** When the archive began anew, in milliseconds since 1970. */
      readonly at: number;
    } | null;
    /** The last failure; null: there was none, or a success came after it. */
    readonly failing: {
      /** When the first of the failures since the last success was, in milliseconds since 1970. */
      readonly since: number;
      /** When the last one was, in milliseconds since 1970. */
      readonly at: number;
      /** A code of docs/backup.md, or that of a problem; the log says more. */
      readonly code: string;
    } | null;
  } | null;
  /**
   * Last comparison of this replica with its master in the background (`--verify-interval`);
   * null: there was none, or this node is a master.
   */
  readonly verified: {
    /** Milliseconds since 1970. */
    readonly at: number;
    /** The master. */
    readonly against: string;
    /** A position in the stream: `<run ID>:<offset>`. */
    readonly position: string;
    /** Whether both held the same data at the position. If not, this node gets a full resync. */
    readonly equal: boolean;
  } | null;
  /**
   * Resyncs since the process started, or since `countersResetAt`, counted as Redis counts
   * them.
   */
  readonly counters: {
    readonly syncFull: number;
    readonly syncPartialOk: number;
    readonly syncPartialErr: number;
  };
  /**
   * When the counters, those of `feed` too, were last set to 0, in milliseconds since 1970;
   * null: never since the process started.
   */
  readonly countersResetAt: number | null;
  /** The followers of `/v1/changes`. */
  readonly feed: {
    /** Number of connected followers. */
    readonly followers: number;
    /** Number of followers that read more slowly than clients write. */
    readonly behind: number;
    /** Number of followers that wait for a snapshot or receive one. */
    readonly inSnapshot: number;
    /** Counts since the process started, or since `countersResetAt`. */
    readonly counters: {
      /** Number of followers that continued from their position. */
      readonly continued: number;
      /** Number of snapshots that the node began to send, by reason. */
      readonly resets: { readonly [name: string]: number };
      /** Number of followers that the node disconnected because they lagged too far. */
      readonly tooFarBehind: number;
    };
  };
}

/** `Check` of openapi.yaml. */
export interface CheckAnswer {
  readonly decision: 'continue' | 'full-resync';
  /** Reason of a full resync; null for a partial one. */
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
  /**
   * Number of bytes that the replica lacks; for a full resync: the approximate size of the
   * snapshot, or exactly the rest of it that would be sent, and the stream behind it.
   */
  readonly bytes: number;
  /**
   * Number of the first bytes of the snapshot that the replica has and would not be sent
   * again; 0: it would be sent as a whole, or is not needed.
   */
  readonly resumedBytes: number;
  /**
   * What the node would answer now, because it is a replica without a connection to its
   * master; null: it would decide.
   */
  readonly notNow: string | null;
}

/** `HandedOver` of openapi.yaml. */
export interface FailoverAnswer {
  /** The new master; this node follows it. */
  readonly master: string;
  /** Position of this node, under the run ID of the new master. */
  readonly position: string;
  /** Milliseconds for which writes were held. */
  readonly heldMs: number;
  /**
   * Replicas that still follow this node, as a chain. They can be told to follow the new
   * master.
   */
  readonly replicas: readonly string[];
}

/** `Problem` of openapi.yaml. */
export interface ProblemAnswer {
  readonly type: string;
  readonly title: string;
  readonly status: number;
  /** Stable code, for programs. */
  readonly code:
    | 'BAD_REQUEST'
    | 'KEY_TOO_LONG'
    | 'BAD_LINE'
    | 'UNAUTHORIZED'
    | 'FORBIDDEN'
    | 'NOT_FOUND'
    | 'UNKNOWN_PATH'
    | 'NOT_JSON'
    | 'NOT_INTEGER'
    | 'INTEGER_OVERFLOW'
    | 'CIRCLE'
    | 'FAILOVER_REFUSED'
    | 'FAILOVER_ABORTED'
    | 'NOTHING_GUARDED'
    | 'UNKNOWN_HISTORY'
    | 'PRECONDITION_FAILED'
    | 'POSITION_LOST'
    | 'METHOD_NOT_ALLOWED'
    | 'NOT_ACCEPTABLE'
    | 'REQUEST_TIMEOUT'
    | 'VALUE_TOO_LARGE'
    | 'BATCH_TOO_LARGE'
    | 'BODY_TOO_LARGE'
    | 'UNSUPPORTED_MEDIA_TYPE'
    | 'RANGE_NOT_SATISFIABLE'
    | 'EXPECTATION_FAILED'
    | 'UPGRADE_REQUIRED'
    | 'HEADERS_TOO_LARGE'
    | 'READONLY'
    | 'TOO_MANY_REQUESTS'
    | 'INTERNAL'
    | 'NOT_IMPLEMENTED'
    | 'BAD_PEER'
    | 'NOREPLICAS'
    | 'NOT_REACHED'
    | 'STORAGE_FAILED'
    | 'LOADING'
    | 'SHUTTING_DOWN'
    | 'FAILOVER_TIMED_OUT'
    | 'DISK_FULL';
  /** What happened, for people. */
  readonly detail: string;
  /** READONLY: the URL of the master. */
  readonly master?: string;
  /** BAD_LINE: number of the line, counted from 1. */
  readonly line?: number;
  /** Number of entries of the import that were written. */
  readonly imported?: number;
  /** Index of the failed operation of the batch, counted from 0. */
  readonly op?: number;
  /** POSITION_LOST: the reason, one of those of a full resync. */
  readonly reason?:
    | 'first-sync'
    | 'forced'
    | 'unknown-run-id'
    | 'ahead-of-master'
    | 'behind-backlog'
    | 'past-shared-history'
    | 'different-bytes'
    | 'different-data';
  /** POSITION_LOST of a difference: the positions between which the node has the stream. */
  readonly window?: {
    readonly from: string;
    readonly to: string;
  };
  /** POSITION_LOST of a time: the earliest time since which the node has all changes. */
  readonly earliest?: string;
  /**
   * PRECONDITION_FAILED: the version of the entry; null: there is no entry. Not there for
   * tokens that may not read the entry.
   */
  readonly currentVersion?: number | null;
}
