/**
 * One psyncd node: a keyspace, the stream it comes from, and a role. The centre of the shell; HTTP and WebSocket
 * only translate to and from these calls.
 *
 * Owns: how its parts are put together, and whether it takes writes: only while it follows nobody.
 */
import { type Entry, isLive, type Outline } from '../keyspace/entry.ts';
import type { Page, PageRequest } from '../keyspace/page.ts';
import type { WriteRequest } from '../keyspace/write.ts';
import { CloseCode } from '../replication/close-code.ts';
import { type Decision, decide, type Place, UNKNOWN_PLACE } from '../replication/decide.ts';
import { formatHash } from '../replication/history-hash.ts';
import { formatPosition, type Offset, type Position, wireOffset } from '../replication/position.ts';
import { canonicalUpstream, httpUrl, notAnUpstream, parseUpstream } from '../replication/upstream.ts';
import { Feed } from './feed/feed.ts';
import type { FeedRequest } from './feed/feed-request.ts';
import type { FeedSettings } from './feed/feed-settings.ts';
import type { FeedStatus } from './feed/feed-status.ts';
import { BacklogKeeper, type BacklogReport, type BacklogSettings } from './head/backlog-keeper.ts';
import { PositionWaiters } from './head/position-waiters.ts';
import { type HeadSettings, StreamHead } from './head/stream-head.ts';
import { Adoption, type AdoptionSettings } from './link/adoption.ts';
import type { LinkStatus } from './link/link.ts';
import {
  type AskDigest,
  type AskPeer,
  type Dial,
  type Digest,
  type EntryReader,
  type FollowerEvents,
  type FollowerSocket,
  type Keyspace,
  type KeyspaceFiles,
  type Log,
  type SocketEvents,
  type StateStore,
  StorageError,
  type StreamSocket,
  type World,
} from './ports.ts';
import { Problem, storageProblem } from './problem.ts';
import { Failover, type FailoverRequest, type FailoverResult, type FailoverStatus } from './role/failover.ts';
import { type Role, Roles } from './role/roles.ts';
import type { AckPlace } from './session/ack-waiters.ts';
import type { SessionStatus, SyncCounters } from './session/session.ts';
import type { SessionRecord } from './session/session-log.ts';
import { Sessions, type SessionsSettings } from './session/sessions.ts';
import { type Lacking, type ShutdownSettings, ShutdownWait } from './session/shutdown-wait.ts';
import { Snapshots } from './session/snapshots.ts';
import { restAfter, Turns } from './turns.ts';
import { logUnexpected, ownedWorld } from './unattended.ts';
import { type Comparison, Comparisons } from './upkeep/comparison.ts';
import { Exports } from './upkeep/exports.ts';
import { Scrubber, type ScrubSettings, type ScrubStatus } from './upkeep/scrubber.ts';
import { type Verified, Verifier, type VerifySettings } from './upkeep/verifier.ts';
import { ExpiryCycle } from './write/expiry-cycle.ts';
import { type WriteResult, WriteTurn } from './write/write-turn.ts';

export interface NodeSettings
  extends HeadSettings,
    SessionsSettings,
    BacklogSettings,
    AdoptionSettings,
    FeedSettings,
    ScrubSettings,
    ShutdownSettings,
    VerifySettings {
  /** Writes are refused unless so many replicas have acknowledged something within `minReplicasMaxLagMs`; 0: never. */
  readonly minReplicasToWrite: number;
  readonly minReplicasMaxLagMs: number;
}

export interface NodeParts {
  readonly world: World;
  readonly log: Log;
  readonly settings: NodeSettings;
  readonly state: StateStore;
  readonly keyspace: Keyspace;
  readonly files: KeyspaceFiles;
  readonly dial: Dial;
  readonly ask: AskPeer;
  readonly askDigest: AskDigest;
  /** The node cannot go on: the process should end, and loses nothing by that. */
  failed(error: Error): void;
}

