/**
 * Answers of the REST API. Made by `npm run openapi` from the schemas in src/http/schemas; do not edit.
 *
 * A newer node may send more members, and values that are not named here.
 *
 * Over 350 lines: they are one list, and nobody writes them by hand.
 */

/** `Sessions` of openapi.yaml. */
export interface SessionsAnswer {
  /**
   * Sessions of the connected replicas, and the last ones that ended, newest first: 64, and 16
   * of peers that never showed that they may replicate.
   */
  readonly sessions: readonly {
    readonly id: string;
    /** Address from which the replica connects. */
    readonly peer: string;
    /** URL under which the replica says that other nodes reach it. */
    readonly url?: string;
    /** Whether the replica is connected. */
    readonly open: boolean;
    /** The last 32 events, oldest first. */
    readonly events: readonly {
      /** Milliseconds since 1970. */
      readonly at: number;
      readonly event:
        | 'connected'
        | 'refused'
        | 'full-resync'
        | 'partial-resync'
        | 'snapshot-resumed'
        | 'snapshot-sent'
        | 'session-ended'
        | 'session-closed';
      /** Facts of the event: `reason`, `bytes`, `runId`, `asked`, `position`, `code` … */
      readonly fields: { readonly [name: string]: string | number };
    }[];
  }[];
}

/** `EndedSession` of openapi.yaml. */
export interface EndedSession {
  readonly id: string;
  readonly ended: true;
}

/** `BacklogReport` of openapi.yaml. */
export interface BacklogAnswer {
  /** A position in the stream: `<run ID>:<offset>`. */
  readonly position: string;
  /** Largest number of bytes that the backlog holds. */
  readonly size: number;
  /** First byte that the backlog holds, counted from 1. */
  readonly firstOffset: number;
  /** Number of bytes that the backlog holds. */
  readonly length: number;
  /** With `--backlog-size auto:TIME`: what the size follows; null: it is fixed. */
  readonly auto: {
    readonly awaySeconds: number;
    readonly floor: number;
    readonly ceiling: number;
  } | null;
  /**
   * Bytes written a second: the mean of the last ten seconds, and of the busiest ten of ten
   * minutes.
   */
  readonly rate: {
    readonly current: number;
    readonly peak: number;
  };
  /**
   * Seconds since the oldest byte of the backlog was committed; after a restart: since the
   * start.
   */
  readonly historySeconds: number;
  /** Seconds that a full backlog lasts at the peak rate; null: nothing was written lately. */
  readonly coversSeconds: number | null;
  /** Replicas that lost their connection and came back, newest first. */
  readonly outages: readonly {
    /** Where it can be reached, or where it came from. */
    readonly replica: string;
    /** Time at which the replica came back, in milliseconds since 1970. */
    readonly at: number;
    readonly awayMs: number;
    /** Number of bytes that were written meanwhile. */
    readonly bytes: number;
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
  }[];
  /**
   * The rule: seconds that a replica may be away, times the bytes written a second at the
   * peak.
   */
  readonly advice: {
    readonly awaySeconds: number;
    /** Size in bytes that the backlog should have. */
    readonly size: number;
    /** Whether the backlog has that size, or `--journal-keep` keeps as much. */
    readonly enough: boolean;
    /** The same for people. */
    readonly text: string;
  };
}

