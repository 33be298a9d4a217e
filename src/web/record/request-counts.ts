/**
 * Counts the requests that a node has answered, for `/metrics`. All listeners share one. Answers of the fast path raise plain numbers;
 * other answers cost a look into a map.
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { Durations, REQUEST_RANGES, Tally } from '../../node/ports/counts.ts';

/** Where the route of an answer is kept. Answers of the fast path have none. */
const ROUTE = Symbol('route');
type Routed = ServerResponse & { [ROUTE]?: string };

/** The route of the fast path. */
const KEY_ROUTE = '/v1/keys/{key}';
/** Its answers last as long as somebody follows. */
const STREAM_ROUTE = '/v1/changes';
/** HTTP status of a WebSocket that is open. */
const SWITCHING_PROTOCOLS = 101;
/** Clients may send any word as a method; the others count together. */
const METHODS: ReadonlySet<string> = new Set(['GET', 'HEAD', 'PUT', 'POST', 'PATCH', 'DELETE', 'OPTIONS']);

/** A request that was answered. */
export interface RequestNote {
  readonly route: string;
  readonly method: string;
  /** HTTP status; `none`: the connection ended before the answer began. */
  readonly code: string;
  /** How long it took; null: it was answered past Node's server. */
  readonly seconds: number | null;
}

/** Counts of one kind of request. */
export interface RequestCount {
  readonly route: string;
  readonly method: string;
  /** HTTP status; `none`: the connection ended before the answer began. */
  readonly code: string;
  readonly count: number;
}

/** Notes which route answers. @param url as the route was registered, `/v1/keys/:key` */
export function noteRoute(response: Routed, url: string): void {
  response[ROUTE] = url;
}

/** @returns the noted route as openapi.yaml writes it; null: none is noted, because the request has not reached it, or by the fast path */
export function notedRoute({ [ROUTE]: url }: Routed): string | null {
  return url === undefined ? null : shownRoute(url);
}

/** @returns the route as openapi.yaml writes it, `/v1/keys/{key}` */
export function shownRoute(url: string): string {
  return url.replace(/:([a-z]+)/gi, '{$1}');
}

export class RequestCounts {
  /** Answers of the fast path with 200 and, for PUT, 201. */
  #gets = 0;
  #replaced = 0;
  #created = 0;
  readonly #getDurations = new Durations(REQUEST_RANGES);
  readonly #putDurations = new Durations(REQUEST_RANGES);
  /** By route, method and code, separated by spaces. */
  readonly #others = new Tally();
  /** By route and method. */
  readonly #durations = new Map<string, Durations>();
  readonly #shown = new Map<string, string>();

  constructor() {
    this.#durations.set(`${KEY_ROUTE} GET`, this.#getDurations);
    this.#durations.set(`${KEY_ROUTE} PUT`, this.#putDurations);
  }

  /**
   * Counts a request when its answer has closed.
   * @param arrivedAt on the clock of `performance.now()`
   * @param shown returns the route of a request that was refused before it had one, as `shownRoute` does
   * @returns the route
   */
  answered(response: Routed, arrivedAt: number, shown: (request: IncomingMessage) => string): string {
    const seconds = (performance.now() - arrivedAt) / 1_000;
    const { req, statusCode, headersSent } = response;
    const url = response[ROUTE];
    // Only the fast path answers them without a route, unless it refuses them.
    const isShort = url === undefined && statusCode < 300 && (req.method === 'GET' || req.method === 'PUT');
    if (isShort && headersSent) {
      this.#short(req.method === 'GET', statusCode, seconds);
      return KEY_ROUTE;
    }
    const route = url === undefined ? shown(req) : this.#nameOf(url);
    this.add({
      route,
      method: nameOfMethod(req.method),
      code: headersSent ? `${statusCode}` : 'none',
      seconds,
    });
    return route;
  }

  /** Counts a request that was answered past Node's server: with 101, or why it gets no WebSocket. */
  upgrade(method: string | undefined, route: string, status = SWITCHING_PROTOCOLS): void {
    this.add({ route, method: nameOfMethod(method), code: `${status}`, seconds: null });
  }

  /** Counts a request that was answered by a route. */
  add({ route, method, code, seconds }: RequestNote): void {
    this.#others.add(`${route} ${method} ${code}`);
    if (seconds !== null && route !== STREAM_ROUTE) this.#durationsOf(`${route} ${method}`).add(seconds);
  }

  get counts(): readonly RequestCount[] {
    const short = [
      [`${KEY_ROUTE} GET 200`, this.#gets],
      [`${KEY_ROUTE} PUT 200`, this.#replaced],
      [`${KEY_ROUTE} PUT 201`, this.#created],
    ] as const;
    // Fastify answers some of these requests too.
    const sums = new Map<string, number>(short);
    for (const [name, count] of this.#others.counts) sums.set(name, (sums.get(name) ?? 0) + count);
    return [...sums].map(([name, count]) => {
      const [route = '', method = '', code = ''] = name.split(' ');
      return { route, method, code, count };
    });
  }

  /** How long requests took, by route and method; without those that follow. */
  get durations(): readonly { readonly route: string; readonly method: string; readonly took: Durations }[] {
    return [...this.#durations].map(([name, took]) => {
      const [route = '', method = ''] = name.split(' ');
      return { route, method, took };
    });
  }

  #short(isGet: boolean, status: number, seconds: number): void {
    if (isGet) {
      this.#gets += 1;
      this.#getDurations.add(seconds);
      return;
    }
    if (status === 201) this.#created += 1;
    else this.#replaced += 1;
    this.#putDurations.add(seconds);
  }

  #nameOf(url: string): string {
    let name = this.#shown.get(url);
    if (name === undefined) {
      name = shownRoute(url);
      this.#shown.set(url, name);
    }
    return name;
  }

  #durationsOf(name: string): Durations {
    let durations = this.#durations.get(name);
    if (durations === undefined) {
      durations = new Durations(REQUEST_RANGES);
      this.#durations.set(name, durations);
    }
    return durations;
  }
}

function nameOfMethod(method = ''): string {
  return METHODS.has(method) ? method : 'other';
}
