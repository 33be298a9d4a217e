/**
 * The role of a node: master, or replica of which master.
 *
 * Owns: the link. Invariant: there is a link if and only if the stored upstream is not null, except for the moments of a
 * change. Changes come one after the other. The wiring (assembly.ts) connects the events that `RoleEvents` lists.
 *
 * Over 350 lines: all changes of the role take the same link down and up, one after the other.
 */
import { formatPosition, type Position, type RunId } from '../../replication/position.ts';
import { canonicalUpstream, parseUpstream, upstreamProblem } from '../../replication/upstream.ts';
import type { StreamHead } from '../head/stream-head.ts';
import type { Adoption } from '../link/adoption.ts';
import { chainProblem } from '../link/chain.ts';
import { Link, type LinkStatus } from '../link/link.ts';
import type { Lag, LinkContext, LinkCounts } from '../link/link-context.ts';
import type { LinkTimes } from '../link-times.ts';
import { Tally } from '../ports/counts.ts';
import { inLogOf, StorageError, toldOf } from '../ports/failures.ts';
import type { KeyspaceFiles } from '../ports/keyspace-files.ts';
import type { AskPeer } from '../ports/peers.ts';
import type { StateStore } from '../ports/state-store.ts';
import type { Dial } from '../ports/stream-socket.ts';
import type { Log, World } from '../ports/world.ts';
import { Problem } from '../problem.ts';
import type { Session } from '../session/session.ts';
import type { Sessions } from '../session/sessions.ts';
import { logUnexpected, unattended } from '../unattended.ts';
import { mustDecide, type Sender } from '../write/sender.ts';
import { HandOverTarget } from './hand-over-target.ts';
import { linkRequest } from './link-request.ts';
import type { RunIds } from './run-ids.ts';
import { HAND_OVER_REFUSED, TakeOvers, takeOverAnswer } from './take-over.ts';

export type Role = 'master' | 'replica';

/** The events that the roles report. */
export interface RoleEvents {
  /** The node has become a master or a replica, and decides waiting writes again. */
  roleChanged(): void;
  /** The link streams: the history is not about to change, and after a hand-over the target is the master. */
  linkStreams(): void;
  /** The target of a hand-over has refused, and this node is the master again. */
  takenBack(detail: string): void;
}

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
  readonly adoption: Adoption;
  readonly runIds: RunIds;
  readonly nodeId: string;
  readonly events: RoleEvents;
  /** Whether the node stops. A node that stops keeps its role. */
  stopping(): boolean;
}

/** The answer to a master that hands over while the role changes otherwise. */
const CHANGES = { kind: 'refused', line: '-LOADING the role of this node changes' } as const;

export class Roles {
  readonly #parts: RolesParts;
  readonly #target: HandOverTarget;
  readonly #asTarget: ConstructorParameters<typeof TakeOvers>[0];
  readonly #takeOvers: TakeOvers;
  /** Run ID of the history whose stream this process has received last; null: of none. */
  #streamed: RunId | null = null;
  /** Counts of all links since the start. */
  readonly counts: LinkCounts = { failures: new Tally(), resyncs: new Tally() };
  #link: Link | null = null;
  /** The last change of the role that was asked for; the next one begins when it is done. */
  #changing: Promise<unknown> = Promise.resolve();
  /** Whether a change is not done yet. */
  #isChanging = false;
  #listeningUrl: string | null = null;
  /** The reason why users may not change the role now, or null. */
  #reservation: Problem | null = null;

  constructor(parts: RolesParts) {
    this.#parts = parts;
    this.#target = new HandOverTarget(parts);
    this.#asTarget = { ...parts, hasStreamed: (runId) => runId === this.#streamed };
    this.#takeOvers = new TakeOvers(this.#asTarget);
  }