/** `deletePrefix` deletes so many entries in one turn: a few milliseconds. */
const DELETE_KEYS = 500;

export interface ReplicationStatus {
  readonly role: Role;
  /** Names this process. */
  readonly nodeId: string;
  readonly runId: string;
  readonly offset: number;
  readonly position: string;
  /** Of the bytes up to `position`, 16 hex digits; null: unknown. */
  readonly historyHash: string | null;
  readonly lineage: readonly {
    readonly runId: string;
    readonly validTo: number;
    readonly reason: string;
    readonly at: number;
  }[];
  readonly backlog: { readonly size: number; readonly firstOffset: number; readonly length: number };
  readonly upstream: LinkStatus | null;
  readonly replicas: readonly SessionStatus[];
  /** With `--min-replicas-to-write`: how many of the replicas count. */
  readonly goodReplicas?: number;
  readonly failover: FailoverStatus | null;
  /** What full resyncs have replaced and was kept, oldest first; in the data folder. */
  readonly kept: readonly {
    readonly file: string;
    readonly position: string;
    readonly reason: string | null;
    readonly at: number;
  }[];
  /** Of a replica: how it was last compared with its master. */
  readonly verified: Verified | null;
  readonly counters: Readonly<SyncCounters>;
  readonly feed: FeedStatus;
}

/** What PSYNC would answer. */
export interface Check {
  readonly decision: Decision;
  /** How many bytes would be sent before the replica is up to date; of a snapshot, about. */
  readonly bytes: number;
  /** Why it would be answered "not now", or null. */
  readonly notNow: string | null;
}

export class Node {
  readonly #parts: NodeParts;
  readonly #head: StreamHead;
  readonly #writes: WriteTurn;
  readonly #adoption: Adoption;
  readonly #roles: Roles;
  readonly #expiry: ExpiryCycle;
  readonly #sessions: Sessions;
  readonly #failover: Failover;
  readonly #positions: PositionWaiters;
  readonly #backlog: BacklogKeeper;
  readonly #feed: Feed;
  readonly #scrubber: Scrubber;
  readonly #comparisons: Comparisons;
  readonly #verifier: Verifier;
  readonly #exports: Exports;
  readonly #shutdownWait: ShutdownWait;
  readonly #wasClean: boolean;
  /** Names this process on the wire; never stored. */
  readonly #nodeId: string;
  #announcedUrl: string | null = null;
  #digest: Promise<unknown> = Promise.resolve();
  #nextDigest: Promise<Digest> | null = null;
  /** Nothing is written any more, and nobody changes the role. */
  #stopping = false;
  /** Nothing new is begun. */
  #closing = false;
  /** Whether the node knows what it is: master or replica, and under which run ID. */
  #started = false;

