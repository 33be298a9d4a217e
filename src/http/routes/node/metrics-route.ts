/** `/metrics`: the numbers of the node for Prometheus. */
import type { FastifyInstance } from 'fastify';
import { problems } from '../../schemas/common/problems.ts';
import { metricsText } from '../../schemas/node/metrics.ts';

/** What is published. */
export interface Scrapes {
  /** Resolves to all metrics, as text in UTF-8. Callers that come while it is made get the same. */
  scrape(): Promise<{ readonly contentType: string; readonly bytes: Uint8Array }>;
}

export function metricsRoute(app: FastifyInstance, metrics: Scrapes): void {
  app.get('/metrics', {
    schema: {
      operationId: 'getMetrics',
      summary: 'The metrics of the node',
      description:
        'In the text format of Prometheus; docs/metrics.md lists them. They hold names and addresses of replicas, no keys and no values. ' +
        '`--metrics-listen` publishes them on an address of their own, where nobody needs a token; there, and only there, a node that is ' +
        'too busy for 5 seconds is 503 (`LOADING`), for `/healthz` and `/readyz` too.',
      tags: ['operation'],
      response: { 200: metricsText, ...problems('admin', 'LOADING') },
    },
    handler: async (_request, reply) => {
      const { contentType, bytes } = await metrics.scrape();
      return reply.type(contentType).send(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength));
    },
  });
}