/** `Config` of openapi.yaml. */
export interface ConfigAnswer {
  /** Fixed while running. */
  readonly host: string;
  /** Fixed while running. */
  readonly port: number;
  /** Fixed while running. */
  readonly adminListen: string | null;
  /** Fixed while running. */
  readonly metricsListen: string | null;
  /** Fixed while running. */
  readonly cluster: string | null;
  /** The data folder. Fixed while running. */
  readonly data: string;
  /** Fixed while running. */
  readonly fsync: 'always' | 'everysec' | 'no';
  /** Fixed while running. */
  readonly announceUrl: string | null;
  /** Fixed while running. */
  readonly maxConnections: number;
  /** Origins whose web pages may read, write and follow here; `any`: all. Fixed while running. */
  readonly allowOrigin: readonly string[] | string;
  /**
   * Names that the node answers to, beside those of `host` and `announceUrl`. Fixed while
   * running.
   */
  readonly allowHost: readonly string[];
  /** Proxies whose X-Forwarded headers the node believes. Fixed while running. */
  readonly trustProxy: readonly string[];
  /** Fixed while running. */
  readonly publicUrl: string | null;
  /** Fixed while running. */
  readonly onDamage: 'stop' | 'resync';
  /** Fixed while running. */
  readonly accessLog: string | null;
  /** Fixed while running. */
  readonly tokensFile: string | null;
  /** Fixed while running. */
  readonly anonymousRights: readonly string[];
  /** Fixed while running. */
  readonly authFailures: number;
  /** Requests a second; 0: no limit. Fixed while running. */
  readonly rateLimit: number;
  /** 0: no limit but that of all connections. Fixed while running. */
  readonly maxConnectionsPerToken: number;
  /** 0: no limit but that of all followers. Fixed while running. */
  readonly maxFollowersPerToken: number;
  /** Fixed while running. */
  readonly jwtJwks: string | null;
  /** Fixed while running. */
  readonly jwtKeyFile: string | null;
  /** Fixed while running. */
  readonly jwtAudience: string | null;
  /** Fixed while running. */
  readonly jwtIssuer: string | null;
  /** Milliseconds. Fixed while running. */
  readonly jwtMaxAge: number;
  /** Fixed while running. */
  readonly upstreamTokenFile: string | null;
  /** Fixed while running. */
  readonly upstreamCa: string | null;
  /** Fixed while running. */
  readonly upstreamCaOnly: boolean;
  /** Fixed while running. */
  readonly upstreamCert: string | null;
  /** Fixed while running. */
  readonly upstreamKey: string | null;
  /** Fixed while running. */
  readonly tlsCert: string | null;
  /** Fixed while running. */
  readonly tlsKey: string | null;
  /** Fixed while running. */
  readonly tlsClientCa: string | null;
  /** Fixed while running. */
  readonly tlsClientAuth: 'no' | 'optional' | 'required';
  /** Fixed while running. */
  readonly tlsMinVersion: '1.2' | '1.3';
  /** Milliseconds; 0: on SIGHUP only. Fixed while running. */
  readonly tlsReloadInterval: number;
  /** Fixed while running. */
  readonly backupTo: string | null;
  /** Milliseconds. Fixed while running. */
  readonly backupEvery: number;
  /** Fixed while running. */
  readonly backupKeep: string | null;
  /** Fixed while running. */
  readonly backupRole: 'any' | 'replica' | 'master';
  /** Fixed while running. */
  readonly archiveTo: string | null;
  /** Bytes. Fixed while running. */
  readonly archiveJournalLimit: number;
  /** Fixed while running. */
  readonly archiveCompress: boolean;
  /** Lowest level of the messages in the log. */
  readonly logLevel: 'error' | 'warn' | 'info' | 'debug';
  /** Bytes; or `auto:TIME`: large enough for replicas that are away for TIME. */
  readonly backlogSize: number | string;
  /** Bytes. */
  readonly backlogFloor: number;
  /** Bytes. */
  readonly backlogCeiling: number;
  /**
   * Bytes; or `TIME,SIZE`: what was committed within the time, and so many bytes of it at
   * most.
   */
  readonly journalKeep: number | string;
  /** Bytes. */
  readonly overlaySize: number;
  /** Milliseconds. */
  readonly applyInterval: number;
  /** Milliseconds. */
  readonly replTimeout: number;
  /** Milliseconds. */
  readonly replPingInterval: number;
  /** Bytes. */
  readonly replicaOutputLimit: number;
  /** Bytes. */
  readonly replicaOutputSoftLimit: number;
  /** Milliseconds. */
  readonly replicaOutputSoftTime: number;
  readonly maxReplicas: number;
  readonly maxFollowers: number;
  /** Bytes. */
  readonly followerOutputLimit: number;
  readonly minReplicasToWrite: number;
  /** Milliseconds. */
  readonly minReplicasMaxLag: number;
  /** A full resync may replace this node's data by the empty keyspace of an unrelated history. */
  readonly allowEmptyMaster: boolean;
  /** Number of replaced keyspace files that the node keeps. */
  readonly keepReplaced: number;
  /** Milliseconds. */
  readonly snapshotKeep: number;
  /** Bytes. */
  readonly snapshotBudget: number;
  /** Milliseconds; 0: the node does not search the keyspace file for damage. */
  readonly scrubInterval: number;
  /** Milliseconds; 0: a replica does not compare itself with its master. */
  readonly verifyInterval: number;
  /** Milliseconds. */
  readonly bodyTimeout: number;
  /** Bytes. */
  readonly requestMemory: number;
  readonly maxWaiting: number;
  /** Milliseconds; 0: a node that stops waits neither for its replicas nor for its archive. */
  readonly shutdownTimeout: number;
}

