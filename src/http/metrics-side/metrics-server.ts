/** The server of `--metrics-listen`: `/metrics`, `/healthz` and `/readyz`, for everybody. */
import type { Listening } from '../listening.ts';
import { probeRoutes } from '../routes/node/admin-routes.ts';
import { metricsRoute } from '../routes/node/metrics-route.ts';
import { SHARED } from '../schemas/shared.ts';
import { createSide, type SideParts, trafficOf } from '../side-server.ts';
import type { AskedNode } from './asked-node.ts';
import { keptText } from './kept-text.ts';

export interface MetricsParts extends SideParts {
  readonly node: AskedNode;
}

/** @returns the server, not listening yet */
export function createMetricsServer(parts: MetricsParts): Promise<Listening> {
  const { node, settings } = parts;
  return createSide(parts, 'metrics', trafficOf(parts), {
    upgrade: null,
    // With CORS every answer has headers of its own.
    handler: (_bodies, long) => (settings.allowedOrigins.length === 0 ? keptText(node, long) : long),
    firstHooks: (app) => {
      // Routes ask the node themselves; what no route takes is answered with the position of the node too.
      app.addHook('onRequest', async (request) => {
        if (request.is404) await node.refresh();
      });
    },
    routes: (app) => {
      for (const schema of SHARED) app.addSchema(schema);
      app.removeAllContentTypeParsers();
      metricsRoute(app, node);
      probeRoutes(app, { alive: () => node.refresh(), unready: (wanted) => node.unready(wanted) });
    },
  });
}
