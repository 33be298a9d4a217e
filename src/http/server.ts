/** The HTTP side of a node: psyncd's routes, and the short cut to them. */
import type { IncomingMessage } from 'node:http';
import { apiRoutes } from './api-routes.ts';
import { preflightHeaders } from './cors.ts';
import { documentRoutes } from './document/document-routes.ts';
import type { DocumentParts } from './document/document-server.ts';
import { type DirectParts, direct } from './fast-path/direct.ts';
import type { Handler } from './fast-path/in-order.ts';
import { limited, withRateHeaders } from './fast-path/limited.ts';
import type { UpgradeListener } from './front.ts';
import type { Listening } from './listening.ts';
import { createSide, type SideParts, trafficOf } from './side-server.ts';
import type { Side } from './sides.ts';

export interface ServerParts extends DocumentParts, SideParts {
  readonly node: DocumentParts['node'];
  readonly access: DocumentParts['access'];
  readonly settings: DocumentParts['settings'];
  /** Takes what wants to become a WebSocket. */
  readonly upgrade: UpgradeListener;
}

/**
 * @param side which operations it serves
 * @param traffic the limits of memory, which all servers of a node share
 * @returns the server, not listening yet
 */
export function createServer(
  parts: ServerParts,
  side: Exclude<Side, 'metrics'> = 'all',
  traffic = trafficOf(parts),
): Promise<Listening> {
  return createSide(parts, side, traffic, {
    upgrade: side === 'admin' ? null : parts.upgrade,
    handler: (bodies, long) => shortCuts(parts, side, bodies, long),
    firstHooks: () => undefined,
    routes: async (app) => {
      await apiRoutes(app, parts, traffic);
      documentRoutes(app, parts, traffic.openAnswers);
    },
  });
}

/** @returns what takes every request: the fast path and the limit of requests where they apply, else `long` */
function shortCuts(
  { access, limits: { requests }, node, settings: { allowedOrigins, proxies } }: ServerParts,
  side: Side,
  bodies: Pick<DirectParts, 'stalls' | 'traffic' | 'fail'>,
  long: Handler,
): Handler {
  const other = requests === null ? long : withRateHeaders(long);
  // With CORS every answer has headers of its own.
  const isShort = allowedOrigins.length === 0 && (side === 'all' || side === 'main');
  const handler = isShort ? direct({ node, access, proxies, ...bodies }, other) : other;
  if (requests === null) return handler;
  const isPreflight = (request: IncomingMessage): boolean =>
    preflightHeaders(request, allowedOrigins) !== null;
  return limited(handler, requests, isPreflight, bodies.fail);
}