/** `ConfigPatch` of openapi.yaml. */
export interface ConfigPatch {
  /** As on the command line: a number, text with a unit (`2mb`, `5s`), true or false. */
  readonly logLevel?: number | string | boolean;
  /** As on the command line: a number, text with a unit (`2mb`, `5s`), true or false. */
  readonly backlogSize?: number | string | boolean;
  /** As on the command line: a number, text with a unit (`2mb`, `5s`), true or false. */
  readonly backlogFloor?: number | string | boolean;
  /** As on the command line: a number, text with a unit (`2mb`, `5s`), true or false. */
  readonly backlogCeiling?: number | string | boolean;
  /** As on the command line: a number, text with a unit (`2mb`, `5s`), true or false. */
  readonly journalKeep?: number | string | boolean;
  /** As on the command line: a number, text with a unit (`2mb`, `5s`), true or false. */
  readonly overlaySize?: number | string | boolean;
  /** As on the command line: a number, text with a unit (`2mb`, `5s`), true or false. */
  readonly applyInterval?: number | string | boolean;
  /** As on the command line: a number, text with a unit (`2mb`, `5s`), true or false. */
  readonly replTimeout?: number | string | boolean;
  /** As on the command line: a number, text with a unit (`2mb`, `5s`), true or false. */
  readonly replPingInterval?: number | string | boolean;
  /** As on the command line: a number, text with a unit (`2mb`, `5s`), true or false. */
  readonly replicaOutputLimit?: number | string | boolean;
  /** As on the command line: a number, text with a unit (`2mb`, `5s`), true or false. */
  readonly replicaOutputSoftLimit?: number | string | boolean;
  /** As on the command line: a number, text with a unit (`2mb`, `5s`), true or false. */
  readonly replicaOutputSoftTime?: number | string | boolean;
  /** As on the command line: a number, text with a unit (`2mb`, `5s`), true or false. */
  readonly maxReplicas?: number | string | boolean;
  /** As on the command line: a number, text with a unit (`2mb`, `5s`), true or false. */
  readonly maxFollowers?: number | string | boolean;
  /** As on the command line: a number, text with a unit (`2mb`, `5s`), true or false. */
  readonly followerOutputLimit?: number | string | boolean;
  /** As on the command line: a number, text with a unit (`2mb`, `5s`), true or false. */
  readonly minReplicasToWrite?: number | string | boolean;
  /** As on the command line: a number, text with a unit (`2mb`, `5s`), true or false. */
  readonly minReplicasMaxLag?: number | string | boolean;
  /** As on the command line: a number, text with a unit (`2mb`, `5s`), true or false. */
  readonly allowEmptyMaster?: number | string | boolean;
  /** As on the command line: a number, text with a unit (`2mb`, `5s`), true or false. */
  readonly keepReplaced?: number | string | boolean;
  /** As on the command line: a number, text with a unit (`2mb`, `5s`), true or false. */
  readonly snapshotKeep?: number | string | boolean;
  /** As on the command line: a number, text with a unit (`2mb`, `5s`), true or false. */
  readonly snapshotBudget?: number | string | boolean;
  /** As on the command line: a number, text with a unit (`2mb`, `5s`), true or false. */
  readonly scrubInterval?: number | string | boolean;
  /** As on the command line: a number, text with a unit (`2mb`, `5s`), true or false. */
  readonly verifyInterval?: number | string | boolean;
  /** As on the command line: a number, text with a unit (`2mb`, `5s`), true or false. */
  readonly bodyTimeout?: number | string | boolean;
  /** As on the command line: a number, text with a unit (`2mb`, `5s`), true or false. */
  readonly requestMemory?: number | string | boolean;
  /** As on the command line: a number, text with a unit (`2mb`, `5s`), true or false. */
  readonly maxWaiting?: number | string | boolean;
  /** As on the command line: a number, text with a unit (`2mb`, `5s`), true or false. */
  readonly shutdownTimeout?: number | string | boolean;
}

