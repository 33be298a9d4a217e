/**
 * Master or replica, and of whom: the role, and every change of the history's name.
 *
 * Owns: the link. Invariant: there is a link if and only if the stored upstream is not null, but for the moments of a
 * change; changes come one after the other.
 */
import { CloseCode } from '../../replication/close-code.ts';
import { continued, type History, type LineageReason, renamed, standing } from '../../replication/history.ts';
import type { HashedOffset } from '../../replication/history-hash.ts';
import type { AnsweredLineage } from '../../replication/link-machine.ts';
import { formatPosition, type Offset, type Position, type RunId } from '../../replication/position.ts';
import { canonicalUpstream, parseUpstream, upstreamProblem } from '../../replication/upstream.ts';
import type { StreamHead } from '../head/stream-head.ts';
import type { Adoption } from '../link/adoption.ts';
import { chainProblem } from '../link/chain.ts';
import { Link, type LinkStatus } from '../link/link.ts';
import type { LinkContext } from '../link/link-attempt.ts';
import type { LinkTimes } from '../link-times.ts';
import type { AskPeer, Dial, KeyspaceFiles, Log, StateStore, World } from '../ports.ts';
import { Problem } from '../problem.ts';
import type { Session } from '../session/session.ts';
import type { Sessions } from '../session/sessions.ts';
import { logUnexpected, unattended } from '../unattended.ts';
import type { WriteTurn } from '../write/write-turn.ts';
import type { Failover } from './failover.ts';

export type Role = 'master' | 'replica';

const COPIED =
  'psyncd.db is not the file that the last run left: the data folder was copied or restored, and another node may have gone on ' +
  'under the old run ID; whoever shares the bytes continues, all others get a snapshot';

interface RolesParts {
  readonly world: World;
  readonly log: Log;
  readonly settings: LinkTimes;
  readonly state: StateStore;
  readonly files: KeyspaceFiles;
  readonly dial: Dial;
  readonly ask: AskPeer;
  readonly head: StreamHead;
  readonly sessions: Sessions;
  /** The history has a new run ID. */
  renamed(): void;
  /** The link streams: the history is not about to change. */
  settled(): void;
  readonly adoption: Adoption;
  readonly nodeId: string;
  /** They need the roles themselves. */
  failover(): Failover;
  writes(): WriteTurn;
  closing(): boolean;
}

export class Roles {
  readonly #parts: RolesParts;
  #link: Link | null = null;
  /** Changes of the role, one after the other. */
  #changing: Promise<unknown> = Promise.resolve();
  #listeningUrl: string | null = null;
  /** Where this process began: another one, or the disk, has brought the node there. */
  readonly #began: Position;

  constructor(parts: RolesParts) {
    this.#parts = parts;
    this.#began = parts.head.position;
  }

