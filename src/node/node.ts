/**
 * One psyncd node: a keyspace, the stream that it comes from, and a role. HTTP and WebSocket translate to and from these calls.
 *
 * Owns: the order in which the parts begin and end. `Assembly` makes the parts and connects them.
 *
 * Over 350 lines: it is all that the node can do, and nearly every member is one call of the part that does it.
 */

import { type Entry, isLive, type Outline } from '../keyspace/entry.ts';
import type { Page, PageRequest } from '../keyspace/page.ts';
import type { WriteRequest } from '../keyspace/write.ts';
import { CloseCode } from '../replication/close-code.ts';
import { formatPosition, type Position } from '../replication/position.ts';
import { Assembly, type NodeParts } from './assembly.ts';
import type { FeedQuery, FeedRequest } from './feed/feed-request.ts';
import type { BacklogReport } from './head/backlog-keeper.ts';
import { type NodeNumbers, nodeNumbers } from './numbers.ts';
import { TargetError } from './ports/backup-target.ts';
import type { FollowerEvents, FollowerSocket } from './ports/follower-socket.ts';
import type { Digest, EntryReader } from './ports/keyspace.ts';
import type { MasterAbove } from './ports/peers.ts';
import type { SnapshotCopy } from './ports/snapshot-files.ts';
import { type Gate, OPEN_GATE, type SocketEvents, type StreamSocket } from './ports/stream-socket.ts';
import type { Problem } from './problem.ts';
import { type Check, type CheckRequest, psyncCheck } from './psync-check.ts';
import { ANY, unreadiness, type Wanted } from './readiness.ts';
import type { FailoverRequest, FailoverResult } from './role/failover.ts';
import type { Role } from './role/roles.ts';
import type { AckCount, AckDemand, AckPlace } from './session/ack-waiters.ts';
import type { SessionRecord } from './session/session-log.ts';
import type { Lacking } from './session/shutdown-wait.ts';
import type { ClientUrls } from './session/sync-answer.ts';
import { type ReplicationStatus, replicationStatus, resetCounters } from './status.ts';
import { Turns } from './turns.ts';
import { type BackupParts, Calls, type MadeBackup, makeBackup } from './upkeep/backup-run.ts';
import type { Comparison } from './upkeep/comparison.ts';
import type { SnapshotDownload } from './upkeep/copies/copy-shelf.ts';
import type { Difference, DiffRequest } from './upkeep/diff/diffs.ts';
import type { ScrubStatus } from './upkeep/scrubber.ts';
import type { StreamForArchive } from './upkeep/stream-for-archive.ts';
import { deletePrefix } from './write/delete-prefix.ts';
import type { Sender, WatchedSender } from './write/sender.ts';
import { shuttingDown } from './write/write-guard.ts';
import type { WriteHold } from './write/write-hold.ts';
import type { WriteResult } from './write/write-turn.ts';

export type { NodeParts, NodeSettings } from './assembly.ts';
export type { Check } from './psync-check.ts';
export type { ReplicationStatus } from './status.ts';

/** Where backups go. */
export type BackupPlace = Pick<BackupParts, 'target' | 'files' | 'cluster'>;

export class Node {
  readonly #parts: Assembly;
  /** Calls of targets for `makeBackup`. */
  readonly #baseCalls = new Calls();

  /** Recovers the state at the end of the journal. The node answers reads; `start` connects it, and lets it take writes. */
  constructor(parts: NodeParts) {
    this.#parts = new Assembly(parts);
  }

  /**
   * Connects the node.
   * @param listeningUrl the URL that the node listens on, `ws://HOST:PORT`; a replica tells its master
   * @param replicaOf the master to follow, or `no-one`; null: the role that the node had when it stopped
   * @param clientUrls the URLs that replicas redirect writes to, if they differ from the one that they dial
   * @throws Problem BAD_REQUEST for a URL that cannot be a master
   */
  async start(
    listeningUrl: string,
    replicaOf: string | null,
    clientUrls: ClientUrls = { announced: null, public: null },
  ): Promise<void> {
    const { backlog, backups, expiry, life, roles, scrubber, verifier, wasClean } = this.#parts;
    this.#parts.clientUrls = clientUrls;
    await roles.start(listeningUrl, replicaOf);
    life.started = true;
    expiry.start();
    backlog.start();
    scrubber.start(wasClean);
    verifier.start();
    backups?.start();
  }

  /** Applies changed settings to the parts that do not read them at each use. */
  settingsChanged(): void {
    const { backlog, scrubber, verifier } = this.#parts;
    backlog.adjust();
    scrubber.adjust();
    verifier.adjust();
  }

