/** `--max-followers-per-token`: how many feeds one client may have open, on all transports together. */
import { LimitProblem } from '../access/access-problem.ts';
import { clientKind, clientName } from '../access/client-name.ts';
import { Holdings } from '../access/holdings.ts';
import type { Principal } from '../access/principal.ts';

/** Time after which a client should try again to open one more connection or feed, in seconds. */
export const RETRY_SECONDS = 1;

export class FollowerLimit {
  readonly #holdings: Holdings;
  readonly #refused: { add(name: 'followers'): void };

  /** @param refused counts what the limit refuses */
  constructor(most: number, refused: { add(name: 'followers'): void }) {
    this.#holdings = new Holdings(most);
    this.#refused = refused;
  }

  /**
   * Counts a feed of the client.
   * @param address of the client
   * @returns a function to call when the feed has ended
   * @throws LimitProblem if the client has as many as it may have
   */
  take(principal: Principal, address: string): () => void {
    const release = this.#holdings.take(clientName(principal, address));
    if (release !== null) return release;
    this.#refused.add('followers');
    const detail = `the limit of followers of one ${clientKind(principal)} is ${this.#holdings.most}`;
    throw new LimitProblem(detail, RETRY_SECONDS);
  }
}

/** The place of a feed, which goes with the token that its client has shown last. */
export class FollowerPlace {
  readonly #limit: FollowerLimit;
  readonly #address: string;
  #name: string;
  /** null: the feed has ended. */
  #release: (() => void) | null;

  /** @throws LimitProblem if the client has as many feeds as it may have */
  constructor(limit: FollowerLimit, principal: Principal, address: string) {
    this.#limit = limit;
    this.#address = address;
    this.#name = clientName(principal, address);
    this.#release = limit.take(principal, address);
  }

  /** Counts the feed for another client from now on. @throws LimitProblem as the constructor; it counts as before then */
  move(principal: Principal): void {
    const name = clientName(principal, this.#address);
    if (this.#release === null || name === this.#name) return;
    const release = this.#limit.take(principal, this.#address);
    this.#release();
    this.#release = release;
    this.#name = name;
  }

  /** The feed has ended. */
  end(): void {
    this.#release?.();
    this.#release = null;
  }
}
