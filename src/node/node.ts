/**
 * One psyncd node: a keyspace, the stream it comes from, and a role. The centre of the shell; HTTP and WebSocket
 * only translate to and from these calls.
 *
 * Owns: the role (a link makes it a replica), the sessions, and the moments at which the history changes.
 * Invariant: there is a link if and only if the stored upstream is not null; only without one are writes taken.
 */
import { type Entry, isLive } from '../keyspace/entry.ts';
import type { ListedEntry, Page, PageRequest } from '../keyspace/page.ts';
import type { WriteRequest } from '../keyspace/write.ts';
import { CloseCode } from '../replication/close-code.ts';
import { type LineageReason, newHistory, renamed } from '../replication/history.ts';
import { formatPosition, type Position, type RunId } from '../replication/position.ts';
import { ExpiryCycle } from './expiry-cycle.ts';
import { Link, type LinkContext, type LinkStatus } from './link.ts';
import type {
  Dial,
  Digest,
  EntryReader,
  Keyspace,
  KeyspaceFiles,
  Log,
  SnapshotSink,
  SocketEvents,
  StateStore,
  StreamSocket,
  World,
} from './ports.ts';
import { Problem } from './problem.ts';
import { type LinkTimes, Session, type SessionStatus, type SyncCounters } from './session.ts';
import { Snapshots } from './snapshots.ts';
import { type HeadSettings, StreamHead } from './stream-head.ts';
import { canonicalUpstream, httpUrl, parseUpstream, upstreamProblem } from './upstream.ts';
import { type WriteResult, WriteTurn } from './write-turn.ts';

export interface NodeSettings extends HeadSettings, LinkTimes {
  /** A session that lags by more than this is closed. */
  readonly outputLimitBytes: number;
  /** How many replicas are served at the same time. */
  readonly maxReplicas: number;
}

export interface NodeParts {
  readonly world: World;
  readonly log: Log;
  readonly settings: NodeSettings;
  readonly state: StateStore;
  readonly keyspace: Keyspace;
  readonly files: KeyspaceFiles;
  readonly dial: Dial;
}

/** `deletePrefix` deletes so many entries in one turn: a few milliseconds. */
const DELETE_KEYS = 1_000;
/** So many exports at the same time: each keeps the WAL from shrinking. */
const MAX_READERS = 8;

export type Role = 'master' | 'replica';

export interface ReplicationStatus {
  readonly role: Role;
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
  readonly counters: Readonly<SyncCounters>;
}

