/** Reads that wait until this node has reached a position, so that a client reads its own writes on any node. */
import { type History, standing } from '../../replication/history.ts';
import { formatPosition, type Position } from '../../replication/position.ts';
import { ClientPlaces, clientShare } from '../client-places.ts';
import type { World } from '../ports/world.ts';
import { Problem } from '../problem.ts';

export interface WaitingSettings {
  /**
   * The largest number of writes that wait for acknowledgements, and of reads that wait for a position, at the same time. The node
   * refuses more. One client may have `clientShare` of them.
   */
  readonly maxWaiting: number;
}

interface Waiter {
  readonly position: Position;
  readonly resolve: () => void;
  readonly reject: (problem: Problem) => void;
}

export class PositionWaiters {
  readonly #world: World;
  readonly #settings: WaitingSettings;
  readonly #now: () => { readonly position: Position; readonly history: History; readonly settled: boolean };
  readonly #waiters = new Set<Waiter>();
  readonly #places: ClientPlaces;

  /** @param now returns the node's position and history; `settled`: the history is not about to change */
  constructor(
    world: World,
    settings: WaitingSettings,
    now: () => { readonly position: Position; readonly history: History; readonly settled: boolean },
  ) {
    this.#world = world;
    this.#settings = settings;
    this.#now = now;
    const most = (): number => settings.maxWaiting;
    this.#places = new ClientPlaces(most, () => clientShare(most()));
  }

  /**
   * Resolves when this node has reached the position.
   * @param gone ends the wait, because the client has gone
   * @param client name of the client that waits
   * @throws Problem UNKNOWN_HISTORY when this node can never reach it, NOT_REACHED when the time is up, TOO_MANY_REQUESTS when
   *   `maxWaiting` reads wait, or so many of this client as one may have
   */
  wait(position: Position, timeoutMs: number, gone: AbortSignal, client: string): Promise<void> {
    const verdict = this.#verdict(position);
    if (verdict === 'reached') return Promise.resolve();
    if (verdict !== 'not-yet') return Promise.reject(verdict);
    if (gone.aborted) return Promise.reject(this.#notReached(position, timeoutMs));
    const refusal = this.#places.refusal(client);
    if (refusal !== null) {
      const { maxWaiting } = this.#settings;
      const which =
        refusal === 'all' ? `${maxWaiting} reads` : `${clientShare(maxWaiting)} reads of this client`;
      return Promise.reject(new Problem('TOO_MANY_REQUESTS', `${which} wait for a position already`));
    }
    const giveBack = this.#places.take(client);
    return new Promise((resolve, reject) => {
      const done = (): void => {
        cancel();
        gone.removeEventListener('abort', leave);
        this.#waiters.delete(waiter);
        giveBack();
      };
      const waiter: Waiter = {
        position,
        resolve: () => {
          done();
          resolve();
        },
        reject: (problem) => {
          done();
          reject(problem);
        },
      };
      const leave = (): void => waiter.reject(this.#notReached(position, timeoutMs));
      gone.addEventListener('abort', leave);
      const cancel = this.#world.after(timeoutMs, () => waiter.reject(this.#notReached(position, timeoutMs)));
      this.#waiters.add(waiter);
    });
  }

  /** Rejects all waits with this problem, because the node stops. */
  refuse(problem: Problem): void {
    for (const waiter of this.#waiters) waiter.reject(problem);
  }

  /** Looks at all waits again, because the position or the history of the node has changed. */
  moved(): void {
    for (const waiter of this.#waiters) {
      const verdict = this.#verdict(waiter.position);
      if (verdict === 'reached') waiter.resolve();
      else if (verdict !== 'not-yet') waiter.reject(verdict);
    }
  }

  #verdict(position: Position): 'reached' | 'not-yet' | Problem {
    const { position: at, history, settled } = this.#now();
    switch (standing(history, position)) {
      case 'shared':
        return position.offset <= at.offset ? 'reached' : 'not-yet';
      case 'past-shared-history':
        return unknownHistory(`${formatPosition(position)} is past what that history shares with this one`);
      case 'unknown-run-id':
        // A replica whose link is not up yet may learn that run ID from its master.
        if (!settled) return 'not-yet';
        return unknownHistory(`${formatPosition(position)} is of a history that this node does not know`);
    }
  }

  #notReached(position: Position, timeoutMs: number): Problem {
    const { position: at, history } = this.#now();
    if (standing(history, position) === 'unknown-run-id') {
      return unknownHistory(`${formatPosition(position)} is of a history that this node does not know`);
    }
    return new Problem(
      'NOT_REACHED',
      `this node is at ${formatPosition(at)} and did not reach ${formatPosition(position)} within ${timeoutMs} ms`,
    );
  }
}

function unknownHistory(detail: string): Problem {
  return new Problem('UNKNOWN_HISTORY', detail);
}
