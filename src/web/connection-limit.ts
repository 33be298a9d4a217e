/**
 * `--max-connections-per-token`: how many connections one client may have at the same time. A connection counts for each client that has an
 * unanswered request on it, and for the client that sent the last request; before the first request it counts for nobody.
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Duplex } from 'node:stream';
import { LimitProblem } from '../access/access-problem.ts';
import { clientKind, clientName } from '../access/client-name.ts';
import { Holdings } from '../access/holdings.ts';
import type { Principal } from '../access/principal.ts';
import { RETRY_SECONDS } from './follower-limit.ts';

/** What one client has on a connection. */
interface Share {
  /** Number of requests that are not answered yet; an upgrade is one that never is. */
  open: number;
  readonly release: () => void;
}

interface Connection {
  readonly shares: Map<string, Share>;
  /** Name of the client that sent the last request. */
  last: string;
}

export class ConnectionLimit {
  readonly #holdings: Holdings;
  readonly #connections = new WeakMap<object, Connection>();

  constructor(most: number) {
    this.#holdings = new Holdings(most);
  }

  /**
   * Counts the connection of the request for its sender, until it closes, or until the sender's requests on it are answered and somebody
   * else sends on it.
   * @param principal null: the sender has no valid token
   * @param address of the sender
   * @param response of the request; null: it is an upgrade, which takes the connection over
   * @returns the reason to refuse the request and to close the connection; null: the sender may have it
   */
  claim(
    { socket }: IncomingMessage,
    principal: Principal | null,
    address: string,
    response: ServerResponse | null,
  ): LimitProblem | null {
    return socket.destroyed ? null : this.#claim(socket, principal, address, response);
  }

  /**
   * Counts the connection of an upgrade for another client from now on, because that one's token was shown on it.
   * @returns the reason to refuse the token; the connection counts as before then. null: it counts for the client
   */
  move(socket: Duplex, principal: Principal, address: string): LimitProblem | null {
    const connection = this.#connections.get(socket);
    if (socket.destroyed || connection === undefined) return null;
    const { last } = connection;
    if (last === clientName(principal, address)) return null;
    const refused = this.#claim(socket, principal, address, null);
    if (refused !== null) return refused;
    const share = connection.shares.get(last);
    if (share !== undefined) share.open -= 1;
    letGo(connection, last);
    return null;
  }

  #claim(
    socket: Duplex,
    principal: Principal | null,
    address: string,
    response: ServerResponse | null,
  ): LimitProblem | null {
    const name = clientName(principal, address);
    const connection = this.#connections.get(socket) ?? this.#opened(socket, name);
    const share = connection.shares.get(name) ?? this.#taken(connection, name);
    if (share === null) {
      const detail = `the limit of connections of one ${clientKind(principal)} is ${this.#holdings.most}`;
      return new LimitProblem(detail, RETRY_SECONDS);
    }
    const { last } = connection;
    connection.last = name;
    share.open += 1;
    if (last !== name) letGo(connection, last);
    response?.once('close', () => {
      share.open -= 1;
      letGo(connection, name);
    });
    return null;
  }

  #opened(socket: Duplex, name: string): Connection {
    const connection: Connection = { shares: new Map(), last: name };
    this.#connections.set(socket, connection);
    socket.once('close', () => {
      for (const { release } of connection.shares.values()) release();
      connection.shares.clear();
    });
    return connection;
  }

  #taken({ shares }: Connection, name: string): Share | null {
    const release = this.#holdings.take(name);
    if (release === null) return null;
    const share = { open: 0, release };
    shares.set(name, share);
    return share;
  }
}

/** The connection no longer counts for a client that has nothing open on it, unless that one sent the last request. */
function letGo({ shares, last }: Connection, name: string): void {
  const share = shares.get(name);
  if (share === undefined || share.open > 0 || last === name) return;
  share.release();
  shares.delete(name);
}
