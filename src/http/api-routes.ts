/** The API's routes with the schemas that they name and the parsers of their bodies; on the server, and in its document. */
import type { Readable } from 'node:stream';
import type { FastifyInstance, FastifyRequest, RouteOptions } from 'fastify';
import type { Access } from '../access/access.ts';
import type { Node } from '../node/node.ts';
import type { ClientLimits } from '../web/client-limits.ts';
import { parseJsonBody, readJson } from './request/bodies/json-body.ts';
import { Traffic } from './request/traffic/traffic.ts';
import { enterAcks } from './routes/acks.ts';
import { batchRoute } from './routes/keys/batch-route.ts';
import { changesRoute } from './routes/keys/changes-route.ts';
import { diffRoute } from './routes/keys/diff-route.ts';
import { importRoute } from './routes/keys/import-route.ts';
import { keyDeleteRoute } from './routes/keys/key-delete-route.ts';
import { operationRoutes } from './routes/keys/key-operation-routes.ts';
import { keyReadRoute } from './routes/keys/key-read-route.ts';
import { valueRoutes } from './routes/keys/key-value-routes.ts';
import { listRoutes } from './routes/keys/list-routes.ts';
import { adminRoutes, type RunningSettings } from './routes/node/admin-routes.ts';
import { metricsRoute, type Scrapes } from './routes/node/metrics-route.ts';
import { type TokenPlace, tokenRoutes } from './routes/node/token-routes.ts';
import { writeHoldRoutes } from './routes/node/write-hold-routes.ts';
import { replicationRoutes } from './routes/replication/replication-routes.ts';
import { snapshotRoutes } from './routes/replication/snapshot-routes.ts';
import { change, changeEvent } from './schemas/keys/changes.ts';
import { SHARED } from './schemas/shared.ts';

declare module 'fastify' {
  interface FastifyRequest {
    /** What Content-Type says, without parameters; of the routes that read their body themselves. */
    bodyType: string | null;
  }
}

export interface ApiParts {
  readonly node: Node;
  readonly access: Access;
  readonly limits: ClientLimits;
  readonly tokens: TokenPlace;
  readonly settings: RunningSettings;
  readonly metrics: Scrapes;
}

/** @param traffic without it nothing has a limit: for what only describes the routes */
export async function apiRoutes(
  app: FastifyInstance,
  { node, access, limits, tokens, settings, metrics }: ApiParts,
  traffic = new Traffic(
    () => Number.POSITIVE_INFINITY,
    () => '',
  ),
): Promise<void> {
  const now = (): number => Date.now();
  for (const schema of [...SHARED, change, changeEvent]) app.addSchema(schema);
  app.decorateRequest('bodyType', null);
  app.addHook('onRoute', (route) => {
    // Other routes let the parameter pass, and have nobody who gives the place back.
    if (!takesAcks(route)) return;
    route.preHandler = (request, reply, done) => {
      enterAcks(node, request, reply);
      done();
    };
  });
  await app.register((values, _options, done) => {
    // The handlers read these bodies themselves: as a stream, with a limit of their own. A value may have any media
    // type, a malformed one too; the routes that want a certain one find it in `bodyType`.
    values.addHook('onRequest', (request, _reply, next) => {
      request.bodyType = request.raw.headers['content-type']?.split(';')[0]?.trim().toLowerCase() ?? null;
      // Not `delete`, which makes every later look at the headers slower.
      request.raw.headers['content-type'] = undefined;
      next();
    });
    values.removeAllContentTypeParsers();
    values.addContentTypeParser('*', (_request: FastifyRequest, payload: Readable, parsed) =>
      parsed(null, payload),
    );
    valueRoutes(values, node, now, traffic);
    keyReadRoute(values, node, traffic);
    keyDeleteRoute(values, node);
    importRoute(values, node, now, traffic.bodies);
    done();
  });
  app.removeAllContentTypeParsers();
  app.addContentTypeParser('application/json', async (request: FastifyRequest, payload: Readable) => {
    const body = await readJson(request, payload, traffic.bodies);
    // curl and browsers name a type also for a body that is empty.
    return body.length === 0 ? undefined : parseJsonBody(body);
  });
  operationRoutes(app, node, now);
  listRoutes(app, node, access, traffic.answers);
  await batchRoute(app, node, now, traffic);
  diffRoute(app, node);
  changesRoute(app, { node, access, followers: limits.followers, settings });
  replicationRoutes(app, node, access, settings.proxies);
  snapshotRoutes(app, { node, access, settings });
  adminRoutes(app, node, settings);
  writeHoldRoutes(app, node);
  metricsRoute(app, metrics);
  tokenRoutes(app, tokens);
}

/** Whether the query of the route has `acks` and `durable`. */
function takesAcks({ schema }: RouteOptions): boolean {
  const query = schema?.querystring as { readonly properties?: object } | undefined;
  return query?.properties !== undefined && 'acks' in query.properties;
}
