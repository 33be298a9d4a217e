/** `/v1/replication/sessions`: the connections of the replicas. */
import type { FastifyInstance } from 'fastify';
import type { Node } from '../../../node/node.ts';
import { Problem } from '../../../node/problem.ts';
import { json } from '../../schemas/common/answers.ts';
import type { Described } from '../../schemas/common/described.ts';
import { problems } from '../../schemas/common/problems.ts';
import { endedSession, sessionParams, sessions } from '../../schemas/replication/sessions.ts';

export function sessionRoutes(app: FastifyInstance, node: Node): void {
  app.get<{ Reply: Described<typeof sessions> }>('/v1/replication/sessions', {
    schema: {
      operationId: 'getSessions',
      summary: 'What happened to the replicas',
      description: 'The last events of each session: why did it resync, why did it go?',
      tags: ['replication'],
      response: { 200: json('The sessions.', sessions), ...problems() },
    },
    handler: (_request, reply) => {
      reply.send({ sessions: node.sessionRecords });
    },
  });
  app.delete<{ Params: Described<typeof sessionParams>; Reply: Described<typeof endedSession> }>(
    '/v1/replication/sessions/:id',
    {
      schema: {
        operationId: 'endSession',
        summary: "End a replica's session",
        description:
          'The node closes the connection (1001). The replica keeps its data and connects anew by itself, as after any lost ' +
          'connection; to keep it away, revoke its token, or point it elsewhere.',
        tags: ['replication'],
        params: sessionParams,
        response: { 200: json('The connection is closed.', endedSession), ...problems('admin', 'NOT_FOUND') },
      },
      handler: ({ params: { id } }, reply) => {
        if (!node.closeSession(id)) {
          throw new Problem('NOT_FOUND', `there is no open session ${JSON.stringify(id.slice(0, 80))}`);
        }
        reply.send({ id, ended: true });
      },
    },
  );
}