  /**
   * Connects the node.
   * @param listeningUrl the URL that the node listens on, `ws://HOST:PORT`; a replica tells its master
   * @param replicaOf the master to follow, or `no-one`; null: the role that the node had when it stopped
   * @throws Problem BAD_REQUEST for a URL that cannot be a master, CIRCLE
   */
  async start(listeningUrl: string, replicaOf: string | null): Promise<void> {
    this.#listeningUrl = listeningUrl;
    if (replicaOf === 'no-one') await this.promote();
    else if (replicaOf !== null) await this.#replicaOf(replicaOf, null, true);
    this.#parts.runIds.settleCopy();
    const { upstream } = this.#parts.state;
    if (upstream !== null && this.#link === null) this.#follow(upstream);
  }

  get role(): Role {
    return this.#parts.state.upstream === null ? 'master' : 'replica';
  }

  /** Whether this node refuses its master's history until a user accepts it. */
  get guarded(): boolean {
    return this.#link?.guarded ?? false;
  }

  /** The URL of the node that takes writes, `ws://HOST:PORT`; null: this node takes them. */
  get masterUrl(): string | null {
    const { upstream } = this.#parts.state;
    return this.#link !== null && this.#link.url === upstream ? this.#link.masterUrl : upstream;
  }

  get link(): LinkStatus | null {
    return this.#link === null ? null : this.#target.shownIn(this.#link.status);
  }

  /** How far this node may be behind its master; a master is not. */
  get lag(): Lag {
    if (this.role === 'master') return { seconds: 0, bytes: 0 };
    return this.#link?.lag ?? { seconds: null, bytes: null };
  }

  /** Whether the history stays for now: it does on a master, and on a replica whose link streams. */
  get settled(): boolean {
    return this.role === 'master' || (this.#link?.streaming ?? false);
  }

  /**
   * The line that refuses every replica now, or null. A replica without a link does not know how far the history has gone
   * (docs/design/redis-rules.md, R4).
   */
  get notReady(): string | null {
    return this.settled ? null : "-NOMASTERLINK Can't SYNC while not connected with my master";
  }

  /** The target of a hand-over that has not answered yet, `ws://HOST:PORT`, or null. */
  get unanswered(): string | null {
    const { handingOver, upstream } = this.#parts.state;
    return handingOver ? upstream : null;
  }

  /** Refuses changes of the role by users. @param why the problem that they get @returns a function that ends the refusal */
  reserve(why: Problem): () => void {
    this.#reservation = why;
    return () => {
      this.#reservation = null;
    };
  }

  /**
   * REPLICAOF: follows the master at the URL from now on. The node keeps its data and continues from it if the master's
   * history allows that; otherwise it serves its data until a snapshot has replaced it.
   * @param sender who wants it; without the right nothing changes, up to the moment when the link to the present master ends
   * @returns false if it follows that master already, and has not asked it to become the master
   * @throws Problem BAD_REQUEST for a URL that cannot be a master, CIRCLE if that one follows this node, BAD_PEER if a
   *   node above answers nonsense, FAILOVER_REFUSED during a hand-over, UNAUTHORIZED
   */
  replicaOf(wanted: string, sender: Sender | null = null): Promise<boolean> {
    return this.#replicaOf(wanted, sender, false);
  }

  /** @param starting whether this node starts: a BAD_PEER above must not prevent that, because the link refuses such a master */
  #replicaOf(wanted: string, sender: Sender | null, starting: boolean): Promise<boolean> {
    return this.#change(async () => {
      this.#refuseUsers();
      const wrong = upstreamProblem(wanted, this.#listeningUrl);
      const parsed = parseUpstream(wanted);
      if (wrong !== null || parsed === null) throw new Problem('BAD_REQUEST', wrong ?? wanted);
      const url = canonicalUpstream(parsed);
      // An operator who names the target of a hand-over knows that it is the master: this node asks for nothing any more, and follows.
      if (url === this.#link?.url && !this.#parts.state.handingOver) {
        mustDecide(sender);
        this.#link.askAgain();
        return false;
      }
      await this.#checkChain(url, starting);
      const { state } = this.#parts;
      this.#refuseUsers();
      mustDecide(sender);
      await this.#unlinked(() => state.save({ upstream: url, handingOver: false }));
      this.#parts.adoption.forgetDifference();
      this.#demoted();
      this.#follow(url);
      return true;
    });
  }

