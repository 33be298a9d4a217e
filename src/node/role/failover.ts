/**
 * The planned hand-over (Redis's FAILOVER): this master and one of its replicas change places, and nothing is lost.
 *
 *   waiting-for-sync ──the target has everything──► in-progress ──it has become the master──► done
 *      └── time-out, abort: nothing has happened         └── it refuses: this node is the master again
 *
 * Writes are held from the beginning to the end, and are then sent to whoever is the master.
 * Never two masters: this node durably stops being one *before* it asks the target to become one (PSYNC … FAILOVER, again
 * and again until there is an answer). From then on only the target's answer decides: a time-out ends the waiting, and
 * this node goes on following the target. The target becomes the master only if it stands at exactly this node's position.
 */
import { formatPosition, type Offset } from '../../replication/position.ts';
import { canonicalUpstream, notAnUpstream, parseUpstream } from '../../replication/upstream.ts';
import { msSince } from '../elapsed.ts';
import type { StreamHead } from '../head/stream-head.ts';
import type { AskPeer, Log, World } from '../ports.ts';
import { Problem } from '../problem.ts';
import type { Session } from '../session/session.ts';
import type { Sessions } from '../session/sessions.ts';
import type { WriteTurn } from '../write/write-turn.ts';

export interface FailoverRequest {
  /** The replica that is to become the master, `ws://HOST:PORT`; null: the first one that has everything. */
  readonly to: string | null;
  readonly timeoutMs: number;
}

export interface FailoverResult {
  /** The new master, `ws://HOST:PORT`. */
  readonly master: string;
  /** Where this node stands, under the new master's run ID. */
  readonly position: string;
  /** How long writes were held. */
  readonly heldMs: number;
  /** Replicas that go on following this node, as a chain: where they can be reached. */
  readonly replicas: readonly string[];
}

export type FailoverState = 'waiting-for-sync' | 'in-progress';

export interface FailoverStatus {
  readonly state: FailoverState;
  readonly to: string | null;
}

interface FailoverParts {
  readonly world: World;
  readonly log: Log;
  readonly head: StreamHead;
  readonly sessions: Sessions;
  readonly writes: WriteTurn;
  readonly ask: AskPeer;
  isMaster(): boolean;
  /** The target that was asked to become the master and has not answered, `ws://HOST:PORT`, or null. */
  unanswered(): string | null;
  /** Durably stops being a master, follows `url`, and asks it to become the master. */
  handOver(url: string): Promise<void>;
  /** The target has refused: this node is the master again, as if nothing had been. */
  takeBack(): Promise<void>;
}

interface Running {
  status: FailoverStatus;
  readonly resolve: () => void;
  readonly reject: (problem: Problem) => void;
}

export class Failover {
  readonly #parts: FailoverParts;
  #running: Running | null = null;
  /** Looks whether a target has everything. */
  #look: () => void = () => undefined;

  constructor(parts: FailoverParts) {
    this.#parts = parts;
  }

  get status(): FailoverStatus | null {
    return this.#running?.status ?? null;
  }

