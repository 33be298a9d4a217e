/**
 * The planned hand-over (Redis's FAILOVER): this master and one of its replicas change places without losing a write.
 * `hand-over.ts` has its states. The node holds writes from `waiting` to the end, and then redirects them to the master.
 *
 * Invariant: there are never two masters. This node durably stops being one *before* it asks the target to become one (PSYNC …
 * FAILOVER, again and again until there is an answer). From then on only the target's answer decides: a time-out ends the
 * waiting, and this node goes on following the target. The target becomes the master only if it is at exactly this node's position,
 * and refuses only if it knows that it has not been the master (take-over.ts).
 */
import { formatPosition, type Offset } from '../../replication/position.ts';
import { canonicalUpstream, httpUrl, notAnUpstream, parseUpstream } from '../../replication/upstream.ts';
import { msSince } from '../elapsed.ts';
import type { StreamHead } from '../head/stream-head.ts';
import { inLogOf } from '../ports/failures.ts';
import type { AskPeer, OwnToken } from '../ports/peers.ts';
import type { Log, World } from '../ports/world.ts';
import { Problem } from '../problem.ts';
import type { Sessions } from '../session/sessions.ts';
import { mustDecide, type WatchedSender } from '../write/sender.ts';
import type { WriteTurn } from '../write/write-turn.ts';
import { type Candidate, candidates } from './candidates.ts';
import {
  type FailoverStatus,
  type HandOver,
  type HandOverEvent,
  handOverStatus,
  handOverStep,
  refused,
} from './hand-over.ts';
import type { Roles } from './roles.ts';

/**
 * Milliseconds after which a replica that acknowledges, and does not say what is on its disk, counts as one that cannot say so: an
 * older psyncd. Others say it with each acknowledgement since they were asked, and acknowledge once a second.
 */
const NO_DISK_WORD_MS = 2_500;

export interface FailoverRequest {
  /** The replica that becomes the master, `ws://HOST:PORT`; null: the first trusted one that has everything (candidates.ts). */
  readonly to: string | null;
  readonly timeoutMs: number;
  /** Whether this node does not let everybody in: then it hands over to no replica that does. Absent: it does. */
  readonly isGuarded?: boolean;
}

export interface FailoverResult {
  /** The new master, `ws://HOST:PORT`. */
  readonly master: string;
  /** The position of this node, under the new master's run ID. */
  readonly position: string;
  /** The time for which the node held writes, in milliseconds. */
  readonly heldMs: number;
  /** The URLs of the replicas that go on following this node, as a chain. */
  readonly replicas: readonly string[];
}

interface FailoverParts {
  readonly world: World;
  readonly log: Log;
  readonly head: StreamHead;
  readonly sessions: Sessions;
  readonly writes: Pick<WriteTurn, 'hold'>;
  readonly roles: Pick<Roles, 'role' | 'masterUrl' | 'unanswered' | 'reserve' | 'handOver'>;
  readonly ask: AskPeer;
  readonly ownToken: OwnToken;
  /** Whether the node stops. */
  stopping(): boolean;
}

export class Failover {
  readonly #parts: FailoverParts;
  #state: HandOver = { kind: 'none' };
  /** Settles the outcome of the hand-over that is going on. */
  #settle: (problem: Problem | null) => void = () => undefined;
  /** Checks whether a target has acknowledged everything. */
  #look: () => void = () => undefined;

  constructor(parts: FailoverParts) {
    this.#parts = parts;
  }

