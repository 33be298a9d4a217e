/**
 * The wiring of a node: makes its parts, gives each part the other parts that it uses, and connects their events.
 *
 * Each part gets the parts that it uses as arguments. It reaches a part that is made later only by a callback, which nobody calls
 * before the constructor has finished. So the order in the constructor is the order of the dependencies.
 *
 * Over 350 lines: it makes each part of a node in one place, and does nothing else.
 */

import { Feed } from './feed/feed.ts';
import type { FeedSettings } from './feed/feed-parts.ts';
import { BacklogKeeper, type BacklogSettings } from './head/backlog-keeper.ts';
import type { HeadSettings } from './head/head-parts.ts';
import { PositionWaiters } from './head/position-waiters.ts';
import { StreamHead } from './head/stream-head.ts';
import { Adoption, type AdoptionSettings } from './link/adoption.ts';
import { MastersAbove } from './link/masters-above.ts';
import type { Keyspace } from './ports/keyspace.ts';
import type { KeyspaceFiles } from './ports/keyspace-files.ts';
import type { AskDigest, AskPeer, OwnToken } from './ports/peers.ts';
import type { SnapshotFiles } from './ports/snapshot-files.ts';
import type { StateStore } from './ports/state-store.ts';
import type { Dial } from './ports/stream-socket.ts';
import type { Log, World } from './ports/world.ts';
import { Failover } from './role/failover.ts';
import { Roles } from './role/roles.ts';
import { RunIds } from './role/run-ids.ts';
import type { Session } from './session/session.ts';
import { Sessions, type SessionsSettings } from './session/sessions.ts';
import { type ShutdownSettings, ShutdownWait } from './session/shutdown-wait.ts';
import { Snapshots } from './session/snapshots.ts';
import type { ClientUrls } from './session/sync-answer.ts';
import { ShownCounters } from './shown-counters.ts';
import { logUnexpected, ownedWorld } from './unattended.ts';
import { type BackupPlan, Backups } from './upkeep/backups.ts';
import { Comparisons } from './upkeep/comparison.ts';
import { SnapshotCopies, type SnapshotSettings } from './upkeep/copies/snapshot-copies.ts';
import { Diffs } from './upkeep/diff/diffs.ts';
import { Digests } from './upkeep/digests.ts';
import { Exports } from './upkeep/exports.ts';
import { Scrubber, type ScrubSettings } from './upkeep/scrubber.ts';
import { StreamForArchive } from './upkeep/stream-for-archive.ts';
import { Verifier, type VerifySettings } from './upkeep/verifier.ts';
import { ExpiredReads } from './write/expired-reads.ts';
import { ExpiryCycle } from './write/expiry-cycle.ts';
import { WriteGuard, type WriteGuardSettings } from './write/write-guard.ts';
import { WriteHold } from './write/write-hold.ts';
import { WriteTurn } from './write/write-turn.ts';

export interface NodeSettings
  extends HeadSettings,
    SessionsSettings,
    BacklogSettings,
    AdoptionSettings,
    FeedSettings,
    ScrubSettings,
    ShutdownSettings,
    SnapshotSettings,
    VerifySettings,
    WriteGuardSettings {}

/** The ports and settings that a node is made from. */
export interface NodeParts {
  readonly world: World;
  readonly log: Log;
  readonly settings: NodeSettings;
  readonly state: StateStore;
  readonly keyspace: Keyspace;
  readonly files: KeyspaceFiles;
  readonly copies: SnapshotFiles;
  readonly dial: Dial;
  readonly ask: AskPeer;
  readonly askDigest: AskDigest;
  readonly ownToken: OwnToken;
  /** Backups by a schedule; absent: none. */
  readonly backups?: BackupPlan | null;
  /** Called when the node cannot continue. The process should end then; it loses nothing by that. */
  failed(error: Error): void;
}

export class Assembly {
  readonly world: World;
  readonly log: Log;
  readonly settings: NodeSettings;
  readonly state: StateStore;
  readonly #ports: NodeParts;
  /** Names this process on the wire; the node never stores it. */
  readonly nodeId: string;
  /** The phases of the node's life; `Node` sets each to true once. `closing`: the node begins nothing new. */
  readonly life = { started: false, stopping: false, closing: false };
  clientUrls: ClientUrls = { announced: null, public: null };
  readonly shownCounters = new ShownCounters();
  /** Whether the last run ended as it should. */
  readonly wasClean: boolean;