/** `TokenList` of openapi.yaml. */
export interface TokensAnswer {
  /** In the order in which they were made. The tokens themselves are kept nowhere. */
  readonly tokens: readonly {
    /** Public part of the token; logs name it. */
    readonly id: string;
    /** What the token is for. */
    readonly name: string;
    /** `admin` includes all other rights. */
    readonly rights: readonly ('read' | 'write' | 'replicate' | 'metrics' | 'admin')[];
    /** Beginnings of the keys that the token may read and write. null: all keys. */
    readonly prefixes: readonly string[] | null;
    /** Time from which the token is no longer valid, in milliseconds of Unix time; null: never. */
    readonly expiresAt: number | null;
    /** Unix time in milliseconds. */
    readonly createdAt: number;
    /** Present if the owner shows a certificate instead of a token. */
    readonly certificate?: {
      /** URI or DNS name of the subject, else its common name. */
      readonly san: string;
    };
  }[];
}

/** `TokenRequest` of openapi.yaml. */
export interface TokenRequest {
  /** What the token is for. */
  readonly name: string;
  /** `admin` includes all other rights. */
  readonly rights: readonly ('read' | 'write' | 'replicate' | 'metrics' | 'admin')[];
  /** Beginnings of the keys that the token may read and write. Without it, all keys. */
  readonly prefixes?: readonly string[];
  /**
   * Time from which the token is no longer valid, in milliseconds of Unix time. Without it,
   * never.
   */
  readonly expiresAt?: number;
  /**
   * Its owner gets the rights, and shows the certificate instead of a token. Nothing secret is
   * made then.
   */
  readonly certificate?: {
    /** URI or DNS name of the subject, else its common name. */
    readonly san: string;
  };
}

/** `CreatedToken` of openapi.yaml. */
export interface CreatedToken {
  /** Public part of the token; logs name it. */
  readonly id: string;
  /** What the token is for. */
  readonly name: string;
  /** `admin` includes all other rights. */
  readonly rights: readonly ('read' | 'write' | 'replicate' | 'metrics' | 'admin')[];
  /** Beginnings of the keys that the token may read and write. null: all keys. */
  readonly prefixes: readonly string[] | null;
  /** Time from which the token is no longer valid, in milliseconds of Unix time; null: never. */
  readonly expiresAt: number | null;
  /** Unix time in milliseconds. */
  readonly createdAt: number;
  /** The token itself; absent for a certificate. It is shown here and never again. */
  readonly token?: string;
  /** Present if the owner shows a certificate instead of a token. */
  readonly certificate?: {
    /** URI or DNS name of the subject, else its common name. */
    readonly san: string;
  };
}

/** `RevokedToken` of openapi.yaml. */
export interface RevokedToken {
  /** Public part of the token; logs name it. */
  readonly id: string;
  readonly revoked: true;
}

/** `Health` of openapi.yaml. */
export interface HealthAnswer {
  readonly status: 'ok' | 'ready';
}

/** `WriteHold` of openapi.yaml. */
export interface WriteHoldAnswer {
  /** Milliseconds until the node carries out writes again; 0: it does. */
  readonly remainingMs: number;
}
