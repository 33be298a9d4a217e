/** `DELETE /v1/keys/{key}`. */
import type { FastifyInstance } from 'fastify';
import type { Node } from '../../../node/node.ts';
import { json, writtenOnly } from '../../schemas/common/answers.ts';
import type { Described } from '../../schemas/common/described.ts';
import { WRITE_HEADERS } from '../../schemas/common/headers.ts';
import { problems } from '../../schemas/common/problems.ts';
import { acksQuery } from '../../schemas/common/queries.ts';
import { deleted, keyParams } from '../../schemas/keys/keys.ts';
import { type WriteRoute, writeHandler } from './key-write.ts';

interface DeleteRoute extends WriteRoute {
  Reply: Described<typeof deleted>;
}

export function keyDeleteRoute(app: FastifyInstance, node: Node): void {
  app.delete<DeleteRoute>('/v1/keys/:key', {
    schema: {
      operationId: 'deleteKey',
      summary: 'Delete an entry',
      description: 'An entry that is not there is 404, so that of two who delete it one is told.',
      tags: ['keys'],
      params: keyParams,
      headers: WRITE_HEADERS,
      querystring: acksQuery,
      response: {
        200: json('It was there, and is deleted.', deleted),
        202: writtenOnly(deleted),
        ...problems('KEY_TOO_LONG', 'NOT_FOUND', 'PRECONDITION_FAILED', 'write'),
      },
    },
    handler: writeHandler<DeleteRoute>(node, (target) => ({
      run: (write) => write({ kind: 'delete', ...target }),
      answer: ({ position }) => ({ key: target.key, deleted: true, position }),
      mustExist: true,
    })),
  });
}
