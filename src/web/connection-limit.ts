/**
 * `--max-connections-per-token`: how many connections one client may have at the same time. A connection belongs to the client that
 * sent the last request on it; before the first request it belongs to nobody.
 */
import type { IncomingMessage } from 'node:http';
import { LimitProblem } from '../access/access-problem.ts';
import { clientKind, clientName } from '../access/client-name.ts';
import { Holdings } from '../access/holdings.ts';
import type { Principal } from '../access/principal.ts';
import { RETRY_SECONDS } from './follower-limit.ts';

/** The client to which a connection belongs. */
interface Owner {
  readonly name: string;
  readonly release: () => void;
}

export class ConnectionLimit {
  readonly #holdings: Holdings;
  readonly #owners = new WeakMap<object, Owner>();

  constructor(most: number) {
    this.#holdings = new Holdings(most);
  }

  /**
   * Counts the connection of the request for its sender, until it closes or somebody else sends on it.
   * @param principal null: the sender has not been found
   * @param address of the sender
   * @returns the reason to refuse the request and to close the connection; null: the sender may have it
   */
  claim({ socket }: IncomingMessage, principal: Principal | null, address: string): LimitProblem | null {
    const name = clientName(principal, address);
    const owner = this.#owners.get(socket);
    if (owner?.name === name || socket.destroyed) return null;
    const release = this.#holdings.take(name);
    if (release === null) {
      const detail = `the limit of connections of one ${clientKind(principal)} is ${this.#holdings.most}`;
      return new LimitProblem(detail, RETRY_SECONDS);
    }
    owner?.release();
    if (owner === undefined) socket.once('close', () => this.#owners.get(socket)?.release());
    this.#owners.set(socket, { name, release });
    return null;
  }
}