  get status(): FailoverStatus | null {
    return handOverStatus(this.#state);
  }

  /**
   * Hands over, and resolves when the target is the master.
   * @param sender who wants it; if it loses the right before the target is asked, the hand-over is aborted. Afterwards only the target
   *   can end it
   * @throws Problem FAILOVER_REFUSED, FAILOVER_ABORTED, FAILOVER_TIMED_OUT, BAD_REQUEST for an invalid URL, UNAUTHORIZED
   */
  async run(
    { to: asked, timeoutMs, isGuarded = false }: FailoverRequest,
    sender: WatchedSender | null = null,
  ): Promise<FailoverResult> {
    const { world, log, roles, sessions, writes } = this.#parts;
    const to = asked === null ? null : canonicalTarget(asked);
    if (this.status === null && (roles.role !== 'master' || this.#parts.stopping()))
      throw refused(`this node is a replica: ask its master to hand over${atMaster(roles.masterUrl)}`);
    this.#step({ kind: 'begin', to });
    const outcome = this.#outcome();
    const release = roles.reserve(
      refused('a hand-over is going on; DELETE /v1/replication/failover aborts it'),
    );
    const cancelTimer = world.after(timeoutMs, () => this.#step({ kind: 'timed-out', timeoutMs }));
    const unwatch = this.#abortWithout(sender);
    let releaseWrites = (): void => undefined;
    try {
      const chosen = candidates({ ...this.#parts, isGuarded }, sessions.acknowledging, to);
      const targets = await Promise.race([chosen, outcome.then(never)]);
      const heldAt = world.monotonic();
      releaseWrites = writes.hold();
      const result = await this.#handOver(to, targets, outcome, sender);
      const done = { ...result, heldMs: msSince(world, heldAt) };
      log.info('failover-done', { ...done });
      return done;
    } catch (error) {
      log.warn('failover-failed', { to, error: inLogOf(error) });
      throw error;
    } finally {
      cancelTimer();
      unwatch();
      this.#look = () => undefined;
      this.#step({ kind: 'over' });
      release();
      releaseWrites();
    }
  }

  /** Gives the hand-over up while that is possible. @throws Problem FAILOVER_REFUSED when it is not, or there is none */
  abort(): void {
    const target = this.#parts.roles.unanswered;
    if (this.status === null && target !== null) {
      throw refused(
        `${target} has been asked to become the master: only its answer decides now. ` +
          'DELETE /v1/replication/upstream makes this node a master, if the other is known not to be one',
      );
    }
    this.#step({ kind: 'abort' });
  }

  /** Ends the waiting, because the node stops. If it has asked the target already, it asks again after the restart. */
  stop(): void {
    this.#step({ kind: 'stop' });
  }

  /** Hears that a replica has acknowledged something, or has gone. */
  changed(): void {
    this.#look();
  }

  /** Hears that the link streams: after a hand-over, that the target is the master. */
  linkStreams(): void {
    this.#step({ kind: 'took-over' });
  }

  /** Hears that the target has refused, and that this node is the master again. */
  takenBack(detail: string): void {
    this.#step({ kind: 'target-refused', detail });
  }

  /** @throws Problem if the event is refused in this state */
  #step(event: HandOverEvent): void {
    const before = this.#state;
    const next = handOverStep(before, event);
    if (next instanceof Problem) throw next;
    this.#state = next;
    if (next.kind === 'ended' && before.kind !== 'ended') this.#settle(next.problem);
  }

  /** Aborts the hand-over when the sender loses the right, while that is possible. @returns a function that ends the watch */
  #abortWithout(sender: WatchedSender | null): () => void {
    if (sender === null) return () => undefined;
    const look = (): void => {
      const isAbortable = this.#state.kind === 'choosing' || this.#state.kind === 'waiting';
      if (isAbortable && sender.over !== null)
        this.#step({ kind: 'abort', why: 'its sender has lost the right' });
    };
    const { signal } = sender;
    signal.addEventListener('abort', look);
    look();
    return () => signal.removeEventListener('abort', look);
  }

  /** @returns a promise that settles when the hand-over has ended */
  #outcome(): Promise<void> {
    const outcome = new Promise<void>((resolve, reject) => {
      this.#settle = (problem) => (problem === null ? resolve() : reject(problem));
    });
    // `run` gets the rejection too, but does not wait for it at every moment.
    outcome.catch(() => undefined);
    return outcome;
  }

  /** Waits for a target that has everything, and asks it to become the master. */
  async #handOver(
    to: string | null,
    targets: readonly Candidate[],
    outcome: Promise<void>,
    sender: WatchedSender | null,
  ): Promise<Omit<FailoverResult, 'heldMs'>> {
    const { head, log, roles, sessions } = this.#parts;
    this.#step({ kind: 'chosen' });
    log.info('failover-waiting', { to, position: formatPosition(head.position) });
    const { url: target, nodeId } = await Promise.race([this.#caughtUp(targets), outcome.then(never)]);
    const others = sessions.acknowledging.flatMap(({ url }) => url ?? []);
    if (this.#state.kind === 'waiting') mustDecide(sender);
    this.#step({ kind: 'caught-up', target });
    // After an abort of the same moment the node does not ask the target, and `outcome` rejects.
    if (this.#state.kind === 'asked') {
      log.info('failover-handing-over', { to: target, position: formatPosition(head.position) });
      await roles.handOver(target, nodeId);
    }
    await outcome;
    return {
      master: target,
      position: formatPosition(head.position),
      replicas: others.filter((url) => url !== target),
    };
  }

  /**
   * The node writes nothing meanwhile.
   * @returns the first target that has everything on its disk: then no crash of its machine takes it back, and if it comes back with
   *   less, somebody has put its folder back (take-over.ts)
   */
  #caughtUp(targets: readonly Candidate[]): Promise<Candidate> {
    const { head, sessions, world } = this.#parts;
    const end: Offset = head.offset;
    const askedAt = world.monotonic();
    const hasAll = ({ session: { acknowledgement } }: Candidate): boolean => {
      if (acknowledgement === null) return false;
      const { offset, durable, at } = acknowledgement;
      return durable === null ? offset >= end && at - askedAt >= NO_DISK_WORD_MS : durable >= end;
    };
    return new Promise((resolve) => {
      this.#look = () => {
        const online = targets.filter(({ session }) => session.acknowledgement !== null);
        const ready = online.find(hasAll);
        if (ready !== undefined) resolve(ready);
        else if (online.length === 0) this.#step({ kind: 'gone' });
      };
      sessions.wantDurableAcks(end);
      this.#look();
    });
  }
}

/** @returns where the master is, if this node knows it */
function atMaster(url: string | null): string {
  return url === null ? '' : ` (psyncd failover --node ${httpUrl(url)})`;
}

function canonicalTarget(url: string): string {
  const parsed = parseUpstream(url);
  if (parsed === null) throw new Problem('BAD_REQUEST', notAnUpstream(url));
  return canonicalUpstream(parsed);
}

/** Stands for a hand-over that ends before there is a target, which only a rejection can do. */
function never(): never {
  throw new Error('the hand-over ended before it began');
}