  /** Recovers the state at the end of the journal. The node answers reads; `start` connects it, and lets it take writes. */
  constructor(given: NodeParts) {
    // Links, sessions and the feed know what to do with their own errors; this is for everything else that has a timer.
    const world = ownedWorld(given.world, (error) => logUnexpected(given.log, 'timer', error));
    const parts = { ...given, world };
    this.#parts = parts;
    this.#nodeId = parts.world.newRunId();
    this.#head = StreamHead.recover(parts);
    const { settings } = parts;
    const snapshots = new Snapshots(this.#head, () => settings.outputLimitBytes);
    this.#sessions = new Sessions({
      ...parts,
      head: this.#head,
      snapshots,
      nodeId: this.#nodeId,
      keyspaceSchema: parts.files.schema,
      announcedUrl: () => this.#announcedUrl,
      notReady: () => this.#roles.notReady,
      takeOver: (position, hash, session) => this.#roles.takeOver(position, hash, session),
      outdated: (session) => this.#roles.renameOutdated(session),
      snapshotRefused: (replica, reason) => this.#scrubber.suspect(replica, reason),
      changed: () => {
        this.#failover.changed();
        this.#shutdownWait.changed();
      },
    });
    this.#positions = new PositionWaiters(parts.world, parts.settings, () => ({
      position: this.position,
      history: this.#head.history,
      settled: this.#roles.settled,
    }));
    this.#feed = new Feed({
      ...parts,
      head: this.#head,
      positions: this.#positions,
      isMaster: () => this.role === 'master',
      closing: () => this.#stopping,
    });
    this.#adoption = new Adoption({
      ...parts,
      head: this.#head,
      releaseReaders: (code, reason) => {
        this.#sessions.drop(code, reason);
        snapshots.forget();
      },
      replaced: () => {
        this.#positions.moved();
        this.#feed.replaced();
      },
    });
    this.#roles = new Roles({
      ...parts,
      head: this.#head,
      sessions: this.#sessions,
      renamed: () => {
        this.#positions.moved();
        this.#feed.renamed();
      },
      settled: () => this.#positions.moved(),
      adoption: this.#adoption,
      nodeId: this.#nodeId,
      failover: () => this.#failover,
      writes: () => this.#writes,
      closing: () => this.#stopping,
    });
    this.#backlog = new BacklogKeeper({ ...parts, head: this.#head });
    this.#exports = new Exports({ ...parts, head: this.#head });
    this.#scrubber = new Scrubber({ ...parts, head: this.#head });
    this.#shutdownWait = new ShutdownWait({ ...parts, head: this.#head, sessions: this.#sessions });
    this.#comparisons = new Comparisons({
      ...parts,
      head: this.#head,
      nodeId: this.#nodeId,
      reach: (position, timeoutMs, gone) => this.reach(position, timeoutMs, gone),
    });
    this.#verifier = new Verifier({
      ...parts,
      master: () => (this.role === 'replica' && this.#roles.settled ? this.upstream : null),
      compare: (url, timeoutMs, gone) => this.#comparisons.compare(url, timeoutMs, gone),
      resync: () => {
        if (this.role === 'master' || this.#closing) return;
        this.#adoption.differ();
        this.#roles.startOver();
      },
    });
    this.#wasClean = parts.state.wasClean;
    // Bytes that others have may be missing here. Under the old run ID they would be written anew, differently.
    // A replica gets them from its master again.
    if (parts.state.mayLackBytes && parts.state.upstream === null) {
      this.#roles.renameAfterLoss();
    }
    parts.state.begin();
    if (parts.state.upstream === null) this.#head.beginChain();
    this.#writes = new WriteTurn({ ...parts, head: this.#head, guard: () => this.#writeProblem() });
    this.#expiry = new ExpiryCycle({
      ...parts,
      head: this.#head,
      writes: this.#writes,
      // During a hand-over nothing expires (docs/design/redis-rules.md, R10): what would be deleted would have to be held.
      isMaster: () => this.#writeProblem() === null && this.#failover.status === null,
    });
    this.#failover = new Failover({
      ...parts,
      head: this.#head,
      sessions: this.#sessions,
      writes: this.#writes,
      isMaster: () => this.role === 'master' && !this.#stopping,
      handOver: (url) => this.#roles.handOver(url),
      takeBack: () => this.#roles.takeBack(),
    });
    this.#head.onCommit(() => this.#positions.moved());
  }

  /**
   * Connects the node.
   * @param listeningUrl where it can be reached, `ws://HOST:PORT`; a replica tells its master
   * @param replicaOf the master to follow, or `no-one`; null: what it was when it stopped
   * @param announcedUrl where clients reach it, `ws://HOST:PORT`, if that is not where its replicas dial it: they send
   *   writes there; null: it is not announced
   * @throws Problem BAD_REQUEST for a URL that cannot be a master
   */
  async start(
    listeningUrl: string,
    replicaOf: string | null,
    announcedUrl: string | null = null,
  ): Promise<void> {
    this.#announcedUrl = announcedUrl;
    await this.#roles.start(listeningUrl, replicaOf);
    this.#started = true;
    this.#expiry.start();
    this.#backlog.start();
    this.#scrubber.start(this.#wasClean);
    this.#verifier.start();
  }

  /** Does at once what changed settings mean, where that is not done when they are read. */
  settingsChanged(): void {
    this.#backlog.adjust();
    this.#scrubber.adjust();
    this.#verifier.adjust();
  }

  /** The node takes no writes any more, and soon nothing at all. */
  get stopping(): boolean {
    return this.#stopping;
  }

  /** The node is about to end: nothing new is begun. */
  get closing(): boolean {
    return this.#closing;
  }

  get role(): Role {
    return this.#roles.role;
  }

  /** The node that this one follows, `ws://HOST:PORT`, or null. */
  get upstream(): string | null {
    return this.#parts.state.upstream;
  }

  get position(): Position {
    return this.#head.position;
  }

  /** The memory, roughly, of what the keyspace file does not hold yet. */
  get overlayBytes(): number {
    return this.#head.overlayBytes;
  }

  /**
   * Writes, in the next write turn.
   * @throws Problem READONLY on a replica; DISK_FULL, STORAGE_FAILED, SHUTTING_DOWN: nothing was written
   */
  write(request: WriteRequest): Promise<WriteResult> {
    return this.#writes.submit(request);
  }

  /** STORAGE_FAILED while a file of this node is not in its place any more, or null. */
  get lossProblem(): Problem | null {
    const { lost } = this.#parts.state;
    return lost === null ? null : new Problem('STORAGE_FAILED', lost);
  }

  /** Why this node does not take writes, or null; during a hand-over it takes and holds them. */
  get writeProblem(): Problem | null {
    return this.#failover.status === null ? this.#writeProblem() : null;
  }

  /** The entry, or null. Reading what has expired on a master deletes it. */
  get(key: string): Entry | null {
    return this.#live(key, this.#head.raw(key));
  }

  /** Like `get`, with the size of the value instead of the value, which is not read: a large one costs no more than a small one. */
  outline(key: string): Outline | null {
    return this.#live(key, this.#head.outline(key));
  }

  #live<T extends Pick<Entry, 'expiresAt'>>(key: string, entry: T | null): T | null {
    if (isLive(entry, this.#parts.world.now())) return entry;
    if (entry !== null && this.#writeProblem() === null && this.#failover.status === null) {
      // The reader does not wait for it; if it fails, the expiry cycle comes by later.
      this.#writes.submit({ kind: 'expire-due', keys: [key] }).catch(() => undefined);
    }
    return null;
  }

  /** Deletes everything in one command; how many entries that were is not counted. */
  async deleteAll(): Promise<{ deleted: null; position: string }> {
    const { position } = await this.#writes.submit({ kind: 'flush-all' });
    return { deleted: null, position };
  }

  /**
   * Deletes the entries whose keys begin so, in key order, some in each turn. While others write it takes a quarter of the
   * event loop (`BACKGROUND_SHARE`), else as much as it gets.
   */
  async deletePrefix(prefix: string): Promise<{ deleted: number; position: string }> {
    let deleted = 0;
    let position = formatPosition(this.position);
    let after: string | null = null;
    let singles = this.#writes.singles;
    do {
      const page: Page = await this.#head.page({ prefix, after, limit: DELETE_KEYS, values: false }, true);
      const pageMs = this.#head.lastPageMs;
      const keys = page.entries.map(({ key }) => key);
      if (keys.length > 0) {
        const result = await this.#writes.submit({ kind: 'delete-many', keys });
        deleted += result.count;
        position = result.position;
        await this.#rest(pageMs + this.#writes.lastTurnMs, this.#writes.singles > singles);
        singles = this.#writes.singles;
      }
      after = page.next;
    } while (after !== null);
    return { deleted, position };
  }

  /** @param stepMs how long the step was @param othersWrite whether it rests for its share, or only for a turn of the event loop */
  #rest(stepMs: number, othersWrite: boolean): Promise<void> {
    const { world } = this.#parts;
    return new Promise((resolve) => {
      if (othersWrite) world.after(restAfter(stepMs), resolve);
      else world.soon(resolve);
    });
  }

  /**
   * All live entries with this prefix, at one position.
   * @throws Problem TOO_MANY_REQUESTS when too many of these are going on
   */
  readEntries(prefix: string): Promise<EntryReader> {
    return this.#exports.read(prefix);
  }

  /** @returns the turns of a loop that serves one request for long */
  turns(): Turns {
    return new Turns(this.#parts.world);
  }

  page(request: PageRequest): Promise<Page> {
    return this.#head.page(request);
  }

  /** Of the state at some position from now on. Who asks while one is being made shares the next one. */
  digest(): Promise<Digest> {
    this.#nextDigest ??= this.#digest
      .catch(() => undefined)
      .then(() => {
        this.#nextDigest = null;
        const digest = this.#head.digest();
        this.#digest = digest;
        return digest;
      });
    return this.#nextDigest;
  }

  /**
   * Compares what this node holds with what the node at the URL holds, at one position.
   * @param url `ws://HOST:PORT` or `http://HOST:PORT`
   * @throws Problem BAD_REQUEST for a URL that is none, and @see Comparisons.compare
   */
  compare(url: string, timeoutMs: number, gone: AbortSignal): Promise<Comparison> {
    const parsed = parseUpstream(url.replace(/^http(?=s?:)/i, 'ws'));
    if (parsed === null) throw new Problem('BAD_REQUEST', notAnUpstream(url));
    return this.#comparisons.compare(canonicalUpstream(parsed), timeoutMs, gone);
  }

  get status(): ReplicationStatus {
    const { runId, lineage } = this.#head.history;
    const { size, firstOffset, length } = this.#head.backlog;
    const { minReplicasToWrite, minReplicasMaxLagMs } = this.#parts.settings;
    return {
      role: this.role,
      nodeId: this.#nodeId,
      runId,
      offset: this.#head.offset,
      position: formatPosition(this.#head.position),
      historyHash: this.#head.hash === null ? null : formatHash(this.#head.hash),
      lineage,
      backlog: { size, firstOffset, length },
      upstream: this.#roles.link,
      replicas: this.#sessions.statuses,
      ...(minReplicasToWrite === 0 ? {} : { goodReplicas: this.#sessions.goodReplicas(minReplicasMaxLagMs) }),
      failover: this.#failover.status,
      kept: this.#parts.state.kept.map(({ name, position, reason, at }) => ({
        file: name,
        position: formatPosition(position),
        reason,
        at,
      })),
      verified: this.role === 'master' ? null : this.#verifier.last,
      counters: { ...this.#sessions.counters },
      feed: this.#feed.status,
    };
  }

  /** How many entries are due and not deleted yet, about; @see ExpiryCycle.backlog */
  get expiredBacklog(): number {
    return this.#expiry.backlog;
  }

  /** The search for damage in the keyspace file. */
  get scrub(): ScrubStatus {
    return this.#scrubber.status;
  }

  /** What happened in the sessions, those that are open and the last ones that have ended, newest first. */
  get sessionRecords(): readonly SessionRecord[] {
    return this.#sessions.records;
  }

  /** @param awaySeconds what the advice is for; null: the longest outage that was seen */
  backlogReport(awaySeconds: number | null): BacklogReport {
    return this.#backlog.report(formatPosition(this.position), this.#sessions.outages, awaySeconds);
  }

  /**
   * What PSYNC would answer to a replica at this position; null: to one that has nothing.
   * @param hash the replica's history hash there; null: it does not tell
   * @throws Problem STORAGE_FAILED when the journal cannot be read
   */
  check(position: Position | null, hash: bigint | null): Check {
    const request =
      position === null
        ? ({ kind: 'psync-first' } as const)
        : ({ kind: 'psync', runId: position.runId, asked: wireOffset(position.offset), hash } as const);
    const place = position === null ? UNKNOWN_PLACE : this.#placeAt(position.offset);
    const decision = decide(request, this.#head.history, this.#head.backlog, place);
    const bytes = decision.kind === 'continue' ? decision.bytes : this.#head.snapshotBytes();
    return { decision, bytes, notNow: this.#roles.notReady?.slice(1) ?? null };
  }

  #placeAt(offset: Offset): Place {
    try {
      return this.#head.placeAt(offset);
    } catch (error) {
      throw error instanceof StorageError ? storageProblem(error) : error;
    }
  }

  /**
   * Resolves when this node has reached the position.
   * @param gone nobody waits for it any more
   * @throws Problem UNKNOWN_HISTORY, NOT_REACHED, TOO_MANY_REQUESTS
   */
  reach(position: Position, timeoutMs: number, gone: AbortSignal): Promise<void> {
    return this.#positions.wait(position, timeoutMs, gone);
  }

  /** How many replicas have acknowledged everything up to `offset`. */
  acknowledgedBy(offset: Offset): number {
    return this.#sessions.acknowledgedBy(offset);
  }

  /**
   * Redis's WAIT: takes a place for a write that will wait until replicas have it in their journals. It waits no longer than
   * this node is the master.
   * @throws Problem TOO_MANY_REQUESTS: too many wait already; nothing should be written then
   */
  enterAcks(): AckPlace {
    const { wait, leave } = this.#sessions.enterAcks();
    return {
      wait: (offset, replicas, timeoutMs) => wait(offset, replicas, this.role === 'master' ? timeoutMs : 0),
      leave,
    };
  }

  /**
   * Hands the master's role over to a replica; this node follows it then.
   * @throws Problem FAILOVER_REFUSED, FAILOVER_ABORTED, FAILOVER_TIMED_OUT, BAD_REQUEST for a URL that is none
   */
  failover({ to, timeoutMs }: FailoverRequest): Promise<FailoverResult> {
    const parsed = to === null ? null : parseUpstream(to);
    if (to !== null && parsed === null) {
      throw new Problem('BAD_REQUEST', notAnUpstream(to));
    }
    return this.#failover.run({ to: parsed === null ? null : canonicalUpstream(parsed), timeoutMs });
  }

  /** @throws Problem FAILOVER_REFUSED when none is going on, or it is too late */
  abortFailover(): void {
    if (this.#failover.status === null && this.#parts.state.handingOver) {
      const detail = `${this.upstream} has been asked to become the master: only its answer decides now. `;
      throw new Problem(
        'FAILOVER_REFUSED',
        `${detail}DELETE /v1/replication/upstream makes this node a master, if the other is known not to be one`,
      );
    }
    this.#failover.abort();
  }

  /** Lets the full resync happen that would replace this node's data by nothing. @throws Problem NOTHING_GUARDED */
  acceptEmptyMaster(): void {
    if (!this.#roles.acceptEmptyMaster()) {
      throw new Problem('NOTHING_GUARDED', 'no full resync waits to be accepted');
    }
  }

  /** REPLICAOF. @see Roles.replicaOf */
  replicaOf(url: string): Promise<boolean> {
    return this.#roles.replicaOf(url);
  }

  /**
   * The keyspace file is damaged: a replica gets everything anew from its master.
   * @returns false on a master, which cannot
   */
  startOver(): boolean {
    if (this.role === 'master' || this.#stopping) return false;
    // Whoever touches the damage until then finds it again.
    if (this.#adoption.distrusted) return true;
    this.#adoption.distrust();
    this.#roles.startOver();
    return true;
  }

  /** REPLICAOF NO ONE. @see Roles.promote */
  promote(): Promise<boolean> {
    return this.#roles.promote();
  }

  /** Takes a connection of a replica. @returns where its events go; if it cannot be served, it is closed at once */
  accept(socket: StreamSocket): SocketEvents {
    return this.#sessions.accept(socket, this.#closing ? [CloseCode.goingAway, 'shutting down'] : null);
  }

  /**
   * Waits until a follower's request can be answered; `serve` it at once then.
   * @param gone nobody waits for it any more
   * @throws Problem @see Feed.admit
   */
  admitFollower(request: FeedRequest, gone: AbortSignal): Promise<FeedRequest> {
    return this.#feed.admit(request, gone);
  }

  /** @returns where the socket's events go */
  serveFollower(request: FeedRequest, socket: FollowerSocket): FollowerEvents {
    return this.#feed.attach(request, socket);
  }

  /**
   * Finishes the turn that is due, and refuses writes from now on.
   */
  refuseWrites(): void {
    if (this.#stopping) return;
    this.#failover.stop();
    this.#writes.drain();
    this.#stopping = true;
    this.#positions.refuse(shuttingDown());
  }

  /**
   * Refuses writes, and resolves when the replicas of a master have acknowledged everything, or after `shutdownTimeoutMs`. Reads are
   * answered meanwhile, replicas may come and go, and writes that wait for acknowledgements get them.
   */
  async waitForReplicas(): Promise<void> {
    this.refuseWrites();
    if (this.role === 'master') await this.#shutdownWait.run();
  }

  /** What `waitForReplicas` waits for, or null. */
  get lacking(): Lacking | null {
    return this.#shutdownWait.lacking;
  }

  /** Lets `waitForReplicas` end now. @returns false if it was not waiting */
  stopWaiting(): boolean {
    return this.#shutdownWait.end();
  }

  /** Lets the replicas go, writes everything into the files and closes them. */
  async close(): Promise<void> {
    this.refuseWrites();
    this.#closing = true;
    this.#shutdownWait.end();
    this.#sessions.releaseWaiters();
    this.#positions.refuse(shuttingDown());
    this.#expiry.stop();
    this.#backlog.stop();
    this.#feed.drop(CloseCode.goingAway, 'shutting down');
    this.#scrubber.stop();
    this.#verifier.stop();
    this.#comparisons.stop();
    await this.#roles.close(async () => {
      this.#sessions.drop(CloseCode.goingAway, 'shutting down');
      const flushed = await this.#head.close();
      await this.#adoption.settled();
      this.#parts.state.close(flushed);
    });
  }

  #writeProblem(): Problem | null {
    if (this.#stopping) return shuttingDown();
    const { lost, upstream } = this.#parts.state;
    if (upstream === null && !this.#started) return new Problem('LOADING', 'this node is starting');
    if (upstream === null)
      return lost === null ? this.#replicaProblem() : storageProblem(new StorageError(lost, false));
    const master = httpUrl(this.#roles.masterUrl ?? upstream);
    if (this.#roles.guarded) {
      return new Problem(
        'LOADING',
        `this node refuses the history of ${master}, and sends no writes there; POST /v1/replication/accept accepts it`,
      );
    }
    return new Problem('READONLY', `this node is a replica; write to ${master} (curl: add -L)`, { master });
  }

  #replicaProblem(): Problem | null {
    const { minReplicasToWrite, minReplicasMaxLagMs } = this.#parts.settings;
    if (minReplicasToWrite === 0) return null;
    const good = this.#sessions.goodReplicas(minReplicasMaxLagMs);
    if (good >= minReplicasToWrite) return null;
    return new Problem(
      'NOREPLICAS',
      `${good} replicas have acknowledged something within ${minReplicasMaxLagMs} ms; ${minReplicasToWrite} are required for writes`,
    );
  }
}

function shuttingDown(): Problem {
  return new Problem('SHUTTING_DOWN', 'the node is shutting down');
}