  readonly head: StreamHead;
  readonly snapshots: Snapshots;
  readonly sessions: Sessions;
  readonly positions: PositionWaiters;
  readonly feed: Feed;
  readonly adoption: Adoption;
  readonly runIds: RunIds;
  readonly roles: Roles;
  readonly guard: WriteGuard;
  readonly writes: WriteTurn;
  readonly writeHold: WriteHold;
  readonly expiredReads: ExpiredReads;
  readonly expiry: ExpiryCycle;
  readonly failover: Failover;
  readonly shutdownWait: ShutdownWait;
  readonly backlog: BacklogKeeper;
  readonly exports: Exports;
  readonly copies: SnapshotCopies;
  readonly archived: StreamForArchive;
  readonly digests: Digests;
  readonly diffs: Diffs;
  readonly scrubber: Scrubber;
  readonly comparisons: Comparisons;
  readonly verifier: Verifier;
  readonly mastersAbove: MastersAbove;
  /** null: nobody wants backups by a schedule. */
  readonly backups: Backups | null;

  /** Recovers the state at the end of the journal, and puts the parts together. Nothing runs yet. */
  constructor(ports: NodeParts) {
    const { log, settings, state } = ports;
    // Links, sessions and the feed handle their own errors; this owner gets those of all other timers.
    const world = ownedWorld(ports.world, (error) => logUnexpected(log, 'timer', error));
    this.#ports = ports;
    this.world = world;
    this.log = log;
    this.settings = settings;
    this.state = state;
    this.nodeId = world.newRunId();
    this.head = this.#recover();
    const { head } = this;
    this.snapshots = new Snapshots({ world, head, settings });
    this.sessions = this.#newSessions();
    this.positions = this.#newPositions();
    this.feed = this.#newFeed();
    this.adoption = this.#newAdoption();
    this.runIds = this.#newRunIds();
    this.roles = this.#newRoles();
    this.backlog = new BacklogKeeper({ world, settings, log, head });
    this.exports = new Exports({ world, log, settings, head });
    this.copies = new SnapshotCopies({ world, log, settings, head, files: ports.copies });
    this.archived = new StreamForArchive({
      monotonic: () => world.monotonic(),
      head,
      state,
      isSettled: () => this.life.started && this.roles.settled,
      outdated: (shared) => this.runIds.renameOutdated(null, shared),
      freeBytes: () => ports.copies.freeBytes(),
    });
    this.digests = new Digests(head);
    this.diffs = this.#newDiffs();
    this.scrubber = new Scrubber({ world, log, head, settings });
    this.shutdownWait = new ShutdownWait({ world, log, settings, head, sessions: this.sessions });
    this.comparisons = this.#newComparisons();
    this.verifier = this.#newVerifier();
    this.mastersAbove = new MastersAbove({ nodeId: this.nodeId, ask: ports.ask, state });
    this.backups = this.#newBackups(ports.backups ?? null);
    this.wasClean = state.wasClean;
    this.#beginRun();
    this.guard = this.#newGuard();
    this.writes = new WriteTurn({ world, log, head, guard: () => this.guard.problem });
    this.writeHold = new WriteHold({ world, log, writes: this.writes });
    this.expiredReads = new ExpiredReads(this.writes);
    this.expiry = this.#newExpiry();
    this.failover = this.#newFailover();
    head.onCommit(() => this.positions.moved());
  }

