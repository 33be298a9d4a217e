/**
 * One psyncd node: a keyspace, the stream it comes from, and a role. The centre of the shell; HTTP and WebSocket
 * only translate to and from these calls.
 *
 * Owns: the role (a link makes it a replica), and the moments at which the history changes.
 * Invariant: there is a link if and only if the stored upstream is not null; only without one are writes taken.
 */
import { type Entry, isLive } from '../keyspace/entry.ts';
import type { ListedEntry, Page, PageRequest } from '../keyspace/page.ts';
import type { WriteRequest } from '../keyspace/write.ts';
import { CloseCode } from '../replication/close-code.ts';
import { type Decision, decide } from '../replication/decide.ts';
import {
  areRelated,
  continued,
  type History,
  type LineageReason,
  renamed,
  standing,
} from '../replication/history.ts';
import type { AnsweredLineage } from '../replication/link-machine.ts';
import { formatPosition, type Position, type RunId, wireOffset } from '../replication/position.ts';
import { BacklogKeeper, type BacklogReport, type BacklogSettings } from './backlog-keeper.ts';
import { ExpiryCycle } from './expiry-cycle.ts';
import { Failover, type FailoverRequest, type FailoverResult, type FailoverStatus } from './failover.ts';
import { Link, type LinkContext, type LinkStatus, type ReceivedSnapshot } from './link.ts';
import type {
  AskPeer,
  Dial,
  Digest,
  EntryReader,
  KeptFile,
  Keyspace,
  KeyspaceFiles,
  Log,
  SnapshotSink,
  SocketEvents,
  StateStore,
  StreamSocket,
  World,
} from './ports.ts';
import { PositionWaiters } from './position-waiters.ts';
import { Problem } from './problem.ts';
import type { Session, SessionStatus, SyncCounters } from './session.ts';
import type { SessionRecord } from './session-log.ts';
import { Sessions, type SessionsSettings } from './sessions.ts';
import { Snapshots } from './snapshots.ts';
import { type HeadSettings, StreamHead } from './stream-head.ts';
import { canonicalUpstream, httpUrl, parseUpstream, upstreamProblem } from './upstream.ts';
import { type WriteResult, WriteTurn } from './write-turn.ts';

export interface NodeSettings extends HeadSettings, SessionsSettings, BacklogSettings {
  /** Writes are refused unless so many replicas have acknowledged something within `minReplicasMaxLagMs`; 0: never. */
  readonly minReplicasToWrite: number;
  readonly minReplicasMaxLagMs: number;
  /** A full resync may replace data by the empty keyspace of an unrelated history. */
  readonly allowEmptyMaster: boolean;
  /** So many replaced keyspace files of diverged histories are kept. */
  readonly keepReplaced: number;
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
}

/** `deletePrefix` deletes so many entries in one turn: a few milliseconds. */
const DELETE_KEYS = 1_000;
/** So many exports at the same time: each keeps the WAL from shrinking. */
const MAX_READERS = 8;
/** A chain of replicas is looked at so far up, and for so long. */
const MAX_CHAIN = 32;
const CHAIN_LOOK_MS = 3_000;

export type Role = 'master' | 'replica';

export interface ReplicationStatus {
  readonly role: Role;
  /** Names this process. */
  readonly nodeId: string;
  readonly runId: string;
  readonly offset: number;
  readonly position: string;
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
  readonly counters: Readonly<SyncCounters>;
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
  readonly #snapshots: Snapshots;
  readonly #expiry: ExpiryCycle;
  readonly #sessions: Sessions;
  readonly #failover: Failover;
  readonly #positions: PositionWaiters;
  readonly #backlog: BacklogKeeper;
  /** Names this process on the wire; never stored. */
  readonly #nodeId: string;
  #readers = 0;
  #digest: Promise<unknown> = Promise.resolve();
  #nextDigest: Promise<Digest> | null = null;
  #link: Link | null = null;
  /** Changes of the role, one after the other. */
  #changing: Promise<unknown> = Promise.resolve();
  #listeningUrl: string | null = null;
  #keyspaceNumber: number;
  /** Replaced keyspace files on their way out. */
  readonly #retiring = new Set<Promise<void>>();
  #closing = false;

