/** `/v1/keys/{key}/increment` and `/expiry`: writes whose body is JSON, or that have none. */
import type { FastifyInstance } from 'fastify';
import type { Node } from '../../../node/node.ts';
import { Problem } from '../../../node/problem.ts';
import { jsonLine } from '../../../web/problem-body.ts';
import { expiryOf } from '../../request/expiry.ts';
import { integerOf, jsonInteger } from '../../request/json-integer.ts';
import { json, writtenOnly } from '../../schemas/common/answers.ts';
import { type Described, referenceTo } from '../../schemas/common/described.ts';
import { WRITE_HEADERS } from '../../schemas/common/headers.ts';
import { problems } from '../../schemas/common/problems.ts';
import { acksQuery } from '../../schemas/common/queries.ts';
import {
  expiry,
  expiryRequest,
  incremented,
  incrementRequest,
  keyOf,
  keyParams,
} from '../../schemas/keys/keys.ts';
import { type WriteRoute, writeHandler } from './key-write.ts';

/** Largest JSON body of an operation on a key, in bytes. */
const MAX_JSON_BYTES = 64 * 1024;

interface IncrementRoute extends WriteRoute {
  Body: Described<typeof incrementRequest> | null;
  /** `value` is written with all its digits, also beyond 2^53. */
  Reply: Omit<Described<typeof incremented>, 'value'> & { readonly value: unknown };
}

interface ExpiryRoute extends WriteRoute {
  Reply: Described<typeof expiry>;
}

interface SetExpiryRoute extends ExpiryRoute {
  Body: Described<typeof expiryRequest>;
}

export function operationRoutes(app: FastifyInstance, node: Node, now: () => number): void {
  incrementKeyRoute(app, node);
  setExpiryRoute(app, node, now);
  deleteExpiryRoute(app, node);
}

function incrementKeyRoute(app: FastifyInstance, node: Node): void {
  app.post<IncrementRoute>('/v1/keys/:key/increment', {
    bodyLimit: MAX_JSON_BYTES,
    schema: {
      operationId: 'incrementKey',
      summary: 'Add to an integer',
      description:
        'A 64-bit signed integer in decimal digits. An entry that is not there counts as 0. The expiry stays.',
      tags: ['keys'],
      params: keyOf('visits'),
      headers: WRITE_HEADERS,
      querystring: acksQuery,
      body: referenceTo(incrementRequest),
      response: {
        200: json('The new value.', incremented, 'etag'),
        202: writtenOnly(incremented, 'etag'),
        ...problems(
          'KEY_TOO_LONG',
          'NOT_INTEGER',
          'INTEGER_OVERFLOW',
          'PRECONDITION_FAILED',
          'body',
          'write',
        ),
      },
    },
    preValidation: (request, _reply, done) => {
      request.body ??= {};
      done();
    },
    handler: writeHandler<IncrementRoute>(node, (target, request, reply) => {
      const by = integerOf(request.body?.by ?? 1);
      return {
        run: (write) => write({ kind: 'increment', ...target, by }),
        answer: ({ entry, version, position }) => {
          const value = BigInt(entry?.value?.toString('latin1') ?? '0');
          reply.type('application/json; charset=utf-8').serializer(jsonLine);
          return { value: jsonInteger(value), version, position };
        },
      };
    }),
  });
}

function setExpiryRoute(app: FastifyInstance, node: Node, now: () => number): void {
  app.put<SetExpiryRoute>('/v1/keys/:key/expiry', {
    bodyLimit: MAX_JSON_BYTES,
    schema: {
      operationId: 'setExpiry',
      summary: 'Let an entry expire',
      description: 'After `ttl` seconds, or at the time `expiresAt`. The value stays as it is.',
      tags: ['keys'],
      params: keyParams,
      headers: WRITE_HEADERS,
      querystring: acksQuery,
      body: referenceTo(expiryRequest),
      response: {
        200: json('When it expires.', expiry, 'etag'),
        202: writtenOnly(expiry, 'etag'),
        ...problems('KEY_TOO_LONG', 'NOT_FOUND', 'PRECONDITION_FAILED', 'body', 'write'),
      },
    },
    handler: writeHandler<SetExpiryRoute>(node, (target, request) => {
      const expiresAt = expiryOf(request.body, now());
      if (expiresAt === null) throw new Problem('BAD_REQUEST', 'either ttl or expiresAt is required');
      return {
        run: (write) => write({ kind: 'expire', ...target, expiresAt }),
        answer: ({ version, position }) => ({ key: target.key, expiresAt, version, position }),
        mustExist: true,
      };
    }),
  });
}

function deleteExpiryRoute(app: FastifyInstance, node: Node): void {
  app.delete<ExpiryRoute>('/v1/keys/:key/expiry', {
    schema: {
      operationId: 'deleteExpiry',
      summary: 'Let an entry stay',
      description: 'It does not expire any more; one that did not anyway stays as it is.',
      tags: ['keys'],
      params: keyParams,
      headers: WRITE_HEADERS,
      querystring: acksQuery,
      response: {
        200: json('It does not expire.', expiry, 'etag'),
        202: writtenOnly(expiry, 'etag'),
        ...problems('KEY_TOO_LONG', 'NOT_FOUND', 'PRECONDITION_FAILED', 'body', 'write'),
      },
    },
    handler: writeHandler<ExpiryRoute>(node, (target) => ({
      run: (write) => write({ kind: 'persist', ...target }),
      answer: ({ version, position }) => ({ key: target.key, expiresAt: null, version, position }),
      mustExist: true,
    })),
  });
}