  /**
   * Connects the node.
   * @param listeningUrl where it can be reached, `ws://HOST:PORT`; a replica tells its master
   * @param replicaOf the master to follow, or `no-one`; null: what it was when it stopped
   * @throws Problem BAD_REQUEST for a URL that cannot be a master, CIRCLE
   */
  async start(listeningUrl: string, replicaOf: string | null): Promise<void> {
    this.#listeningUrl = listeningUrl;
    if (replicaOf === 'no-one') await this.promote();
    else if (replicaOf !== null) await this.#replicaOf(replicaOf, true);
    this.#settleCopy();
    const { upstream } = this.#parts.state;
    if (upstream !== null && this.#link === null) this.#follow(upstream);
  }

  get role(): Role {
    return this.#parts.state.upstream === null ? 'master' : 'replica';
  }

  /** The master's history is refused, until somebody accepts it. */
  get guarded(): boolean {
    return this.#link?.guarded ?? false;
  }

  /** Where writes go, `ws://HOST:PORT`; null: they stay here. */
  get masterUrl(): string | null {
    const { upstream } = this.#parts.state;
    return this.#link !== null && this.#link.url === upstream ? this.#link.masterUrl : upstream;
  }

  get link(): LinkStatus | null {
    return this.#link?.status ?? null;
  }

  /** The history is not about to change: a master's, or that of a replica that is connected. */
  get settled(): boolean {
    return this.role === 'master' || (this.#link?.streaming ?? false);
  }

  /**
   * Why no replica can be served now, as the line to answer, or null. A replica that is not connected does not know how
   * far the history has gone (docs/design/redis-rules.md, R4).
   */
  get notReady(): string | null {
    return this.settled ? null : "-NOMASTERLINK Can't SYNC while not connected with my master";
  }

  /**
   * REPLICAOF: follows the master at the URL from now on. What this node has is kept and continued from, if the
   * master's history allows it, and is served until a snapshot has replaced it.
   * @returns false if it follows that master already
   * @throws Problem BAD_REQUEST for a URL that cannot be a master, CIRCLE if that one follows this node, BAD_PEER if a
   *   node above answers nonsense, FAILOVER_REFUSED during a hand-over
   */
  replicaOf(wanted: string): Promise<boolean> {
    return this.#replicaOf(wanted, false);
  }

  /** @param starting what another node answers must not keep this one from starting: its link refuses it, and asks again */
  #replicaOf(wanted: string, starting: boolean): Promise<boolean> {
    return this.#change(async () => {
      this.#refuseWhenStopping();
      this.#refuseDuringFailover();
      const wrong = upstreamProblem(wanted, this.#listeningUrl);
      const parsed = parseUpstream(wanted);
      if (wrong !== null || parsed === null) throw new Problem('BAD_REQUEST', wrong ?? wanted);
      const url = canonicalUpstream(parsed);
      if (url === this.#link?.url) {
        this.#link.askAgain();
        return false;
      }
      const { ask, nodeId, state, world } = this.#parts;
      const problem = await chainProblem(url, nodeId, ask, world);
      if (problem !== null && !(starting && problem.code === 'BAD_PEER')) {
        throw new Problem(problem.code, problem.detail);
      }
      this.#refuseWhenStopping();
      this.#refuseDuringFailover();
      await this.#unlinked(() => state.save({ upstream: url, handingOver: false, copySettled: true }));
      this.#parts.adoption.forgetDifference();
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
      this.#refuseWhenStopping();
      this.#refuseDuringFailover();
      if (this.#parts.state.upstream === null) return false;
      await this.#becomeMaster(null);
      return true;
    });
  }

  /** PSYNC … FAILOVER: the master hands over to this node. @returns the line that says why not, or null */
  takeOver(position: Position, hash: bigint | null, session: Session): Promise<string | null> {
    return this.#change(async () => {
      if (this.#parts.closing()) return '-LOADING shutting down';
      const own = this.#parts.head.position;
      const isShared = standing(this.#parts.head.history, position) === 'shared';
      // It has taken over already, and the answer was lost: it is asked again, and decides as ever.
      if (isShared && (this.role === 'master' || own.runId !== position.runId)) return null;
      if (own.runId === position.runId && own.offset === position.offset) {
        const ownHash = this.#parts.head.hash;
        if (hash !== null && ownHash !== null && hash !== ownHash) {
          return `-ERR FAILOVER at ${formatPosition(position)}, but this node has other bytes up to there`;
        }
        // Nobody but its own master hands over to a replica.
        const peer = await this.#parts.ask(this.#parts.state.upstream ?? '');
        if (peer === null) return '-LOADING the master does not answer who it is';
        if (peer.nodeId !== session.nodeId) return '-ERR FAILOVER comes from a node that is not the master';
        if (session.status === null) return '-ERR the session has ended';
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
  handOver(url: string): Promise<void> {
    return this.#change(async () => {
      this.#refuseWhenStopping();
      this.#parts.state.save({ upstream: url, handingOver: true });
      this.#demoted();
      this.#follow(url);
    });
  }

  /**
   * The target of a hand-over has refused: this node is the master again, under its old run ID, unless its files are a copy.
   */
  takeBack(): Promise<void> {
    return this.#change(async () => {
      const { state, log, world } = this.#parts;
      if (!state.handingOver) return;
      await this.#unlinked(() => {
        // The files that this is a copy of may be a master under that run ID too.
        if (state.isCopy) this.#rename(world.newRunId(), 'copied', null);
        else state.save({ upstream: null, handingOver: false });
      });
      this.#parts.head.beginChain();
      this.#parts.writes().wake();
      log.warn('failover-taken-back', { position: formatPosition(this.#parts.head.position) });
    });
  }

  /** Allows the refused full resync, which replaces this node's data by nothing. @throws Problem NOTHING_GUARDED if there is none */
  acceptEmptyMaster(): void {
    if (this.#link?.accept() !== true) {
      throw new Problem('NOTHING_GUARDED', 'no full resync waits to be accepted');
    }
  }

  /** Asks the master anew; what it is asked for has changed. */
  startOver(): void {
    const begun = this.#change(async () => {
      const { upstream } = this.#parts.state;
      if (upstream === null) return;
      await this.#unlinked(() => undefined);
      this.#follow(upstream);
    });
    unattended(begun, (error) => logUnexpected(this.#parts.log, 'roles', error));
  }

  /** Bytes that others have may be missing: under the old run ID they would be written anew, differently. */
  renameAfterLoss(): void {
    const { state, world } = this.#parts;
    this.#rename(world.newRunId(), state.isCopy ? 'copied' : 'unclean-stop');
  }

  /**
   * What becomes of a node whose files are a copy. A master takes a new run ID: under the old one others may have written other
   * bytes. What a replica holds was its master's, up to where it stands, and PSYNC decides as ever. A node that has handed over
   * waits for the answer; until then it is both.
   */
  #settleCopy(): void {
    const { state, world } = this.#parts;
    if (!state.isCopy) return;
    if (state.upstream === null) this.#rename(world.newRunId(), 'copied');
    else if (!state.handingOver) state.save({ copySettled: true });
  }

  /**
   * Somebody has bytes of this node's run ID that this node does not have. If this node is their master, and an earlier process
   * may have handed them out, the files of this node are older than that process: the machine was rolled back. From where this
   * process began both have gone on under one name, so this node takes a new one, and keeps writing. A replica concludes
   * nothing: it may merely lag. No process does this twice: nobody can have bytes of a run ID that it has made itself.
   * @param session the one that has told, and waits for the answer
   * @throws StorageError when the disk does not take the new run ID
   */
  renameOutdated(session: Session): void {
    const { head, log, world } = this.#parts;
    if (this.role !== 'master' || head.history.runId !== this.#began.runId) return;
    const before = formatPosition(head.position);
    this.#rename(world.newRunId(), 'rolled-back', undefined, session, this.#began.offset);
    log.error('rolled-back', {
      detail:
        `a replica has writes of this node's history that this node does not have: its files are older than what it has ` +
        `handed out, as after a restore. It goes on under a new run ID; what it had written up to byte ${this.#began.offset} ` +
        'is shared with the old one, later writes that only replicas have are lost to it',
      replica: session.url ?? session.peer,
      before,
      after: formatPosition(head.position),
    });
  }

  /** The node ends: no role any more. @param last what is done when the link is gone, and nothing changes any more */
  async close(last: () => Promise<void>): Promise<void> {
    await this.#change(async () => {
      await this.#link?.stop();
      this.#link = null;
      await last();
    });
  }