  /** @throws Problem CIRCLE, BAD_PEER. If the chain cannot be known, the link looks again, and warns */
  async #checkChain(url: string, starting: boolean): Promise<void> {
    const { ask, nodeId, world } = this.#parts;
    const problem = await chainProblem(url, { ask, nodeId, world, listeningUrl: this.#listeningUrl });
    if (problem === null || problem.code === 'UNKNOWN' || (starting && problem.code === 'BAD_PEER')) return;
    throw new Problem(problem.code, problem.detail);
  }

  /**
   * REPLICAOF NO ONE: this node is a master from now on, under a new run ID; the old one becomes an ancestor, so
   * that its siblings can follow it with a partial resync.
   * @param sender as for `replicaOf` @returns false if it is a master already
   * @throws Problem FAILOVER_REFUSED during a hand-over, UNAUTHORIZED
   */
  promote(sender: Sender | null = null): Promise<boolean> {
    return this.#change(async () => {
      this.#refuseUsers();
      mustDecide(sender);
      if (this.#parts.state.upstream === null) return false;
      await this.#becomeMaster(null);
      return true;
    });
  }

  /**
   * PSYNC … FAILOVER: the master hands over to this node. Changes by users do not wait while this node asks its master; if there is one
   * meanwhile, what the master has said no longer counts, and it has to ask again.
   * @returns the line that says why not, or null
   */
  async takeOver(position: Position, hash: bigint | null, session: Session): Promise<string | null> {
    const request = { position, hash, session };
    try {
      const before = this.#changing;
      const asked = this.#isChanging ? CHANGES : await this.#takeOvers.answer(this.role, request);
      if (asked.kind === 'refused') return asked.line;
      if (asked.kind === 'taken-over') return null;
      if (this.#changing !== before) return CHANGES.line;
      return await this.#change(async () => {
        if (this.#parts.stopping()) return '-LOADING shutting down';
        // Bytes of the master may have come meanwhile.
        const now = takeOverAnswer(this.#asTarget, this.role, request);
        if (now?.kind === 'refused') return now.line;
        if (now === null) await this.#becomeMaster(session);
        return null;
      });
    } catch (error) {
      this.#parts.log.error('take-over-failed', { error: inLogOf(error) });
      // The old master must not become one again when this node has, or when what it has written may be on the disk all the same.
      if (this.role === 'master') return null;
      return `-${isHarmless(error) ? HAND_OVER_REFUSED : 'LOADING FAILOVER'}: ${toldOf(error)}`;
    }
  }

  /** Hands over: this node durably stops being the master, and asks the process with this ID at the URL to become it. */
  handOver(url: string, nodeId: string): Promise<void> {
    return this.#change(async () => {
      this.#refuseWhenStopping();
      this.#target.name(nodeId);
      this.#parts.state.save({ upstream: url, handingOver: true });
      this.#demoted();
      this.#follow(url);
    });
  }

  /** Makes this node the master again after a refused hand-over, under its old run ID unless its files are a copy. */
  #takeBack(): Promise<void> {
    return this.#change(async () => {
      const { state, log, runIds } = this.#parts;
      if (!state.handingOver) return;
      await this.#unlinked(() => {
        // The node that the files were copied from may be a master under the old run ID.
        if (state.isCopy) runIds.rename('copied', { upstream: null });
        else state.save({ upstream: null, handingOver: false });
      });
      this.#parts.head.beginChain();
      this.#parts.events.roleChanged();
      log.warn('failover-taken-back', { position: formatPosition(this.#parts.head.position) });
    });
  }

  /** Allows the refused full resync, which replaces this node's data by nothing. @throws Problem NOTHING_GUARDED if there is none */
  acceptEmptyMaster(): void {
    if (this.#link?.accept() !== true) {
      throw new Problem('NOTHING_GUARDED', 'no full resync waits to be accepted');
    }
  }

  /** Takes a refusal by the target as the answer to a hand-over, if one is unanswered. Whatever else is at its URL does not answer for it. */
  #linkRefused(detail: string): void {
    const { events, log, state } = this.#parts;
    if (!state.handingOver || !detail.startsWith(HAND_OVER_REFUSED)) return;
    const takenBack = this.#takeBack().then(() => events.takenBack(detail));
    unattended(takenBack, (error) => log.error('failover-not-taken-back', { error: inLogOf(error) }));
  }

  /** Makes a new link, because this node now asks its master for something else. */
  startOver(): void {
    const begun = this.#change(async () => {
      const { upstream } = this.#parts.state;
      if (upstream === null) return;
      await this.#unlinked(() => undefined);
      this.#follow(upstream);
    });
    unattended(begun, (error) => logUnexpected(this.#parts.log, 'roles', error));
  }

  /** Ends the link for good. @param last the steps to do after that; the role does not change any more then */
  async close(last: () => Promise<void>): Promise<void> {
    await this.#change(async () => {
      await this.#link?.stop();
      this.#link = null;
      await last();
    });
  }

  #change<T>(change: () => Promise<T>): Promise<T> {
    const result = this.#changing.then(change);
    const done = result
      .catch(() => undefined)
      .then(() => {
        if (this.#changing === done) this.#isChanging = false;
      });
    this.#changing = done;
    this.#isChanging = true;
    return result;
  }

  #follow(url: string): void {
    const link = new Link(this.#linkContext(), url);
    this.#link = link;
    link.start();
  }

  /** Ends the link and then makes a change. If the change fails, nothing has changed, and the link begins anew. */
  async #unlinked(change: () => void): Promise<void> {
    const link = this.#link;
    this.#link = null;
    try {
      // From here on this node receives no more bytes of the old master.
      await link?.stop();
      change();
    } catch (error) {
      if (link !== null) this.#follow(link.url);
      throw error;
    }
  }

  #linkContext(): LinkContext {
    const { adoption, ask, dial, events, files, head, log, nodeId, runIds, settings, state, world } =
      this.#parts;
    return {
      world,
      log,
      head,
      journal: state,
      dial,
      ask,
      settings,
      counts: this.counts,
      nodeId,
      listeningUrl: () => this.#listeningUrl,
      files,
      adoption,
      request: () => linkRequest(this.#parts, this.#listeningUrl, this.#target),
      continued: (runId, lineage, hash) => runIds.continued(runId, lineage, hash),
      streaming: () => {
        this.#streamed = state.history.runId;
        // The target of a hand-over has answered, even if its answer was a full resync. What a copy lacked, it has now.
        if (state.handingOver || state.isCopy) state.save({ handingOver: false, copySettled: true });
        events.linkStreams();
      },
      refused: (detail) => this.#linkRefused(detail),
    };
  }

  /** @param except the session whose request caused the change, and which waits for the answer */
  async #becomeMaster(except: Session | null): Promise<void> {
    const { log, runIds } = this.#parts;
    await this.#unlinked(() => runIds.rename('promoted', { upstream: null, except }));
    this.#parts.adoption.forgetDifference();
    this.#parts.head.beginChain();
    this.#parts.sessions.forgetAway();
    this.#parts.events.roleChanged();
    log.info('promoted', { position: formatPosition(this.#parts.head.position) });
  }

  /** Reports that this node is a replica from now on. */
  #demoted(): void {
    this.#parts.events.roleChanged();
    this.#parts.sessions.forgetAway();
    this.#parts.sessions.releaseWaiters();
  }

  /** Refuses changes while the node stops: its last steps depend on its role, and it comes back with it. */
  #refuseWhenStopping(): void {
    if (this.#parts.stopping()) throw new Problem('SHUTTING_DOWN', 'the node is shutting down');
  }

  /** Refuses changes by users while the node stops, or while a hand-over is going on. */
  #refuseUsers(): void {
    this.#refuseWhenStopping();
    if (this.#reservation === null) return;
    const { code, message } = this.#reservation;
    throw new Problem(code, message);
  }
}

/** Whether nothing of a take-over has happened: a disk without room takes nothing. */
function isHarmless(error: unknown): boolean {
  return error instanceof StorageError && error.full;
}
