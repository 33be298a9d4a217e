/** `/v1/replication`, `/v1/digest`: what the node knows of its history, and whom it follows. */
import type { FastifyInstance } from 'fastify';
import type { Node } from '../node/node.ts';
import { formatPosition } from '../replication/position.ts';
import { digest, json, problems, replication } from './schemas.ts';

/** The largest JSON body of these calls, in bytes. */
const MAX_JSON_BYTES = 64 * 1024;

export function replicationRoutes(app: FastifyInstance, node: Node): void {
  app.get('/v1/replication', {
    schema: {
      operationId: 'getReplication',
      summary: 'Role, position, backlog, upstream, replicas and counters',
      description:
        'What this node knows of its history, of the master it follows, and of the replicas that follow it.',
      tags: ['replication'],
      response: { 200: json('The state of replication.', replication), ...problems() },
    },
    handler: (_request, reply) => {
      reply.send(node.status);
    },
  });

  app.put<{ Body: { url: string } }>('/v1/replication/upstream', {
    bodyLimit: MAX_JSON_BYTES,
    schema: {
      operationId: 'setUpstream',
      summary: 'Follow a master (REPLICAOF)',
      description: [
        'What this node has is kept: if the history of the master allows it, it continues from there; otherwise it',
        'is served until a snapshot has replaced it. `ws://HOST:PORT`.',
      ].join('\n'),
      tags: ['replication'],
      body: { $ref: 'UpstreamRequest#' },
      response: {
        200: json('It follows that master already.', replication),
        202: json('It follows that master from now on.', replication),
        ...problems('body', 'STORAGE_FAILED', 'DISK_FULL'),
      },
    },
    handler: async (request, reply) => {
      const changed = await node.replicaOf(request.body.url);
      reply.code(changed ? 202 : 200);
      return node.status;
    },
  });

  app.delete('/v1/replication/upstream', {
    schema: {
      operationId: 'deleteUpstream',
      summary: 'Become a master (REPLICAOF NO ONE)',
      description:
        'Under a new run ID; the old one goes into the lineage, so that siblings can continue from here.',
      tags: ['replication'],
      response: {
        200: json('It is a master.', replication),
        ...problems('body', 'STORAGE_FAILED', 'DISK_FULL'),
      },
    },
    handler: async () => {
      await node.promote();
      return node.status;
    },
  });

  app.get('/v1/digest', {
    schema: {
      operationId: 'getDigest',
      summary: 'A hash over all entries at one position',
      description:
        'Equal on every node at equal positions. It reads the whole keyspace, on a thread of its own.',
      tags: ['replication'],
      response: { 200: json('The digest.', digest), ...problems() },
    },
    handler: async () => {
      const result = await node.digest();
      return { ...result, position: formatPosition(result.position) };
    },
  });
}
