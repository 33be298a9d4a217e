/** A server of hostile nodes: each round has a few of them, which have one history and lie each in its own way. */
import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { setTimeout as pause } from 'node:timers/promises';
import { type WebSocket, WebSocketServer } from 'ws';
import { Chance } from '../chance.ts';
import { lies, REFUSALS, type Word } from './lies.ts';
import { Truth } from './whole.ts';

/**
 * Path of a node: round and node, and whether connections may be half-open. (Node's own WebSocket waits for ever for
 * the end of such a connection; that of `psyncd/client/node` does not.)
 */
const NODE = /^\/r\/(\d+)\/(\d+)(h?)\/v1\/(changes|replication)$/;
const CALM = /^\/calm\/(\d+)$/;

interface Round {
  readonly truth: Truth;
  /** From now on every node is honest. */
  isCalm: boolean;
  /** Nodes that have refused a request for good. */
  readonly refused: Set<string>;
  readonly sockets: Set<Duplex>;
  connections: number;
}

/** Answer to `/calm/ROUND`. */
export interface Calm {
  /** Number of the state in which the nodes are from now on. */
  readonly number: number;
  /** How many nodes have refused a request for good. */
  readonly refused: number;
}

export class HostileFeed {
  readonly #seed: number;
  readonly #http: Server;
  readonly #feeds = new WebSocketServer({ noServer: true });
  readonly #rounds = new Map<string, Round>();
  readonly #sockets = new Set<Duplex>();

  private constructor(seed: number) {
    this.#seed = seed;
    this.#http = createServer((request, response) => this.#answer(request, response));
    this.#http.on('connection', (socket) => {
      this.#sockets.add(socket);
      socket.on('error', () => undefined).on('close', () => this.#sockets.delete(socket));
    });
    this.#http.on('upgrade', (request: IncomingMessage, socket: Socket, head: Buffer) => {
      this.#upgrade(request, socket, head);
    });
  }

  static async start(seed: number): Promise<HostileFeed> {
    const feed = new HostileFeed(seed);
    feed.#http.listen(0, '127.0.0.1');
    await once(feed.#http, 'listening');
    return feed;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#http.address() as AddressInfo).port}`;
  }

  /** Number of connections of all rounds. */
  get connections(): number {
    return [...this.#rounds.values()].reduce((sum, { connections }) => sum + connections, 0);
  }

  close(): void {
    this.#http.close();
    for (const socket of this.#sockets) socket.destroy();
  }

  #round(name: string): Round {
    const known = this.#rounds.get(name);
    if (known !== undefined) return known;
    const round: Round = {
      truth: new Truth(),
      isCalm: false,
      refused: new Set(),
      sockets: new Set(),
      connections: 0,
    };
    this.#rounds.set(name, round);
    return round;
  }

  /** What the node does on its next connection follows from the seed and from how many it had. */
  #chance(round: string, node: string, connection: number): Chance {
    return new Chance(this.#seed * 1_000_003 + Number(round) * 10_007 + Number(node) * 1_009 + connection);
  }

  #answer(request: IncomingMessage, response: ServerResponse): void {
    const calm = CALM.exec(request.url ?? '');
    if (calm !== null) {
      const round = this.#round(calm[1] as string);
      round.isCalm = true;
      for (const socket of round.sockets) socket.destroy();
      round.truth.write();
      const answer: Calm = { number: round.truth.number, refused: round.refused.size };
      response.setHeader('content-type', 'application/json').end(JSON.stringify(answer));
      return;
    }
    const [, name = '0', node = '0'] = NODE.exec(request.url ?? '') ?? [];
    const round = this.#round(name);
    round.connections += 1;
    const lineage = JSON.stringify({ lineage: [{ runId: 'e'.repeat(40), validTo: 5 }] });
    const chance = this.#chance(name, node, round.connections);
    response.statusCode = chance.of([200, 200, 200, 204, 302, 401, 404, 429, 500, 503]);
    if (chance.is(0.5)) response.setHeader('content-type', chance.of(['application/json', 'text/html']));
    if (chance.is(0.7)) response.setHeader('psync-position', round.truth.model.position);
    if (response.statusCode === 302)
      response.setHeader('location', chance.of(['/', 'nonsense:', request.url ?? '/']));
    const body = chance.of([lineage, lineage, '{"lineage":7}', '{"lineage":[null]}', '{', '<html>', '']);
    if (chance.is(0.8)) response.end(body);
    else if (chance.is(0.5)) response.write(body);
    else request.socket.destroy();
  }

  #upgrade(request: IncomingMessage, socket: Socket, head: Buffer): void {
    const { pathname, searchParams } = new URL(request.url ?? '/', this.url);
    const [, name = '0', node = '0', half = ''] = NODE.exec(pathname) ?? [];
    const round = this.#round(name);
    round.connections += 1;
    round.sockets.add(socket);
    socket.on('close', () => round.sockets.delete(socket));
    const chance = this.#chance(name, node, round.connections);
    if (!round.isCalm && chance.is(0.25)) {
      refuse(chance, request, socket);
      return;
    }
    const position = searchParams.get('position') ?? undefined;
    // One node of a round never refuses a request, in two rounds of three.
    const mayRefuse = node !== '0' || Number(name) % 3 === 0;
    if (!round.isCalm && chance.is(0.1)) round.truth.promote();
    if (!round.isCalm && chance.is(0.05)) round.truth.forget();
    const words = round.isCalm
      ? round.truth.model.from(position)
      : lies(chance, round.truth, position, mayRefuse);
    this.#feeds.handleUpgrade(request, socket, head, (feed) => {
      feed.on('error', () => undefined);
      const refused = (): unknown => round.refused.add(node);
      play(words, feed, socket, half === 'h', refused).catch(() => socket.destroy());
    });
  }
}