export class Node {
  readonly #parts: NodeParts;
  readonly #head: StreamHead;
  readonly #writes: WriteTurn;
  readonly #snapshots: Snapshots;
  readonly #expiry: ExpiryCycle;
  readonly #sessions = new Set<Session>();
  readonly #counters: SyncCounters = { syncFull: 0, syncPartialOk: 0, syncPartialErr: 0 };
  /** Names this process on the wire; never stored. */
  readonly #nodeId: string;
  #sessionCount = 0;
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
    // Bytes that others have may be missing here. Under the old run ID they would be written anew, differently.
    // A replica gets them from its master again.
    if (parts.state.mayLackBytes && parts.state.upstream === null) {
      this.#rename(parts.world.newRunId(), 'unclean-stop');
    }
    parts.state.begin();
    this.#snapshots = new Snapshots(this.#head);
    this.#writes = new WriteTurn({ ...parts, head: this.#head, guard: () => this.#writeProblem() });
    this.#expiry = new ExpiryCycle({
      ...parts,
      head: this.#head,
      writes: this.#writes,
      isMaster: () => this.#writeProblem() === null,
    });
    this.#head.onCommit((bytes, from) => {
      for (const session of this.#sessions) session.committed(bytes, from);
    });
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
    if (entry !== null && this.#writeProblem() === null) {
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
    return {
      role: this.role,
      runId,
      offset: this.#head.offset,
      position: formatPosition(this.#head.position),
      lineage,
      backlog: { size, firstOffset, length },
      upstream: this.#link?.status ?? null,
      replicas: [...this.#sessions].flatMap((session) => session.status ?? []),
      counters: { ...this.#counters },
    };
  }

  /**
   * REPLICAOF: follows the master at the URL from now on. What this node has is kept and continued from, if the
   * master's history allows it, and is served until a snapshot has replaced it.
   * @returns false if it follows that master already
   * @throws Problem BAD_REQUEST for a URL that cannot be a master
   */
  replicaOf(wanted: string): Promise<boolean> {
    return this.#change(async () => {
      const problem = upstreamProblem(wanted, this.#listeningUrl);
      const parsed = parseUpstream(wanted);
      if (problem !== null || parsed === null) throw new Problem('BAD_REQUEST', problem ?? wanted);
      const url = canonicalUpstream(parsed);
      if (url === this.#link?.url) return false;
      await this.#unlinked(() => this.#parts.state.save({ upstream: url }));
      this.#writes.wake();
      this.#follow(url);
      return true;
    });
  }

  /**
   * REPLICAOF NO ONE: this node is a master from now on, under a new run ID; the old one becomes an ancestor, so
   * that its siblings can follow it with a partial resync.
   * @returns false if it is a master already
   */
  promote(): Promise<boolean> {
    return this.#change(async () => {
      const { state, world, log } = this.#parts;
      if (state.upstream === null) return false;
      await this.#unlinked(() => this.#rename(world.newRunId(), 'promoted', null));
      this.#writes.wake();
      log.info('promoted', { position: formatPosition(this.position) });
      return true;
    });
  }

  /** Takes a connection of a replica. @returns where its events go; if it cannot be served, it is closed at once */
  accept(socket: StreamSocket): SocketEvents {
    const { maxReplicas } = this.#parts.settings;
    this.#sessionCount += 1;
    const session = new Session(
      {
        ...this.#parts,
        id: String(this.#sessionCount),
        head: this.#head,
        snapshots: this.#snapshots,
        counters: this.#counters,
        nodeId: this.#nodeId,
        notReady: () => this.#notReady(),
        ended: (ended) => this.#sessions.delete(ended),
      },
      socket,
    );
    this.#sessions.add(session);
    if (this.#closing) session.close(CloseCode.goingAway, 'shutting down');
    else if (this.#sessions.size > maxReplicas) {
      session.close(CloseCode.tooMany, `${maxReplicas} replicas are connected already`);
    }
    return session;
  }

  /**
   * Finishes the turn that is due, and refuses writes from now on.
   */
  refuseWrites(): void {
    if (this.#closing) return;
    this.#writes.drain();
    this.#closing = true;
  }

  /** Lets the replicas go, writes everything into the files and closes them. */
  async close(): Promise<void> {
    this.refuseWrites();
    this.#expiry.stop();
    await this.#change(async () => {
      await this.#link?.stop();
      this.#link = null;
      this.#dropSessions(CloseCode.goingAway, 'shutting down');
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
    if (upstream === null) return null;
    const master = httpUrl(upstream);
    return new Problem('READONLY', `this node is a replica; write to ${master} (curl: add -L)`, { master });
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
      // Of a node that has nothing the history says nothing either: it asks for a snapshot.
      position: () => (this.#head.offset === 0 ? null : this.#head.position),
      continued: (runId) => {
        if (runId === this.position.runId) return;
        this.#rename(runId, 'master-changed');
      },
      receiveSnapshot: (length): Promise<SnapshotSink> => files.receive(length),
      adoptSnapshot: async (number, position, wanted) => {
        const keyspace = await files.open(number);
        const replaced = this.position;
        try {
          if (!wanted()) throw new Error('it is not wanted any more');
          state.switchKeyspace(number, newHistory(position.runId));
        } catch (error) {
          await keyspace.close();
          throw error;
        }
        // The switch has happened; nothing came between, and nothing comes before the node knows it.
        this.#dropSessions(CloseCode.historyChanged, 'a full resync replaced the history');
        this.#snapshots.forget();
        this.#retire(this.#head.replaceKeyspace(keyspace), this.#keyspaceNumber);
        this.#keyspaceNumber = number;
        const event = { position: formatPosition(position), replaced: formatPosition(replaced) };
        // Of a history that is not the new one's there may be data that are nowhere else.
        if (replaced.offset > 0 && replaced.runId !== position.runId) {
          this.#parts.log.warn('snapshot-replaced-another-history', event);
        } else this.#parts.log.info('snapshot-adopted', event);
      },
    };
  }

  /** Closes a replaced keyspace file, when nobody reads it any more, and removes it. */
  #retire(keyspace: Keyspace, number: number): void {
    const retired = keyspace
      .close()
      .then(() => this.#parts.files.remove(number))
      .catch((error: unknown) => this.#parts.log.warn('old-keyspace-left', { number, error: String(error) }))
      .finally(() => this.#retiring.delete(retired));
    this.#retiring.add(retired);
  }

  /** The same history under another name: whoever follows this node must ask again to learn it. */
  #rename(runId: RunId, reason: LineageReason, upstream?: null): void {
    const { state, world, log } = this.#parts;
    const { offset } = this.position;
    log.info('new-run-id', { reason, before: state.history.runId, validTo: offset, after: runId });
    const history = renamed(state.history, { runId, validTo: offset, reason, at: world.now() });
    state.save({ history, ...(upstream === undefined ? {} : { upstream }) });
    this.#dropSessions(CloseCode.historyChanged, 'the history has a new run ID');
  }

  #dropSessions(code: number, reason: string): void {
    for (const session of [...this.#sessions]) session.close(code, reason);
  }
}

async function* liveEntries(
  groups: AsyncIterable<readonly ListedEntry[]>,
  now: number,
): AsyncGenerator<readonly ListedEntry[]> {
  for await (const group of groups) yield group.filter((entry) => isLive(entry, now));
}
