/**
 * The places of a listener: how many connections it has at most, and which one ends when a new one comes and all places are taken. Whoever
 * is only there, silent or with half a request, makes room for those who ask.
 */
import type { IncomingMessage, Server } from 'node:http';
import type { Socket } from 'node:net';
import { belowTls } from '../../runtime/below-tls.ts';

export interface PlaceRules {
  /** Whether the sender of a request has shown that he may do something here that not everybody may. */
  readonly isKnown: (request: IncomingMessage) => boolean;
  /**
   * Whether a connection with a request under way may end too, the oldest first, if nobody has shown on it who he is and no connection is
   * idle: some answers need no token, and whoever does not read them could stay for ever.
   */
  readonly endsStrangers: boolean;
}

/** A connection. */
interface Place {
  readonly socket: Socket;
  isKnown: boolean;
  /** Whether it is no connection for HTTP any more. */
  isUpgraded: boolean;
}

export class Places {
  readonly #server: Server;
  readonly #rules: PlaceRules;
  #most = Number.POSITIVE_INFINITY;
  readonly #open = new Map<Socket, Place>();
  /**
   * Idle ones on which nobody has shown who he is: they have sent no whole request yet, or all are answered, or they are WebSockets on
   * which no token has come. The longest idle first.
   */
  readonly #idleStrangers = new Set<Place>();
  /** The other idle ones, in the same order. */
  readonly #idleKnown = new Set<Place>();
  /** All on which nobody has shown who he is, the oldest first. */
  readonly #strangers = new Set<Place>();

  /** @param server does not listen yet */
  constructor(server: Server, rules: PlaceRules) {
    this.#server = server;
    this.#rules = rules;
    // Before Node's own listener, which begins the handshake of TLS.
    server.prependListener('connection', (socket: Socket) => this.#opened(socket));
  }

  /** Whether a new connection has to be closed: all places are taken, and no connection may end for it. */
  get isFull(): boolean {
    return this.#open.size >= this.#most && this.#next() === undefined;
  }

  /** @param most largest number of connections, of all addresses of the listener together */
  limitTo(most: number): void {
    this.#most = most;
    this.#look();
  }

  /** The connection of the request has work from now on. */
  begin(request: IncomingMessage): void {
    const place = this.#placeOf(request.socket);
    if (place === undefined) return;
    this.#meet(place, request);
    this.#idleStrangers.delete(place);
    this.#idleKnown.delete(place);
    this.#look();
  }

  /** The connection has no work any more. @param request its last one, which is answered */
  rest(request: IncomingMessage): void {
    const place = this.#placeOf(request.socket);
    if (place === undefined || place.isUpgraded) return;
    // A signed token that came for the first time is verified only now.
    this.#meet(place, request);
    (place.isKnown ? this.#idleKnown : this.#idleStrangers).add(place);
    this.#look();
  }

  /**
   * The connection of the request is no connection for HTTP any more. As long as nobody has shown on it who he is, it is one that is
   * only there.
   */
  upgrade(request: IncomingMessage): void {
    this.begin(request);
    const place = this.#placeOf(request.socket);
    if (place === undefined) return;
    place.isUpgraded = true;
    if (!place.isKnown) this.#idleStrangers.add(place);
    this.#look();
  }

  /** The WebSocket that the request has opened serves somebody who may have it: it keeps its place until it closes. */
  keep(request: IncomingMessage): void {
    const place = this.#placeOf(request.socket);
    if (place === undefined) return;
    this.#idleStrangers.delete(place);
    this.#look();
  }

  #opened(socket: Socket): void {
    if (this.#open.size >= this.#most) this.#makeRoom();
    const place = { socket, isKnown: false, isUpgraded: false };
    this.#open.set(socket, place);
    this.#strangers.add(place);
    this.#idleStrangers.add(place);
    socket.once('close', () => this.#forget(place));
    this.#look();
  }

  #makeRoom(): void {
    const place = this.#next();
    if (place === undefined) return;
    // It closes later, and more connections may come until then.
    this.#forget(place);
    place.socket.destroy();
  }

  /** @returns the connection that ends for the next one; undefined: none may */
  #next(): Place | undefined {
    const [place] = this.#idleStrangers.size > 0 ? this.#idleStrangers : this.#idleKnown;
    if (place !== undefined || !this.#rules.endsStrangers) return place;
    const [oldest] = this.#strangers;
    return oldest;
  }

  #meet(place: Place, request: IncomingMessage): void {
    if (place.isKnown || !this.#rules.isKnown(request)) return;
    place.isKnown = true;
    this.#strangers.delete(place);
  }

  #forget(place: Place): void {
    this.#open.delete(place.socket);
    for (const places of [this.#strangers, this.#idleStrangers, this.#idleKnown]) places.delete(place);
    this.#look();
  }

  #placeOf(socket: Socket): Place | undefined {
    return this.#open.get(belowTls(socket) ?? socket);
  }

  /** Node closes connections beyond its own limit before anybody gets to know of them, and also counts those that are about to close. */
  #look(): void {
    const most = this.isFull ? 0 : Number.POSITIVE_INFINITY;
    if (this.#server.maxConnections !== most) this.#server.maxConnections = most;
  }
}