  /** Recovers the state at the end of the journal. The node answers reads and writes; `start` connects it. */
  constructor(parts: NodeParts) {
    this.#parts = parts;
    this.#nodeId = parts.world.newRunId();
    this.#keyspaceNumber = parts.state.keyspaceNumber;
    this.#head = StreamHead.recover(parts);
    this.#snapshots = new Snapshots(this.#head);
    this.#sessions = new Sessions({
      ...parts,
      head: this.#head,
      snapshots: this.#snapshots,
      nodeId: this.#nodeId,
      notReady: () => this.#notReady(),
      takeOver: (position, session) => this.#takeOver(position, session),
      changed: () => this.#failover.changed(),
    });
    this.#positions = new PositionWaiters(parts.world, () => ({
      position: this.position,
      history: this.#head.history,
      settled: this.#link === null || this.#link.streaming,
    }));
    this.#backlog = new BacklogKeeper({ ...parts, head: this.#head });
    // Bytes that others have may be missing here. Under the old run ID they would be written anew, differently.
    // A replica gets them from its master again.
    if (parts.state.mayLackBytes && parts.state.upstream === null) {
      this.#rename(parts.world.newRunId(), 'unclean-stop');
    }
    parts.state.begin();
    this.#writes = new WriteTurn({ ...parts, head: this.#head, guard: () => this.#writeProblem() });
    this.#expiry = new ExpiryCycle({
      ...parts,
      head: this.#head,
      writes: this.#writes,
      // During a hand-over nothing expires (psync-rules.md, 56): what would be deleted would have to be held.
      isMaster: () => this.#writeProblem() === null && this.#failover.status === null,
    });
    this.#failover = new Failover({
      ...parts,
      head: this.#head,
      sessions: this.#sessions,
      writes: this.#writes,
      isMaster: () => this.role === 'master' && !this.#closing,
      handOver: (url) => this.#handOver(url),
      takeBack: () => this.#takeBack(),
    });
    this.#head.onCommit(() => this.#positions.moved());
  }

  /**
   * Connects the node.
   * @param listeningUrl where it can be reached, `ws://HOST:PORT`; a replica tells its master
   * @param replicaOf the master to follow, or `no-one`; null: what it was when it stopped
   * @throws Problem BAD_REQUEST for a URL that cannot be a master
   */
  async start(listeningUrl: string, replicaOf: string | null): Promise<void> {
    this.#listeningUrl = listeningUrl;
    if (replicaOf === 'no-one') await this.promote();
    else if (replicaOf !== null) await this.replicaOf(replicaOf);
    const { upstream } = this.#parts.state;
    if (upstream !== null && this.#link === null) this.#follow(upstream);
    this.#expiry.start();
    this.#backlog.start();
  }

  /** Does at once what changed settings mean, where that is not done when they are read. */
  settingsChanged(): void {
    this.#backlog.adjust();
  }

  /** The node is stopping: nothing new is begun. */
  get closing(): boolean {
    return this.#closing;
  }

  get role(): Role {
    return this.#parts.state.upstream === null ? 'master' : 'replica';
  }

  /** The node that this one follows, `ws://HOST:PORT`, or null. */
  get upstream(): string | null {
    return this.#parts.state.upstream;
  }

  get position(): Position {
    return this.#head.position;
  }

  /**
   * Writes, in the next write turn.
   * @throws Problem READONLY on a replica; DISK_FULL, STORAGE_FAILED, SHUTTING_DOWN: nothing was written
   */
  write(request: WriteRequest): Promise<WriteResult> {
    return this.#writes.submit(request);
  }

  /** Why this node does not take writes, or null. */
  get writeProblem(): Problem | null {
    return this.#writeProblem();
  }

  /** The entry, or null. Reading what has expired on a master deletes it. */
  get(key: string): Entry | null {
    const entry = this.#head.raw(key);
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

  /** Deletes the entries whose keys begin so, in key order, some in each turn. */
  async deletePrefix(prefix: string): Promise<{ deleted: number; position: string }> {
    let deleted = 0;
    let position = formatPosition(this.position);
    let after: string | null = null;
    do {
      const page: Page = await this.#head.page({ prefix, after, limit: DELETE_KEYS, values: false });
      const keys = page.entries.map(({ key }) => key);
      if (keys.length > 0) {
        const result = await this.#writes.submit({ kind: 'delete-many', keys });
        deleted += result.count;
        position = result.position;
      }
      after = page.next;
    } while (after !== null);
    return { deleted, position };
  }

  /**
   * All live entries with this prefix, at one position.
   * @throws Problem TOO_MANY_REQUESTS when too many of these are going on
   */
  async readEntries(prefix: string): Promise<EntryReader> {
    if (this.#readers >= MAX_READERS) {
      throw new Problem('TOO_MANY_REQUESTS', `${MAX_READERS} exports are going on already`);
    }
    this.#readers += 1;
    try {
      const reader = await this.#head.readEntries(prefix);
      let open = true;
      return {
        position: reader.position,
        groups: liveEntries(reader.groups, this.#parts.world.now()),
        close: () => {
          if (open) this.#readers -= 1;
          open = false;
          reader.close();
        },
      };
    } catch (error) {
      this.#readers -= 1;
      throw error;
    }
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
      lineage,
      backlog: { size, firstOffset, length },
      upstream: this.#link?.status ?? null,
      replicas: this.#sessions.statuses,
      ...(minReplicasToWrite === 0 ? {} : { goodReplicas: this.#sessions.goodReplicas(minReplicasMaxLagMs) }),
      failover: this.#failover.status,
      kept: this.#parts.state.kept.map(({ name, position, reason, at }) => ({
        file: name,
        position: formatPosition(position),
        reason,
        at,
      })),
      counters: { ...this.#sessions.counters },
    };
  }

  /** What happened in the sessions, those that are open and the last ones that have ended, newest first. */
  get sessionRecords(): readonly SessionRecord[] {
    return this.#sessions.records;
  }

  /** @param awaySeconds what the advice is for; null: the longest outage that was seen */
  backlogReport(awaySeconds: number | null): BacklogReport {
    return this.#backlog.report(formatPosition(this.position), this.#sessions.outages, awaySeconds);
  }

  /** What PSYNC would answer to a replica at this position; null: to one that has nothing. */
  async check(position: Position | null): Promise<Check> {
    const request =
      position === null
        ? ({ kind: 'psync-first' } as const)
        : ({ kind: 'psync', runId: position.runId, asked: wireOffset(position.offset) } as const);
    const decision = decide(request, this.#head.history, this.#head.backlog);
    const bytes = decision.kind === 'continue' ? decision.bytes : await this.#head.snapshotBytes();
    return { decision, bytes, notNow: this.#notReady()?.slice(1) ?? null };
  }

  /**
   * Resolves when this node has reached the position.
   * @throws Problem UNKNOWN_HISTORY, NOT_REACHED, TOO_MANY_REQUESTS
   */
  reach(position: Position, timeoutMs: number): Promise<void> {
    return this.#positions.wait(position, timeoutMs);
  }

  /**
   * Redis's WAIT: how many replicas have everything up to `position` in their journals: `replicas` at least, or as
   * many as had when time was up, or when this node stopped being the master.
   */
  whenAcknowledged(position: Position, replicas: number, timeoutMs: number): Promise<number> {
    return this.#sessions.whenAcknowledged(position.offset, replicas, this.role === 'master' ? timeoutMs : 0);
  }

  /**
   * Hands the master's role over to a replica; this node follows it then.
   * @throws Problem FAILOVER_REFUSED, FAILOVER_ABORTED, FAILOVER_TIMED_OUT, BAD_REQUEST for a URL that is none
   */
  failover({ to, timeoutMs }: FailoverRequest): Promise<FailoverResult> {
    const parsed = to === null ? null : parseUpstream(to.replace(/^http/, 'ws'));
    if (to !== null && parsed === null) {
      throw new Problem('BAD_REQUEST', `${JSON.stringify(to)} is no URL of the form ws://HOST:PORT`);
    }
    return this.#failover.run({ to: parsed === null ? null : canonicalUpstream(parsed), timeoutMs });
  }

  /** @throws Problem FAILOVER_REFUSED when none is going on, or it is too late */
  abortFailover(): void {
    this.#failover.abort();
  }

  /** Lets the full resync happen that would replace this node's data by nothing. @throws Problem NOTHING_GUARDED */
  acceptEmptyMaster(): void {
    if (this.#link?.accept() === true) return;
    throw new Problem('NOTHING_GUARDED', 'no full resync waits to be accepted');
  }

  /**
   * REPLICAOF: follows the master at the URL from now on. What this node has is kept and continued from, if the
   * master's history allows it, and is served until a snapshot has replaced it.
   * @returns false if it follows that master already
   * @throws Problem BAD_REQUEST for a URL that cannot be a master, CIRCLE if that one follows this node,
   *   FAILOVER_REFUSED during a hand-over
   */
  replicaOf(wanted: string): Promise<boolean> {
    return this.#change(async () => {
      this.#refuseDuringFailover();
      const problem = upstreamProblem(wanted, this.#listeningUrl);
      const parsed = parseUpstream(wanted);
      if (problem !== null || parsed === null) throw new Problem('BAD_REQUEST', problem ?? wanted);
      const url = canonicalUpstream(parsed);
      if (url === this.#link?.url) return false;
      const circle = await this.#circle(url);
      if (circle !== null) throw new Problem('CIRCLE', circle);
      this.#refuseDuringFailover();
      await this.#unlinked(() => this.#parts.state.save({ upstream: url, handingOver: false }));
      this.#demoted();
      this.#follow(url);
      return true;
    });
  }

  /**
   * REPLICAOF NO ONE: this node is a master from now on, under a new run ID; the old one becomes an ancestor, so
   * that its siblings can follow it with a partial resync.
   * @returns false if it is a master already
   * @throws Problem FAILOVER_REFUSED during a hand-over
   */
  promote(): Promise<boolean> {
    return this.#change(async () => {
      this.#refuseDuringFailover();
      if (this.#parts.state.upstream === null) return false;
      await this.#becomeMaster(null);
      return true;
    });
  }

  /** Takes a connection of a replica. @returns where its events go; if it cannot be served, it is closed at once */
  accept(socket: StreamSocket): SocketEvents {
    return this.#sessions.accept(socket, this.#closing ? [CloseCode.goingAway, 'shutting down'] : null);
  }

  /**
   * Finishes the turn that is due, and refuses writes from now on.
   */
  refuseWrites(): void {
    if (this.#closing) return;
    if (this.#failover.status?.state === 'waiting-for-sync')
      this.#failover.abort('the node is shutting down');
    this.#writes.drain();
    this.#closing = true;
    this.#sessions.releaseWaiters();
  }

  /** Lets the replicas go, writes everything into the files and closes them. */
  async close(): Promise<void> {
    this.refuseWrites();
    this.#expiry.stop();
    this.#backlog.stop();
    await this.#change(async () => {
      await this.#link?.stop();
      this.#link = null;
      this.#sessions.drop(CloseCode.goingAway, 'shutting down');
      const flushed = await this.#head.close();
      await Promise.all(this.#retiring);
      this.#parts.state.close(flushed);
    });
  }

  #change<T>(change: () => Promise<T>): Promise<T> {
    const result = this.#changing.then(change);
    this.#changing = result.catch(() => undefined);
    return result;
  }

  #writeProblem(): Problem | null {
    if (this.#closing) return new Problem('SHUTTING_DOWN', 'the node is shutting down');
    const { upstream } = this.#parts.state;
    if (upstream === null) return this.#replicaProblem();
    const master = httpUrl(upstream);
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

  /** A replica that is not connected does not know how far the history has gone (psync-rules.md, 12). */
  #notReady(): string | null {
    if (this.#link === null || this.#link.streaming) return null;
    return "-NOMASTERLINK Can't SYNC while not connected with my master";
  }

  #follow(url: string): void {
    const link = new Link(this.#linkContext(), url);
    this.#link = link;
    link.start();
  }

  /** Ends the link and then makes a change; if the change fails, the link is begun anew, and nothing is changed. */
  async #unlinked(change: () => void): Promise<void> {
    const link = this.#link;
    this.#link = null;
    // From here on no more bytes of the old master come in.
    await link?.stop();
    try {
      change();
    } catch (error) {
      if (link !== null) this.#follow(link.url);
      throw error;
    }
  }

  #linkContext(): LinkContext {
    const { files, state } = this.#parts;
    return {
      ...this.#parts,
      head: this.#head,
      nodeId: this.#nodeId,
      listeningUrl: () => this.#listeningUrl,
      request: () => {
        if (state.handingOver) return { position: this.position, failover: true };
        // Of a node that has nothing the history says nothing either: it asks for a snapshot.
        return { position: this.#head.offset === 0 ? null : this.position, failover: false };
      },
      continued: (runId, lineage) => this.#continued(runId, lineage),
      streaming: () => {
        this.#positions.moved();
        this.#failover.succeeded();
      },
      refused: (detail) => {
        if (!state.handingOver) return;
        this.#failover.failed(detail).catch((error: unknown) => {
          this.#parts.log.error('failover-not-taken-back', { error: String(error) });
        });
      },
      circle: (url) => this.#circle(url),
      receiveSnapshot: (length): Promise<SnapshotSink> => files.receive(length),
      objection: (snapshot) => this.#objection(snapshot),
      adoptSnapshot: (snapshot, wanted) => this.#adopt(snapshot, wanted),
    };
  }

  /** The master goes on from where this node is: its history is this node's. */
  #continued(runId: RunId, lineage: AnsweredLineage): void {
    const { state, world } = this.#parts;
    const { history, handingOver } = state;
    const { offset } = this.position;
    const changed =
      lineage === null
        ? renamed(history, { runId, validTo: offset, reason: 'master-changed', at: world.now() })
        : continued(history, { runId, lineage }, offset, world.now());
    if (runId !== history.runId) this.#changeHistory(changed, 'master-changed', { handingOver: false });
    // A lineage that has grown is no news for those who follow this node: they need not ask again.
    else if (handingOver || !isSame(history, changed)) state.save({ history: changed, handingOver: false });
  }

  /** A replica that holds data does not replace it by the empty keyspace of an unrelated history. */
  async #objection({ empty, position, lineage }: ReceivedSnapshot): Promise<string | null> {
    if (!empty || this.#parts.settings.allowEmptyMaster) return null;
    const history = this.#head.history;
    const unrelated =
      lineage === null
        ? standing(history, position) === 'unknown-run-id'
        : !areRelated(history, { runId: position.runId, lineage });
    if (!unrelated) return null;
    const { entries } = await this.#head.page({ prefix: '', after: null, limit: 1, values: false });
    if (entries.length === 0) return null;
    return (
      `the master has no entries, and another history (${formatPosition(position)}); this node keeps and serves what it ` +
      'has. POST /v1/replication/accept lets it be replaced'
    );
  }

  /** A snapshot that was received and checked takes over. */
  async #adopt(
    { keyspaceNumber, position, lineage, reason }: ReceivedSnapshot,
    wanted: () => boolean,
  ): Promise<void> {
    const { files, state, log } = this.#parts;
    const replaced = this.position;
    const history: History = { runId: position.runId, lineage: lineage ?? [] };
    const keep = this.#isDiverged(history, position) ? this.#keptAs(reason) : null;
    // What is kept has to be all in its file.
    if (keep !== null) await this.#head.flush();
    const keyspace = await files.open(keyspaceNumber);
    try {
      if (!wanted()) throw new Error('it is not wanted any more');
      state.switchKeyspace(keyspaceNumber, history, keep);
    } catch (error) {
      await keyspace.close();
      throw error;
    }
    // The switch has happened; nothing came between, and nothing comes before the node knows it.
    this.#sessions.drop(CloseCode.historyChanged, 'a full resync replaced the history');
    this.#snapshots.forget();
    this.#retire(this.#head.replaceKeyspace(keyspace), this.#keyspaceNumber, keep);
    this.#keyspaceNumber = keyspaceNumber;
    this.#positions.moved();
    const event = { position: formatPosition(position), replaced: formatPosition(replaced) };
    if (keep === null) log.info('snapshot-adopted', event);
    else log.warn('snapshot-replaced-another-history', { ...event, kept: keep.name });
  }

  /** Whether this node has something that is not in the history at this position. */
  #isDiverged(history: History, position: Position): boolean {
    const own = this.position;
    if (own.offset === 0) return false;
    return standing(history, own) !== 'shared' || own.offset > position.offset;
  }

  /** @returns under which name the present keyspace file is kept when it is replaced; null: it is not */
  #keptAs(reason: ReceivedSnapshot['reason']): KeptFile | null {
    if (this.#parts.settings.keepReplaced === 0) return null;
    const { position } = this;
    const number = this.#keyspaceNumber;
    return {
      keyspaceNumber: number,
      name: `replaced-${number}-${position.runId.slice(0, 8)}-${position.offset}.db`,
      position,
      reason,
      at: this.#parts.world.now(),
    };
  }

  /** Closes a replaced keyspace file, when nobody reads it any more, and keeps it or removes it. */
  #retire(keyspace: Keyspace, number: number, keep: KeptFile | null): void {
    const { files, state, settings } = this.#parts;
    const retired = keyspace
      .close()
      .then(async () => {
        if (keep === null) return files.remove(number);
        await files.keep(keep);
        for (const file of state.forgetKept(settings.keepReplaced)) await files.removeKept(file);
      })
      .catch((error: unknown) => this.#parts.log.warn('old-keyspace-left', { number, error: String(error) }))
      .finally(() => this.#retiring.delete(retired));
    this.#retiring.add(retired);
  }

  /** The same history under another name. */
  #rename(runId: RunId, reason: LineageReason, upstream?: null, except?: Session): void {
    const { state, world } = this.#parts;
    const history = renamed(state.history, { runId, validTo: this.position.offset, reason, at: world.now() });
    this.#changeHistory(
      history,
      reason,
      upstream === undefined ? {} : { upstream, handingOver: false },
      except,
    );
  }

  /** Whoever follows this node must ask again to learn the new run ID. */
  #changeHistory(
    history: History,
    reason: LineageReason,
    change: { readonly upstream?: null; readonly handingOver?: boolean },
    except?: Session,
  ): void {
    const { state, log } = this.#parts;
    const before = formatPosition(this.position);
    state.save({ ...change, history });
    log.info('new-run-id', { reason, before, after: history.runId });
    this.#sessions.drop(CloseCode.historyChanged, 'the history has a new run ID', except);
    this.#positions.moved();
  }

  /** @param except the session that asked for it, and waits for the answer */
  async #becomeMaster(except: Session | null): Promise<void> {
    const { world, log } = this.#parts;
    await this.#unlinked(() => this.#rename(world.newRunId(), 'promoted', null, except ?? undefined));
    this.#writes.wake();
    log.info('promoted', { position: formatPosition(this.position) });
  }

  /** This node is a replica from now on. */
  #demoted(): void {
    this.#writes.wake();
    this.#sessions.releaseWaiters();
  }

  /** PSYNC … FAILOVER: the master hands over to this node. @returns the line that says why not, or null */
  #takeOver(position: Position, session: Session): Promise<string | null> {
    return this.#change(async () => {
      if (this.#closing) return '-LOADING shutting down';
      const own = this.position;
      // It has taken over already, and the answer was lost: it is asked again, and decides as ever.
      const before =
        own.runId !== position.runId && standing(this.#head.history, position) !== 'unknown-run-id';
      if (this.role === 'master' || before) return null;
      if (own.runId === position.runId && own.offset === position.offset) {
        await this.#becomeMaster(session);
        return null;
      }
      return `-ERR FAILOVER at ${formatPosition(position)}, but this node is at ${formatPosition(own)}`;
    }).catch((error: unknown) => {
      this.#parts.log.error('take-over-failed', { error: String(error) });
      return `-ERR FAILOVER: ${error instanceof Error ? error.message : error}`;
    });
  }

  /** A hand-over: this node durably stops being the master, and asks the other one to become it. */
  #handOver(url: string): Promise<void> {
    return this.#change(async () => {
      this.#parts.state.save({ upstream: url, handingOver: true });
      this.#demoted();
      this.#follow(url);
    });
  }

  /** The target of a hand-over has refused: this node is the master again, under its old run ID. */
  #takeBack(): Promise<void> {
    return this.#change(async () => {
      const { state, log } = this.#parts;
      if (!state.handingOver) return;
      await this.#unlinked(() => state.save({ upstream: null, handingOver: false }));
      this.#writes.wake();
      log.warn('failover-taken-back', { position: formatPosition(this.position) });
    });
  }

  #refuseDuringFailover(): void {
    if (this.#failover.status === null) return;
    throw new Problem(
      'FAILOVER_REFUSED',
      'a hand-over is going on; DELETE /v1/replication/failover aborts it',
    );
  }

  /** Follows the chain of masters from `url` upward. @returns the circle in words if it comes by this node, or null */
  async #circle(url: string): Promise<string | null> {
    const { ask, world } = this.#parts;
    const path = [url];
    const until = world.now() + CHAIN_LOOK_MS;
    for (let next = url; path.length <= MAX_CHAIN && world.now() < until; ) {
      const peer = await ask(next);
      if (peer === null) return null;
      if (peer.nodeId === this.#nodeId) {
        return path.length === 1
          ? `${url} is this node itself`
          : `a circle: this node -> ${path.join(' -> ')}, which is this node`;
      }
      if (peer.upstream === null) return null;
      next = peer.upstream;
      if (path.includes(next)) return `a circle: ${[...path, next].join(' -> ')}`;
      path.push(next);
    }
    return null;
  }
}

function isSame(one: History, other: History): boolean {
  return JSON.stringify(one) === JSON.stringify(other);
}

async function* liveEntries(
  groups: AsyncIterable<readonly ListedEntry[]>,
  now: number,
): AsyncGenerator<readonly ListedEntry[]> {
  for await (const group of groups) yield group.filter((entry) => isLive(entry, now));
}
