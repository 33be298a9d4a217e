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
