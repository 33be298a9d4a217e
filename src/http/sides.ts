/**
 * `--admin-listen`: which operations each of the two listeners serves. The table of rights decides: what needs `admin`, or nothing but
 * `metrics`, is on the admin listener only. What other nodes ask is on both.
 */
import type { FastifyRequest } from 'fastify';
import { Problem } from '../node/problem.ts';
import { noSuchPath } from './problem.ts';
import { REACHES_FURTHER, type Requirement, reachesFurther, requirementFor } from './required-rights.ts';

/** `all`: the one listener for clients of a node without `--admin-listen`; `metrics`: the one of `--metrics-listen`. */
export type Side = 'all' | 'main' | 'admin' | 'metrics';

/** What the listener for metrics serves, for everybody. */
const OF_METRICS: ReadonlySet<string | undefined> = new Set(['getMetrics', 'getHealth', 'getReadiness']);

/** The parts of a route that say what it is. */
interface Operation {
  readonly url: string | undefined;
  readonly schema?: unknown;
}

/** Only WebSockets of replicas come here. */
const STREAM_URL = '/v1/replication/stream';

/** @returns whether some request to this route is answered on this side */
export function isOnSide(side: Side, { url, schema }: Operation): boolean {
  if (side === 'all') return true;
  if (url === STREAM_URL) return side === 'main';
  const { operationId } = (schema ?? {}) as { readonly operationId?: string };
  if (side === 'metrics') return OF_METRICS.has(operationId);
  if (operationId !== undefined && REACHES_FURTHER.has(operationId)) return true;
  const place = placeOf(requirementFor(url, operationId));
  return place === 'both' || place === side;
}

/**
 * @param request of a route
 * @returns the reason why this listener does not serve it; null: it does
 */
export function elsewhere(side: Side, request: FastifyRequest): Problem | null {
  const { url, schema } = request.routeOptions;
  if (side === 'all') return null;
  const { operationId = '' } = (schema ?? {}) as { readonly operationId?: string };
  if (side === 'metrics') return isOnSide(side, { url, schema }) ? null : noSuchPath(request);
  const isHere = REACHES_FURTHER.has(operationId)
    ? reachesFurther(request) === (side === 'admin')
    : isOnSide(side, { url, schema });
  if (isHere) return null;
  // Not 404: a program with the wrong URL would take every key for absent.
  if (side === 'admin') {
    return new Problem('FORBIDDEN', 'this is the admin listener; the other listener of the node serves this');
  }
  // Others learn no more than of a path that is not there.
  if (request.principal?.has('admin') !== true) return noSuchPath(request);
  return new Problem('UNKNOWN_PATH', 'the admin listener of this node serves this (--admin-listen)');
}

function placeOf(requirement: Requirement | null): 'main' | 'admin' | 'both' {
  if (requirement === null) return 'main';
  if (requirement === 'open' || requirement === 'token') return 'both';
  const { rights } = requirement;
  if (rights.includes('admin')) return 'admin';
  if (!rights.includes('metrics')) return 'main';
  return rights.length === 1 ? 'admin' : 'both';
}
