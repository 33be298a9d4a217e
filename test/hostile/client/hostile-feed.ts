/** A server of a few hostile nodes, which have one history and lie each in its own way. */
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
 * Path of a node, and whether its connections may be half-open. (Node's own WebSocket waits for ever for the end of such a
 * connection; that of `psyncd/client/node` does not.)
 */
const NODE = /^\/(\d+)(h?)\/v1\/changes$/;
const CALM = '/calm';

/** Answer to `/calm`: from now on the nodes are honest. */
export interface Calm {
  /** Number of the state in which the nodes are from now on. */
  readonly number: number;
  /** How many nodes have refused a request for good. */
  readonly refused: number;
}

export class HostileFeed {
  readonly #seed: number;
  readonly #mayAllRefuse: boolean;
  readonly #http: Server;
  readonly #feeds = new WebSocketServer({ noServer: true });
  readonly #sockets = new Set<Duplex>();
  readonly #truth = new Truth();
  /** Nodes that have refused a request for good. */
  readonly #refused = new Set<string>();
  #isCalm = false;
  #connections = 0;

  private constructor(seed: number, mayAllRefuse: boolean) {
    this.#seed = seed;
    this.#mayAllRefuse = mayAllRefuse;
    this.#http = createServer((request, response) => this.#answer(request, response));
    this.#http.on('connection', (socket) => {
      this.#sockets.add(socket);
      socket.on('error', () => undefined).on('close', () => this.#sockets.delete(socket));
    });
    this.#http.on('upgrade', (request: IncomingMessage, socket: Socket, head: Buffer) => {
      this.#upgrade(request, socket, head);
    });
  }

  /** @param mayAllRefuse whether all nodes may refuse a request for good; otherwise the first one never does */
  static async start(seed: number, mayAllRefuse: boolean): Promise<HostileFeed> {
    const feed = new HostileFeed(seed, mayAllRefuse);
    feed.#http.listen(0, '127.0.0.1');
    await once(feed.#http, 'listening');
    return feed;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#http.address() as AddressInfo).port}`;
  }

  /** Number of connections and requests. */
  get connections(): number {
    return this.#connections;
  }

  close(): void {
    this.#http.close();
    for (const socket of this.#sockets) socket.destroy();
  }

  /** What comes next follows from the seed and from how many connections there were. */
  #chance(): Chance {
    this.#connections += 1;
    return new Chance(this.#seed * 1_009 + this.#connections);
  }

  #answer(request: IncomingMessage, response: ServerResponse): void {
    if (request.url === CALM) {
      this.#isCalm = true;
      for (const socket of this.#sockets) if (socket !== request.socket) socket.destroy();
      this.#truth.write();
      const answer: Calm = { number: this.#truth.number, refused: this.#refused.size };
      response.setHeader('content-type', 'application/json').end(JSON.stringify(answer));
      return;
    }
    const chance = this.#chance();
    const lineage = JSON.stringify({ lineage: [{ runId: 'e'.repeat(40), validTo: 5 }] });
    response.statusCode = chance.of([200, 200, 200, 204, 302, 401, 404, 429, 500, 503]);
    if (chance.is(0.5)) response.setHeader('content-type', chance.of(['application/json', 'text/html']));
    if (chance.is(0.7)) response.setHeader('psync-position', this.#truth.model.position);
    if (response.statusCode === 302)
      response.setHeader('location', chance.of(['/', 'nonsense:', request.url ?? '/']));
    const body = chance.of([lineage, lineage, '{"lineage":7}', '{"lineage":[null]}', '{', '<html>', '']);
    if (chance.is(0.8)) response.end(body);
    else if (chance.is(0.5)) response.write(body);
    else request.socket.destroy();
  }

  #upgrade(request: IncomingMessage, socket: Socket, head: Buffer): void {
    const { pathname, searchParams } = new URL(request.url ?? '/', this.url);
    const [, node = '0', half = ''] = NODE.exec(pathname) ?? [];
    const chance = this.#chance();
    const position = searchParams.get('position') ?? undefined;
    const truth = this.#truth;
    let words: readonly Word[] = truth.model.from(position);
    if (!this.#isCalm) {
      if (chance.is(0.25)) {
        refuse(chance, request, socket);
        return;
      }
      if (chance.is(0.1)) truth.promote();
      if (chance.is(0.05)) truth.forget();
      words = lies(chance, truth, position, node !== '0' || this.#mayAllRefuse);
    }
    this.#feeds.handleUpgrade(request, socket, head, (feed) => {
      feed.on('error', () => undefined);
      const refused = (): unknown => this.#refused.add(node);
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