  /** Whether the node refuses writes because it stops. */
  get stopping(): boolean {
    return this.#parts.life.stopping;
  }

  /** Whether the node begins nothing new, because it closes. */
  get closing(): boolean {
    return this.#parts.life.closing;
  }

  get role(): Role {
    return this.#parts.roles.role;
  }

  /** The node that this one follows, `ws://HOST:PORT`, or null. */
  get upstream(): string | null {
    return this.#parts.state.upstream;
  }

  get position(): Position {
    return this.#parts.head.position;
  }

  /** The stream and the journal, for an archive of them. */
  get stream(): StreamForArchive {
    return this.#parts.archived;
  }

  /** The memory of the entries that the keyspace file does not hold yet, in bytes, about. */
  get overlayBytes(): number {
    return this.#parts.head.overlayBytes;
  }

  get status(): ReplicationStatus {
    return replicationStatus(this.#parts);
  }

  /** @returns the masters above this node, the nearest first @see MastersAbove.look */
  mastersAbove(asked: readonly string[], client: string): Promise<readonly MasterAbove[]> {
    return this.#parts.mastersAbove.look(asked, client);
  }

  /** Sets the counters of the status to 0. @see resetCounters */
  resetCounters(): void {
    resetCounters(this.#parts);
  }

  /** The numbers that `/metrics` publishes. @see nodeNumbers */
  get numbers(): NodeNumbers {
    return nodeNumbers(this.#parts);
  }

  /** @returns why this node should get no requests of this kind; null: it should @see unreadiness */
  unready(wanted: Wanted = ANY): Problem | null {
    return unreadiness(this.#parts, wanted);
  }

  /** The number of expired entries that the node has not deleted yet, about. @see ExpiryCycle.backlog */
  get expiredBacklog(): number {
    return this.#parts.expiry.backlog;
  }

  /** The state of the background scrub of the keyspace file. */
  get scrub(): ScrubStatus {
    return this.#parts.scrubber.status;
  }

  /** The records of open sessions and of the last ended ones, newest first. */
  get sessionRecords(): readonly SessionRecord[] {
    return this.#parts.sessions.records;
  }

  /** Ends the session of a replica, which connects anew by itself. @see Sessions.close */
  closeSession(id: string): boolean {
    return this.#parts.sessions.close(id);
  }

  /** The hold of writes that an operator may ask for. */
  get writeHold(): WriteHold {
    return this.#parts.writeHold;
  }

  /** The reason why this node refuses writes, or null. @see WriteGuard.admissionProblem */
  get writeProblem(): Problem | null {
    return this.#parts.guard.admissionProblem;
  }

  /**
   * Writes, in the next write turn.
   * @param sender asked when the write is decided; null: nobody can take the right to it away
   * @throws Problem what the sender says; READONLY on a replica; DISK_FULL, STORAGE_FAILED, SHUTTING_DOWN: nothing was written
   */
  write(request: WriteRequest, sender: Sender | null): Promise<WriteResult> {
    return this.#parts.writes.submit(request, sender);
  }

  /** Refuses the waiting writes whose sender may do nothing any more. */
  refuseOver(): void {
    this.#parts.writes.refuseOver();
  }

  /** Deletes all entries in one command, which does not count them. */
  async deleteAll(sender: Sender | null): Promise<{ deleted: null; position: string }> {
    const { position } = await this.write({ kind: 'flush-all' }, sender);
    return { deleted: null, position };
  }

  /** Deletes all entries of a prefix in steps. @see deletePrefix */
  deletePrefix(prefix: string, sender: Sender | null): Promise<{ deleted: number; position: string }> {
    return deletePrefix(this.#parts, prefix, sender);
  }

  /** @returns the entry, or null. A read of an expired entry makes a master delete it. */
  get(key: string): Entry | null {
    return this.#live(key, this.#parts.head.raw(key));
  }

  /** @returns the entry with the size of its value instead of the value, which the node does not read; or null */
  outline(key: string): Outline | null {
    return this.#live(key, this.#parts.head.outline(key));
  }

  #live<T extends Pick<Entry, 'expiresAt'>>(key: string, entry: T | null): T | null {
    if (isLive(entry, this.#parts.world.now())) return entry;
    if (entry !== null && this.#parts.guard.mayExpire) this.#parts.expiredReads.found(key);
    return null;
  }

  /** @see KeyspaceView.appliedCount */
  get appliedCount(): number {
    return this.#parts.head.appliedCount;
  }

  /** @see KeyspaceView.knowsAbove */
  knowsAbove(key: string): boolean {
    return this.#parts.head.knowsAbove(key);
  }

  page(request: PageRequest): Promise<Page> {
    return this.#parts.head.page(request);
  }

  /** @returns all live entries with this prefix, at one position @throws Problem TOO_MANY_REQUESTS @see Exports.read */
  readEntries(prefix: string, client: string): Promise<EntryReader> {
    return this.#parts.exports.read(prefix, client);
  }

  /** @returns a snapshot to download @see SnapshotCopies.newest */
  newestSnapshot(wanted: Position | null, gone: AbortSignal): Promise<SnapshotCopy> {
    return this.#parts.copies.newest(wanted, gone);
  }

  /** @returns a snapshot that is still there @throws Problem POSITION_LOST @see CopyShelf.look */
  snapshot(position: Position, sha256: string | null): SnapshotCopy {
    return this.#parts.copies.look(position, sha256);
  }

  /**
   * Puts a backup into a target.
   * @param from the backup is of this position or a later one
   * @returns its name
   * @throws Problem, StorageError, TargetError, or the signal's reason
   */
  async makeBackup(from: Position, into: BackupPlace, signal: AbortSignal): Promise<string> {
    const { copies, head, world } = this.#parts;
    const calls = this.#baseCalls;
    // Each call that hangs may hold a thread that the files of the node need too.
    if (calls.abandoned > 0) {
      throw new TargetError('TARGET_UNREACHABLE', `${into.target.shown}: an earlier call still hangs`);
    }
    let made: MadeBackup;
    // A snapshot that others have asked for may be an older one; the next one is not.
    do made = await makeBackup({ copies, head, world, calls, ...into }, signal);
    while (made.position.offset < from.offset);
    return made.name;
  }

  /** Begins a download of a snapshot. @throws Problem POSITION_LOST, TOO_MANY_REQUESTS @see CopyShelf.open */
  downloadSnapshot(position: Position, sha256: string | null): SnapshotDownload {
    return this.#parts.copies.open(position, sha256);
  }

  /** @returns the turns of a loop that serves one request for long */
  turns(): Turns {
    return new Turns(this.#parts.world);
  }

  /** @see Digests.digest */
  digest(): Promise<Digest> {
    return this.#parts.digests.digest();
  }

  /** @returns which keys differ between two positions @see Diffs.read */
  diff(request: DiffRequest, gone: AbortSignal): Promise<Difference> {
    return this.#parts.diffs.read(request, gone);
  }

  /** Compares this node with the node at the URL. @see Comparisons.compareWith */
  compare(url: string, timeoutMs: number, gone: AbortSignal): Promise<Comparison> {
    return this.#parts.comparisons.compareWith(url, timeoutMs, gone);
  }

  /** @param awaySeconds the outage that the advice is for; null: the longest outage that the node has seen */
  backlogReport(awaySeconds: number | null): BacklogReport {
    const { backlog, sessions } = this.#parts;
    return backlog.report(formatPosition(this.position), sessions.outages, awaySeconds);
  }

  /** @returns the answer that PSYNC would get @see psyncCheck */
  check(asked: CheckRequest): Check {
    return psyncCheck(this.#parts, asked);
  }

  /**
   * Resolves when this node has reached the position.
   * @param gone aborts when the caller waits no longer
   * @param client name of the client that waits
   * @throws Problem UNKNOWN_HISTORY, NOT_REACHED, TOO_MANY_REQUESTS
   */
  reach(position: Position, timeoutMs: number, gone: AbortSignal, client: string): Promise<void> {
    return this.#parts.positions.wait(position, timeoutMs, gone, client);
  }

  /** @returns how far this node and its replicas have come up to the offset of the demand */
  acknowledged(demand: AckDemand): AckCount {
    return this.#parts.sessions.acknowledged(demand);
  }

  /**
   * Redis's WAIT and WAITAOF: takes a place for a write that will wait until replicas have it in their journals, or this node and
   * replicas on their disks. The write does not wait on a node that is no master any more.
   * @param client name of the client that writes
   * @throws Problem TOO_MANY_REQUESTS: too many writes wait already, and the caller should not write
   */
  enterAcks(client: string): AckPlace {
    const { wait, leave } = this.#parts.sessions.enterAcks(client);
    return {
      wait: (demand, timeoutMs) => wait(demand, this.role === 'master' ? timeoutMs : 0),
      leave,
    };
  }

  /** REPLICAOF. @see Roles.replicaOf */
  replicaOf(url: string, sender: Sender | null = null): Promise<boolean> {
    return this.#parts.roles.replicaOf(url, sender);
  }

  /** REPLICAOF NO ONE. @see Roles.promote */
  promote(sender: Sender | null = null): Promise<boolean> {
    return this.#parts.roles.promote(sender);
  }

  /** Hands the master's role over to a replica, which this node follows then. @see Failover.run */
  failover(request: FailoverRequest, sender: WatchedSender | null = null): Promise<FailoverResult> {
    return this.#parts.failover.run(request, sender);
  }

  /** @see Failover.abort */
  abortFailover(): void {
    this.#parts.failover.abort();
  }

  /** @see Roles.acceptEmptyMaster */
  acceptEmptyMaster(): void {
    this.#parts.roles.acceptEmptyMaster();
  }

  /**
   * Makes a replica with a damaged keyspace file get all data from its master again.
   * @returns false on a master, which cannot, and on a node that stops
   */
  startOver(): boolean {
    const { adoption, life, roles } = this.#parts;
    if (this.role === 'master' || life.stopping) return false;
    // Requests may find the same damage again until the full resync is done.
    if (adoption.distrusted) return true;
    adoption.distrust();
    roles.startOver();
    return true;
  }

  /** Takes a connection of a replica. @returns the receiver of its events; the node closes at once a connection it cannot serve */
  accept(socket: StreamSocket, gate: Gate = OPEN_GATE): SocketEvents {
    const { life, sessions } = this.#parts;
    return sessions.accept(socket, gate, life.closing ? [CloseCode.goingAway, 'shutting down'] : null);
  }

  /**
   * Waits until the node can answer a follower's request; the caller calls `serveFollower` at once then.
   * @param gone aborts when the follower waits no longer
   * @param client name of the client, by which limits count
   * @throws Problem @see Feed.admit
   */
  admitFollower(request: FeedQuery, gone: AbortSignal, client: string): Promise<FeedRequest> {
    return this.#parts.feed.admit(request, gone, client);
  }

  /** @returns the receiver of the socket's events */
  serveFollower(request: FeedRequest, socket: FollowerSocket): FollowerEvents {
    return this.#parts.feed.attach(request, socket);
  }

  /** Decides the waiting writes, and refuses writes from now on. */
  refuseWrites(): void {
    const { failover, life, positions, writeHold, writes } = this.#parts;
    if (life.stopping) return;
    failover.stop();
    writes.drain();
    writeHold.end();
    life.stopping = true;
    positions.refuse(shuttingDown());
  }

  /**
   * Refuses writes, and resolves when the replicas of a master have acknowledged everything and the archive has it, or after
   * `shutdownTimeoutMs`. The node answers reads meanwhile, replicas may come and go, and writes that wait for acknowledgements get them.
   */
  async waitForOthers(): Promise<void> {
    const { archived, settings, shutdownWait } = this.#parts;
    this.refuseWrites();
    const finished = archived.finish(settings.shutdownTimeoutMs);
    if (this.role === 'master') await shutdownWait.run();
    await finished;
  }

  /** The replicas that `waitForOthers` waits for now; null: it waits for none. */
  get lacking(): Lacking | null {
    return this.#parts.shutdownWait.lacking;
  }

  /** Lets `waitForOthers` end now. @returns false if it was not waiting */
  stopWaiting(): boolean {
    const waitedForArchive = this.#parts.archived.stopFinishing();
    return this.#parts.shutdownWait.end() || waitedForArchive;
  }

  /** Closes the connections, writes everything into the files and closes them. */
  async close(): Promise<void> {
    const { backups, feed, head, life, positions, roles, sessions, state } = this.#parts;
    this.refuseWrites();
    life.closing = true;
    this.#parts.shutdownWait.end();
    sessions.releaseWaiters();
    positions.refuse(shuttingDown());
    this.#parts.expiry.stop();
    this.#parts.backlog.stop();
    feed.drop(CloseCode.goingAway, 'shutting down');
    this.#parts.scrubber.stop();
    this.#parts.verifier.stop();
    this.#parts.comparisons.stop();
    this.#parts.copies.stop();
    backups?.stop();
    const archived = this.#parts.archived.close();
    await roles.close(async () => {
      sessions.drop(CloseCode.goingAway, 'shutting down');
      this.#parts.snapshots.forget();
      const flushed = await head.close();
      await this.#parts.adoption.settled();
      state.close(flushed);
    });
    await backups?.ended();
    await archived;
    await this.#parts.copies.clear();
  }
}
