/** `/v1/writes/hold`: lets writes wait for a time (Redis's CLIENT PAUSE and UNPAUSE). */
import type { FastifyInstance } from 'fastify';
import type { Node } from '../../../node/node.ts';
import { json } from '../../schemas/common/answers.ts';
import { type Described, referenceTo } from '../../schemas/common/described.ts';
import { problems } from '../../schemas/common/problems.ts';
import { holdRequest, writeHold } from '../../schemas/node/write-hold.ts';
import { refuseOnReplica } from '../refuse-on-replica.ts';

/** Largest JSON body of these calls, in bytes. */
const MAX_JSON_BYTES = 1024;

type Reply = Described<typeof writeHold>;

export function writeHoldRoutes(app: FastifyInstance, node: Node): void {
  const answer = (): Reply => ({ remainingMs: Math.ceil(node.writeHold.remainingMs) });
  app.get<{ Reply: Reply }>('/v1/writes/hold', {
    schema: {
      operationId: 'getWriteHold',
      summary: 'Whether writes wait',
      description: 'A hand-over, which lets writes wait too, is not counted here.',
      tags: ['operation'],
      response: { 200: json('How long writes will wait.', writeHold), ...problems() },
    },
    handler: (_request, reply) => {
      reply.send(answer());
    },
  });
  app.put<{ Body: Described<typeof holdRequest>; Reply: Reply }>('/v1/writes/hold', {
    bodyLimit: MAX_JSON_BYTES,
    schema: {
      operationId: 'holdWrites',
      summary: 'Let writes wait for a time',
      description: [
        'Writes wait undecided until the time is up or somebody ends the hold, and no expired entry is deleted; reads, replicas and',
        'followers go on. So everything can be compared, copied or moved at one position. What waits may take 256 MiB; more is 429. A hold',
        'ends when the node becomes a replica, or stops.',
      ].join('\n'),
      tags: ['operation'],
      body: referenceTo(holdRequest),
      response: {
        200: json('Writes wait from now on.', writeHold),
        ...problems('admin', 'body', 'READONLY'),
      },
    },
    handler: ({ body }, reply) => {
      refuseOnReplica(node);
      node.writeHold.begin(body.ms);
      reply.send(answer());
    },
  });
  app.delete<{ Reply: Reply }>('/v1/writes/hold', {
    schema: {
      operationId: 'releaseWrites',
      summary: 'End a hold of writes',
      description: 'The writes that wait are carried out. Without a hold nothing happens.',
      tags: ['operation'],
      response: { 200: json('Writes are carried out.', writeHold), ...problems('admin', 'READONLY') },
    },
    handler: (_request, reply) => {
      refuseOnReplica(node);
      node.writeHold.end();
      reply.send(answer());
    },
  });
}
