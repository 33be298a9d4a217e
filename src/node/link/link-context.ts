/** The contract between a link, its connections and their node. */
import { CloseCode } from '../../replication/close-code.ts';
import type { FullResyncReason } from '../../replication/decide.ts';
import type { AnsweredLineage, LinkRequest, NotServed } from '../../replication/link-phases.ts';
import type { RunId } from '../../replication/position.ts';
import type { StreamHead } from '../head/stream-head.ts';
import type { LinkTimes } from '../link-times.ts';
import type { Tally } from '../ports/counts.ts';
import { inLogOf, toldOf } from '../ports/failures.ts';
import type { KeyspaceFiles } from '../ports/keyspace-files.ts';
import type { AskPeer } from '../ports/peers.ts';
import type { StateStore } from '../ports/state-store.ts';
import { type Dial, UnusableTls } from '../ports/stream-socket.ts';
import type { Log, World } from '../ports/world.ts';
import type { Adoption } from './adoption.ts';

export type LinkState =
  | 'connecting'
  | 'handshake'
  | 'snapshot'
  | 'streaming'
  | 'waiting'
  | 'refused'
  /** The master wants a token, or another one. */
  | 'unauthorized'
  /** The two nodes do not agree on TLS, or one does not trust the other's certificate. */
  | 'tls';

/** The way in which the master has brought this node up to date. */
export interface SyncReport {
  readonly kind: 'full' | 'partial';
  readonly reason: FullResyncReason | null;
  /** Size of the snapshot, or of the part of the stream that this node lacked; null: the master did not tell. */
  readonly bytes: number | null;
  readonly durationMs: number;
  /** Bytes of the snapshot that earlier connections had brought; absent: none. */
  readonly resumedBytes?: number;
}

/** Counts of all links since the node started. */
export interface LinkCounts {
  /** Connections to a master that ended, by how. */
  readonly failures: Tally<AttemptEnd['kind']>;
  /** How masters have brought this node up to date: `partial`, or the reason of a full resync. */
  readonly resyncs: Tally<'partial' | FullResyncReason>;
}

/** How far this node may be behind its master. */
export interface Lag {
  /** Seconds since the node last had everything that its master had, 0 if it has; null: it has not had it since it follows the master. */
  readonly seconds: number | null;
  /** Bytes that the master has, as far as this node knows, and this node has not applied; null: unknown, because it does not receive the master's stream. */
  readonly bytes: number | null;
}

/** The parts of the node that a link uses, the question that it asks its node, and the events that it reports. */
export interface LinkContext {
  readonly world: World;
  readonly log: Log;
  readonly head: StreamHead;
  readonly journal: Pick<StateStore, 'durableUpTo' | 'syncSoon'>;
  readonly dial: Dial;
  readonly ask: AskPeer;
  readonly settings: LinkTimes;
  readonly counts: LinkCounts;
  /** ID of this process; a node that answers with the same is this node itself. */
  readonly nodeId: string;
  /** URL that this node listens on, `ws://HOST:PORT`; null: not known yet. */
  listeningUrl(): string | null;
  readonly files: Pick<KeyspaceFiles, 'receive'>;
  readonly adoption: Pick<Adoption, 'objection' | 'adopt'>;
  /** The request that this node sends to its master now. */
  request(): LinkRequest;
  /** The master lets this node continue, perhaps under another run ID; its history has this lineage and this hash. */
  continued(runId: RunId, lineage: AnsweredLineage, hash: bigint | null): void;
  /** From now on this node receives the master's writes. */
  streaming(): void;
  /** The master has refused this node. */
  refused(detail: string): void;
}

/** Why something failed. */
export interface Failure {
  /** What clients are told too. */
  readonly detail: string;
  /** The same for the log, if that may name files. */
  readonly inLog?: string;
}

/** How one connection to the master ended. */
export interface AttemptEnd extends Failure {
  readonly kind:
    | NotServed
    /** The connection is lost, or one side has given it up. */
    | 'lost'
    /** The two nodes do not agree on TLS. */
    | 'tls'
    /** This node has refused a snapshot, in order to keep its data. */
    | 'guarded'
    /** The snapshot is damaged. */
    | 'damaged';
  /** Present if this node has refused the master, which may have accepted this node. */
  readonly byThisNode?: true;
}

/** @param why what failed, which goes before the words of the error */
export function failureOf(why: string, error: unknown): Failure {
  const [told, inLog] = [toldOf(error), inLogOf(error)];
  return { detail: `${why}: ${told}`, ...(inLog === told ? {} : { inLog: `${why}: ${inLog}` }) };
}

/** @param code with which the master has closed the connection */
export function kindOfClose(code: number): 'unauthorized' | 'tls' | 'lost' {
  if (code === CloseCode.tlsFailed) return 'tls';
  return code === CloseCode.unauthorized || code === CloseCode.forbidden ? 'unauthorized' : 'lost';
}

/** @param failures what came together; null: nothing */
export function joined(failures: readonly (Failure | null)[]): Required<Failure> {
  const all = failures.filter((each) => each !== null);
  return {
    detail: all.map(({ detail }) => detail).join('; '),
    inLog: all.map(({ detail, inLog = detail }) => inLog).join('; '),
  };
}

/** @returns the end of an attempt that got no connection, for example because the stored URL is none */
export function notDialled(error: unknown): AttemptEnd {
  if (error instanceof UnusableTls) return { kind: 'tls', detail: error.message, inLog: error.inLog };
  return { kind: 'lost', ...failureOf('cannot dial', error) };
}

/** The events that one connection reports to its link, and the question that it asks. */
export interface AttemptEvents {
  state(state: LinkState): void;
  /** The master has answered; it announces this URL to clients, or none. */
  announced(url: string | null): void;
  synced(report: SyncReport): void;
  /** The connection has brought something, or has streamed for a while: the next one may be tried at once. */
  stable(): void;
  /** The connection is lost, and this node still checks the snapshot that it has brought; `ended` follows. */
  lost(detail: string): void;
  /** The connection is gone, and nothing of its snapshot is left. Called once; nothing follows. */
  ended(end: AttemptEnd): void;
  /** Whether a user has allowed the next snapshot, whatever it brings. */
  accepted(): boolean;
}