async function play(
  words: readonly Word[],
  feed: WebSocket,
  socket: Socket,
  mayBeHalfOpen: boolean,
  refused: () => void,
): Promise<void> {
  for (const word of words) {
    if (feed.readyState !== feed.OPEN) return;
    if (word === 'cut') socket.destroySoon();
    else if (word === 'half-open') {
      if (mayBeHalfOpen) socket.pause();
    } else if (typeof word === 'string') feed.send(word);
    else if ('binary' in word) feed.send(word.binary);
    else if ('raw' in word) socket.write(word.raw as Buffer);
    else if ('pauseMs' in word) await pause(word.pauseMs as number);
    else if ('close' in word) {
      if (REFUSALS.includes(word.close as number)) refused();
      // A code that may not be sent is no concern of this library.
      feed.close(word.close as number);
    } else feed.send(JSON.stringify(word));
  }
}

/** Answers the upgrade with something else. */
function refuse(chance: Chance, { headers, url }: IncomingMessage, socket: Socket): void {
  const status = chance.of([
    '200 OK',
    '204 No Content',
    `301 Moved Permanently\r\nlocation: ${url}`,
    '400 Bad Request',
    '401 Unauthorized\r\nwww-authenticate: Bearer',
    '403 Forbidden',
    '407 Proxy Authentication Required',
    '429 Too Many Requests',
    '500 Oops',
    '503 Service Unavailable\r\nretry-after: 1',
    // A WebSocket of somebody else.
    `101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-accept: nonsense`,
    `101 Switching Protocols\r\nupgrade: ${headers['sec-websocket-key']}`,
  ]);
  const page = '<!doctype html><title>Log in</title>';
  const answer = `HTTP/1.1 ${status}\r\ncontent-type: text/html\r\ncontent-length: ${page.length}\r\n\r\n${page}`;
  chance.of([
    () => socket.end(answer),
    () => socket.end(answer),
    () => socket.write(answer),
    () => socket.write(answer.slice(0, chance.below(answer.length))),
    () => socket.destroy(),
    () => socket.end(chance.bytes(50)),
    // Nothing at all.
    () => undefined,
  ])();
}