  #change<T>(change: () => Promise<T>): Promise<T> {
    const result = this.#changing.then(change);
    this.#changing = result.catch(() => undefined);
    return result;
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
    try {
      // From here on no more bytes of the old master come in.
      await link?.stop();
      change();
    } catch (error) {
      if (link !== null) this.#follow(link.url);
      throw error;
    }
  }

  #linkContext(): LinkContext {
    const { adoption, ask, failover, files, head, nodeId, state, world } = this.#parts;
    return {
      ...this.#parts,
      keyspaceSchema: files.schema,
      listeningUrl: () => this.#listeningUrl,
      request: () => {
        const { hash, position } = head;
        if (state.handingOver) return { position, hash, different: false, failover: true };
        const different = adoption.differs && !adoption.distrusted;
        // Of a node that has nothing the history says nothing either: it asks for a snapshot.
        const hasNothing = adoption.distrusted || different || head.offset === 0;
        return hasNothing
          ? { position: null, hash: null, different, failover: false }
          : { position, hash, different, failover: false };
      },
      continued: (runId, lineage, hash) => this.#continued(runId, lineage, hash),
      streaming: () => {
        // After a full resync too: the question has been answered.
        if (state.handingOver) state.save({ handingOver: false, copySettled: true });
        this.#parts.settled();
        failover().succeeded();
      },
      refused: (detail) => {
        if (!state.handingOver) return;
        failover()
          .failed(detail)
          .catch((error: unknown) => {
            this.#parts.log.error('failover-not-taken-back', { error: String(error) });
          });
      },
      chainProblem: (url) => chainProblem(url, nodeId, ask, world),
      receiveSnapshot: (length) => files.receive(length),
      objection: (snapshot) => adoption.objection(snapshot),
      adoptSnapshot: (snapshot, wanted) => adoption.adopt(snapshot, wanted),
    };
  }

  /** The master goes on from where this node is: its history is this node's. */
  #continued(runId: RunId, lineage: AnsweredLineage, hash: bigint | null): void {
    const { head, sessions, state, world } = this.#parts;
    const { history, handingOver } = state;
    const { offset } = head;
    const changed =
      lineage === null
        ? renamed(history, { runId, validTo: offset, reason: 'master-changed', at: world.now() })
        : continued(history, { runId, lineage }, offset, world.now());
    const told = hash === head.hash ? {} : { toldHash: { offset, hash } };
    if (runId !== history.runId)
      this.#changeHistory(changed, 'master-changed', { handingOver: false, ...told });
    // A lineage that has grown is no news for those who follow this node: they need not ask again.
    else if (handingOver || hash !== head.hash || !isSame(history, changed)) {
      state.save({ history: changed, handingOver: false, copySettled: true, ...told });
    }
    if (head.adoptHash(hash)) sessions.drop(CloseCode.historyChanged, 'the history hash has changed');
  }

  /** The same history under another name. */
  #rename(
    runId: RunId,
    reason: LineageReason,
    upstream?: null,
    except?: Session,
    validTo: Offset = this.#parts.head.offset,
  ): void {
    const { state, world } = this.#parts;
    const history = renamed(state.history, {
      runId,
      validTo,
      reason,
      at: world.now(),
    });
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
    change: { readonly upstream?: null; readonly handingOver?: boolean; readonly toldHash?: HashedOffset },
    except?: Session,
  ): void {
    const { log, sessions, state } = this.#parts;
    const before = formatPosition(this.#parts.head.position);
    state.save({ ...change, history, copySettled: true });
    const why = reason === 'copied' ? { detail: COPIED } : {};
    log.info('new-run-id', { reason, ...why, before, after: history.runId });
    sessions.drop(CloseCode.historyChanged, 'the history has a new run ID', except);
    this.#parts.renamed();
  }

  /** @param except the session that asked for it, and waits for the answer */
  async #becomeMaster(except: Session | null): Promise<void> {
    const { world, log } = this.#parts;
    await this.#unlinked(() => this.#rename(world.newRunId(), 'promoted', null, except ?? undefined));
    this.#parts.adoption.forgetDifference();
    this.#parts.head.beginChain();
    this.#parts.sessions.forgetAway();
    this.#parts.writes().wake();
    log.info('promoted', { position: formatPosition(this.#parts.head.position) });
  }

  /** This node is a replica from now on. */
  #demoted(): void {
    this.#parts.writes().wake();
    this.#parts.sessions.forgetAway();
    this.#parts.sessions.releaseWaiters();
  }

  /** A node that stops keeps its role: it comes back with it, and what it does last depends on it. */
  #refuseWhenStopping(): void {
    if (this.#parts.closing()) throw new Problem('SHUTTING_DOWN', 'the node is shutting down');
  }

  #refuseDuringFailover(): void {
    if (this.#parts.failover().status === null) return;
    throw new Problem(
      'FAILOVER_REFUSED',
      'a hand-over is going on; DELETE /v1/replication/failover aborts it',
    );
  }
}

function isSame(one: History, other: History): boolean {
  return JSON.stringify(one) === JSON.stringify(other);
}
