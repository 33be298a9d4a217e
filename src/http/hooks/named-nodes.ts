/**
 * The requests that name other nodes, for a node that lets everybody in and shows its master a token or a certificate. Whoever reaches it could
 * name a URL of his own, and would be shown the token, which lets him in at the master; or could ask other nodes with the certificate.
 * So such a node takes these requests from nobody.
 */
import type { FastifyRequest } from 'fastify';
import type { Access } from '../../access/access.ts';
import { Problem } from '../../node/problem.ts';

/** Operations after which the node follows another one, and shows it what it shows to its master. A replica has announced its URL itself. */
const FOLLOWS: ReadonlySet<string> = new Set(['setUpstream', 'failover']);
/** Operation that asks the node of the query's `against`, without the token, but with the certificate. */
const ASKS = 'getDigest';

/** @throws Problem FORBIDDEN for a request that this node takes from nobody, because everybody could send it */
export function refuseNamedNode({ exposedUpstream }: Access, request: FastifyRequest): void {
  if (exposedUpstream === null) return;
  const { operationId = '' } = (request.routeOptions.schema ?? {}) as { readonly operationId?: string };
  const { against } = request.query as { readonly against?: unknown };
  const asks = operationId === ASKS && against !== undefined && exposedUpstream.certificate;
  if (!FOLLOWS.has(operationId) && !asks) return;
  const shown = exposedUpstream.token ? '--upstream-token-file' : '--upstream-cert';
  throw new Problem(
    'FORBIDDEN',
    `this node lets everybody in, so it shows what it has in ${shown} to no node that a client names: ` +
      'make tokens for it (psyncd token create), or restart it with --replica-of',
  );
}