  #recover(): StreamHead {
    const { keyspace } = this.#ports;
    const { log, settings, state, world } = this;
    return StreamHead.recover({
      world,
      log,
      settings,
      state,
      keyspace,
      freeBytes: () => this.#ports.copies.freeBytes(),
      failed: (error) => this.#ports.failed(error),
    });
  }

  /**
   * Marks the run as begun. A master that may lack bytes that its replicas have takes a new run ID before that: under the old one
   * it would write other bytes at the same offsets. So does one that cannot tell the history hash of its last byte any more: the chain
   * of hashes that it begins there differs from that of its replicas. A replica gets the bytes, or the hash, from its master again.
   */
  #beginRun(): void {
    const { state } = this;
    if ((state.mayLackBytes || this.head.hasLostHash) && state.upstream === null) {
      this.runIds.renameAfterLoss();
    }
    state.begin();
    if (state.upstream === null) this.head.beginChain();
  }

  #newSessions(): Sessions {
    const { head, log, nodeId, settings, snapshots, world } = this;
    return new Sessions({
      world,
      log,
      head,
      journal: this.state,
      snapshots,
      settings,
      nodeId,
      keyspaceSchema: this.#ports.files.schema,
      lagMs: () => {
        const { seconds } = this.roles.lag;
        return seconds === null ? null : Math.round(seconds * 1_000);
      },
      clientUrls: () => this.clientUrls,
      notReady: () => this.roles.notReady,
      takeOver: (position, hash, session) => this.roles.takeOver(position, hash, session),
      outdated: (session) => this.#outdated(session),
      snapshotRefused: (replica, reason) => this.scrubber.suspect(replica, reason),
      changed: () => {
        this.failover.changed();
        this.shutdownWait.changed();
      },
    });
  }

  /**
   * A replica has bytes of this node's run ID that this node lacks.
   * @returns why it has to ask again; null: the node has a new run ID, or needs none
   */
  #outdated(session: Session): string | null {
    const { archived, runIds } = this;
    if (!runIds.canBeOutdated) return null;
    const shared = archived.provenShared;
    if (shared === 'wait') return 'the archive is asked which bytes it has in common with this node';
    runIds.renameOutdated(session, shared);
    return null;
  }

  #newPositions(): PositionWaiters {
    return new PositionWaiters(this.world, this.settings, () => ({
      position: this.head.position,
      history: this.head.history,
      settled: this.roles.settled,
    }));
  }

  #newFeed(): Feed {
    const { head, log, positions, settings, world } = this;
    return new Feed({
      world,
      log,
      head,
      positions,
      settings,
      isMaster: () => this.roles.role === 'master',
      closing: () => this.life.stopping,
    });
  }

  #newAdoption(): Adoption {
    const { head, log, settings, state, world } = this;
    return new Adoption({
      world,
      log,
      settings,
      state,
      files: this.#ports.files,
      head,
      releaseReaders: (code, reason) => {
        this.sessions.drop(code, reason);
        this.snapshots.forget();
      },
      replaced: () => {
        this.positions.moved();
        this.copies.replaced();
        this.archived.replaced();
        this.feed.replaced();
      },
    });
  }

  #newRunIds(): RunIds {
    const { head, log, sessions, state, world } = this;
    const renamed = (): void => {
      this.snapshots.releaseKept();
      this.positions.moved();
      this.feed.renamed();
    };
    return new RunIds({ world, log, state, head, sessions, renamed });
  }

  #newRoles(): Roles {
    const { adoption, head, log, nodeId, runIds, sessions, settings, state, world } = this;
    const { ask, dial, files } = this.#ports;
    return new Roles({
      world,
      log,
      settings,
      state,
      files,
      dial,
      ask,
      head,
      sessions,
      adoption,
      runIds,
      nodeId,
      events: {
        roleChanged: () => {
          this.writeHold.end();
          this.writes.wake();
        },
        linkStreams: () => {
          this.positions.moved();
          this.failover.linkStreams();
        },
        takenBack: (detail) => this.failover.takenBack(detail),
      },
      stopping: () => this.life.stopping,
    });
  }

  #newDiffs(): Diffs {
    const { head, life, positions, world } = this;
    const isMaster = (): boolean => this.roles.role === 'master';
    return new Diffs({ world, head, positions, isMaster, closing: () => life.closing });
  }

  #newComparisons(): Comparisons {
    const { head, nodeId, world } = this;
    const { ask, askDigest } = this.#ports;
    return new Comparisons({
      world,
      head,
      ask,
      askDigest,
      nodeId,
      reach: (position, timeoutMs, gone) => this.positions.wait(position, timeoutMs, gone, 'this node'),
    });
  }

  #newVerifier(): Verifier {
    const { log, settings, world } = this;
    return new Verifier({
      world,
      log,
      settings,
      master: () => (this.roles.role === 'replica' && this.roles.settled ? this.state.upstream : null),
      compare: (url, timeoutMs, gone) => this.comparisons.compare(url, timeoutMs, gone),
      resync: () => {
        if (this.roles.role === 'master' || this.life.closing) return;
        this.adoption.differ();
        this.roles.startOver();
      },
    });
  }

  #newBackups(plan: BackupPlan | null): Backups | null {
    if (plan === null) return null;
    const { copies, head, log, world } = this;
    return new Backups({
      world,
      log,
      head,
      copies,
      plan,
      standing: () => ({ role: this.roles.role, isCurrent: this.roles.settled }),
    });
  }

  #newGuard(): WriteGuard {
    return new WriteGuard({
      settings: this.settings,
      state: this.state,
      life: this.life,
      masterUrl: () => this.roles.masterUrl,
      guarded: () => this.roles.guarded,
      goodReplicas: (maxLagMs) => this.sessions.goodReplicas(maxLagMs),
      handsOver: () => this.failover.status !== null,
      isHeld: () => this.writeHold.remainingMs > 0,
    });
  }

  #newExpiry(): ExpiryCycle {
    const { head, log, world, writes } = this;
    return new ExpiryCycle({ world, log, head, writes, isMaster: () => this.guard.mayExpire });
  }

  #newFailover(): Failover {
    const { head, log, roles, sessions, world, writes } = this;
    return new Failover({
      world,
      log,
      head,
      sessions,
      writes,
      roles,
      ask: this.#ports.ask,
      ownToken: this.#ports.ownToken,
      stopping: () => this.life.stopping,
    });
  }
}
