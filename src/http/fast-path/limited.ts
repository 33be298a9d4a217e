/** Applies the limits of clients to every HTTP request, before the fast path and Fastify part. Without such limits nothing of this runs. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Gated, RequestGate } from '../../web/client-limits.ts';
import type { RateHeaders } from '../../web/request-limit.ts';
import type { Handler, Overlap } from './in-order.ts';

/** Largest body of a refused request that the node skips in order to keep the connection, in bytes. */
const MAX_SKIPPED_BYTES = 64 * 1024;
/** Supervisors ask often, and have to get an answer. */
const PROBE = /^\/(?:healthz|readyz)(?:\?|$)/;

/** Where the headers of an answer are kept until it is sent. */
const RATE = Symbol('rate');
type Rated = ServerResponse & { [RATE]?: RateHeaders };
const NONE: Partial<RateHeaders> = {};

/**
 * @param isPreflight whether a browser asks what a page may send: that does not count
 * @param fail answers a request that is refused
 * @returns the handler, which gets only the requests that are within the limits
 */
export function limited(
  handler: Handler,
  gate: RequestGate,
  isPreflight: (request: IncomingMessage) => boolean,
  fail: (error: Error, request: IncomingMessage, response: ServerResponse) => void,
): Handler {
  const carryOn = (
    request: IncomingMessage,
    response: Rated,
    { problem, isLast, headers }: Gated,
  ): Overlap => {
    if (headers !== null) response[RATE] = headers;
    if (problem === null) return handler.handle(request, response);
    if (isLast) response.setHeader('connection', 'close');
    fail(problem, request, response);
    return 'none';
  };
  return {
    overlap: handler.overlap,
    handle: (request, response: Rated) => {
      if (PROBE.test(request.url ?? '') || isPreflight(request)) return handler.handle(request, response);
      const gated = gate.pass(request, response);
      if (!(gated instanceof Promise)) return carryOn(request, response, gated);
      gated
        .then((known) => {
          // The client may leave while its token is verified.
          if (!response.destroyed && !request.socket.destroyed) carryOn(request, response, known);
        })
        .catch((error) => fail(error, request, response));
      return 'none';
    },
  };
}

/** @returns the same handler, for answers that somebody else writes: they get the headers beforehand */
export function withRateHeaders(handler: Handler): Handler {
  return {
    overlap: handler.overlap,
    handle: (request, response) => {
      for (const [name, value] of Object.entries(rateHeaders(response))) response.setHeader(name, value);
      return handler.handle(request, response);
    },
  };
}

/** @returns the headers that state the limit; none for a request that does not count */
export function rateHeaders(response: Rated): Partial<RateHeaders> {
  return response[RATE] ?? NONE;
}

/** Adds the same headers to a list of names and values. */
export function pushRateHeaders(headers: string[], response: Rated): void {
  const rate = response[RATE];
  if (rate === undefined) return;
  headers.push('ratelimit-policy', rate['ratelimit-policy'], 'ratelimit', rate.ratelimit);
}

/** Whether the body of a refused request is so short that the connection may stay open behind it. */
export function isSkippable({ headers }: IncomingMessage): boolean {
  return (
    headers['transfer-encoding'] === undefined &&
    headers.expect === undefined &&
    Number(headers['content-length'] ?? 0) <= MAX_SKIPPED_BYTES
  );
}