  /**
   * Hands over, and resolves when the target is the master.
   * @throws Problem FAILOVER_REFUSED, FAILOVER_ABORTED, FAILOVER_TIMED_OUT, BAD_REQUEST for an invalid URL
   */
  async run({ to: asked, timeoutMs }: FailoverRequest): Promise<FailoverResult> {
    const to = asked === null ? null : canonicalTarget(asked);
    const { world, log, head, writes } = this.#parts;
    if (this.#running !== null) throw refused('a hand-over is going on already');
    if (!this.#parts.isMaster()) throw refused('this node is a replica: ask its master to hand over');
    let ended: Running = null as unknown as Running;
    const outcome = new Promise<void>((resolve, reject) => {
      ended = { status: { state: 'waiting-for-sync', to }, resolve, reject };
    });
    // Whoever waits for it gets the rejection; nobody does while the target is looked for.
    outcome.catch(() => undefined);
    this.#running = ended;
    const cancelTimer = world.after(timeoutMs, () => ended.reject(this.#timedOut(timeoutMs)));
    let heldAt: number | null = null;
    try {
      const targets = await Promise.race([this.#targets(to), outcome.then(never)]);
      heldAt = world.monotonic();
      writes.hold();
      log.info('failover-waiting', { to, position: formatPosition(head.position) });
      const target = await Promise.race([this.#caughtUp(targets), outcome.then(never)]);
      const others = this.#parts.sessions.acknowledging.flatMap(({ url }) => url ?? []);
      ended.status = { state: 'in-progress', to: target };
      log.info('failover-handing-over', { to: target, position: formatPosition(head.position) });
      await this.#parts.handOver(target);
      await outcome;
      const result = {
        master: target,
        position: formatPosition(head.position),
        heldMs: msSince(world, heldAt),
        replicas: others.filter((url) => url !== target),
      };
      log.info('failover-done', { ...result });
      return result;
    } catch (error) {
      log.warn('failover-failed', { to, error: error instanceof Error ? error.message : String(error) });
      throw error;
    } finally {
      cancelTimer();
      this.#look = () => undefined;
      this.#running = null;
      if (heldAt !== null) writes.release();
    }
  }

  /** Gives the hand-over up while that is possible. @throws Problem FAILOVER_REFUSED when it is not, or none is going on */
  abort(why = 'it was aborted'): void {
    if (this.#running === null) {
      const target = this.#parts.unanswered();
      throw refused(
        target === null
          ? 'no hand-over is going on'
          : `${target} has been asked to become the master: only its answer decides now. ` +
              'DELETE /v1/replication/upstream makes this node a master, if the other is known not to be one',
      );
    }
    if (this.#running.status.state === 'in-progress') {
      throw refused('the target has been asked to become the master: only its answer decides now');
    }
    this.#running.reject(new Problem('FAILOVER_ABORTED', `${why}; this node is still the master`));
  }

  /** The node stops. What the target has been asked for, it is asked again when the node is back. */
  stop(): void {
    if (this.#running === null) return;
    if (this.#running.status.state === 'waiting-for-sync') this.abort('the node is shutting down');
    else {
      this.#running.reject(
        new Problem(
          'SHUTTING_DOWN',
          'the node is shutting down; the target is asked again after the restart',
        ),
      );
    }
  }

  /** A replica has acknowledged something, or has gone. */
  changed(): void {
    this.#look();
  }

  /** The link to the target streams: it is the master. */
  succeeded(): void {
    if (this.#running?.status.state === 'in-progress') this.#running.resolve();
  }

  /** The target has answered that it does not become the master. */
  async failed(detail: string): Promise<void> {
    await this.#parts.takeBack();
    this.#running?.reject(refused(`the target refuses: ${detail}; this node is the master again`));
  }

  /** The replicas that could take over: they can be reached under the URL that they say. */
  async #targets(to: string | null): Promise<readonly Session[]> {
    const online = this.#parts.sessions.acknowledging.filter(({ url }) => url !== null);
    const named = to === null ? online : online.filter(({ url }) => url === to);
    if (named.length === 0) {
      const urls = online.map(({ url }) => url).join(', ');
      throw refused(
        to === null || urls === ''
          ? 'no replica is online'
          : `${to} is no replica of this node that is online; these are: ${urls}`,
      );
    }
    const reachable = await Promise.all(
      named.map(async (session) => (await this.#parts.ask(session.url as string))?.nodeId === session.nodeId),
    );
    const targets = named.filter((_session, index) => reachable[index]);
    if (targets.length > 0) return targets;
    const urls = named.map(({ url }) => url).join(', ');
    throw refused(`no replica can be reached from here under the URL that it announces: ${urls}`);
  }

  /** @returns the URL of the first target that has acknowledged everything; nothing is written meanwhile */
  #caughtUp(targets: readonly Session[]): Promise<string> {
    const { head, sessions } = this.#parts;
    const end: Offset = head.offset;
    return new Promise((resolve, reject) => {
      this.#look = () => {
        const online = targets.filter(({ acknowledgement }) => acknowledgement !== null);
        const ready = online.find(({ acknowledgement }) => (acknowledgement?.offset ?? 0) >= end);
        if (ready !== undefined) resolve(ready.url as string);
        else if (online.length === 0) reject(refused('the target has gone; this node is still the master'));
      };
      sessions.wantAcks(end);
      this.#look();
    });
  }

  #timedOut(timeoutMs: number): Problem {
    const { state, to } = (this.#running as Running).status;
    const what =
      state === 'waiting-for-sync'
        ? 'no target had everything; this node is still the master'
        : `${to} was asked to become the master and has not answered; this node follows it, and keeps asking. ` +
          'DELETE /v1/replication/upstream makes this node a master, if the other is known not to be one';
    return new Problem('FAILOVER_TIMED_OUT', `after ${timeoutMs} ms ${what}`);
  }
}

function canonicalTarget(url: string): string {
  const parsed = parseUpstream(url);
  if (parsed === null) throw new Problem('BAD_REQUEST', notAnUpstream(url));
  return canonicalUpstream(parsed);
}

function refused(detail: string): Problem {
  return new Problem('FAILOVER_REFUSED', detail);
}

/** The outcome came before there was a target: only a rejection can. */
function never(): never {
  throw new Error('the hand-over ended before it began');
}
