/** `/v1/keys/{key}` and `/append`: writes whose body is a value or a patch. Their handlers read the body themselves. */
import type { Readable } from 'node:stream';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { patchSteps } from '../../../keyspace/json/merge-patch.ts';
import { MAX_VALUE_BYTES } from '../../../keyspace/write.ts';
import type { Node } from '../../../node/node.ts';
import { Problem } from '../../../node/problem.ts';
import { free } from '../../../stream/growing-buffer.ts';
import { readBody } from '../../request/bodies/body.ts';
import { parsedBody } from '../../request/bodies/json-body.ts';
import { expiryOf } from '../../request/expiry.ts';
import { preparedPatch } from '../../request/key-json.ts';
import { AT_ONCE_BYTES, ClientLines } from '../../request/slices.ts';
import type { Traffic } from '../../request/traffic/traffic.ts';
import { json, RAW_BODY, writtenOnly } from '../../schemas/common/answers.ts';
import { type Described, referenceTo } from '../../schemas/common/described.ts';
import { WRITE_HEADERS } from '../../schemas/common/headers.ts';
import { problems } from '../../schemas/common/problems.ts';
import { acksQuery } from '../../schemas/common/queries.ts';
import { appended, keyOf, keyParams, mergePatch, putQuery, written } from '../../schemas/keys/keys.ts';
import { type WriteRoute, writeHandler } from './key-write.ts';

const VALUE_LIMIT = { maxBytes: MAX_VALUE_BYTES, code: 'VALUE_TOO_LARGE', what: 'a value' } as const;
const PATCH_TYPE = 'application/merge-patch+json';

interface ValueRoute extends WriteRoute {
  Body: Readable | undefined;
}

interface PutRoute extends ValueRoute {
  Querystring: Described<typeof putQuery>;
  Reply: Described<typeof written>;
}

interface AppendRoute extends ValueRoute {
  Reply: Described<typeof appended>;
}

interface PatchRoute extends ValueRoute {
  Reply: Described<typeof written>;
}

export function valueRoutes(app: FastifyInstance, node: Node, now: () => number, traffic: Traffic): void {
  putKeyRoute(app, node, now, traffic);
  appendToKeyRoute(app, node, traffic);
  patchKeyRoute(app, node, traffic);
}

function putKeyRoute(app: FastifyInstance, node: Node, now: () => number, traffic: Traffic): void {
  app.put<PutRoute>('/v1/keys/:key', {
    schema: {
      operationId: 'putKey',
      summary: 'Set an entry',
      description:
        'The body is the value: any bytes, up to 16 MiB, whatever its media type. Without `ttl` the entry does not ' +
        'expire, also if the one before it would have.',
      tags: ['keys'],
      params: keyParams,
      headers: WRITE_HEADERS,
      querystring: putQuery,
      body: RAW_BODY,
      response: {
        200: json('The entry was replaced.', written, 'etag'),
        201: json('The entry is new.', written, 'etag'),
        202: writtenOnly(written, 'etag'),
        ...problems('KEY_TOO_LONG', 'PRECONDITION_FAILED', 'VALUE_TOO_LARGE', 'write'),
      },
    },
    handler: writeHandler<PutRoute>(node, (target, request, reply) => {
      const expiresAt = expiryOf(request.query, now());
      return {
        run: (write) =>
          withBody(traffic, request, (value) => write({ kind: 'set', ...target, value, expiresAt })),
        answer: ({ existed, version, position }) => {
          reply.code(existed ? 200 : 201);
          return { key: target.key, created: !existed, expiresAt, version, position };
        },
      };
    }),
  });
}

function appendToKeyRoute(app: FastifyInstance, node: Node, traffic: Traffic): void {
  app.post<AppendRoute>('/v1/keys/:key/append', {
    schema: {
      operationId: 'appendToKey',
      summary: 'Append bytes to the value',
      description: 'The body is what is appended. An entry that is not there is made. The expiry stays.',
      tags: ['keys'],
      params: keyOf('log'),
      headers: WRITE_HEADERS,
      querystring: acksQuery,
      body: RAW_BODY,
      response: {
        200: json('The entry as it is now.', appended, 'etag'),
        202: writtenOnly(appended, 'etag'),
        ...problems('KEY_TOO_LONG', 'PRECONDITION_FAILED', 'VALUE_TOO_LARGE', 'write'),
      },
    },
    handler: writeHandler<AppendRoute>(node, (target, request) => ({
      run: (write) => withBody(traffic, request, (value) => write({ kind: 'append', ...target, value })),
      answer: ({ entry, version, position }) => ({ size: entry?.value?.length ?? 0, version, position }),
    })),
  });
}

function patchKeyRoute(app: FastifyInstance, node: Node, traffic: Traffic): void {
  // Nobody asks for room for them before, so there is one at a time.
  const largePatches = new ClientLines(1);

  app.patch<PatchRoute>('/v1/keys/:key', {
    schema: {
      operationId: 'patchKey',
      summary: 'Merge a patch into a JSON value',
      description:
        'JSON Merge Patch, RFC 7396: null removes a member. What the patch does not name stays as it is written. The ' +
        'expiry stays. A patch has at most 16 MiB, 128 levels and 200,000 members.',
      tags: ['keys'],
      params: keyOf('user:1'),
      headers: WRITE_HEADERS,
      querystring: acksQuery,
      body: { content: { 'application/merge-patch+json': { schema: referenceTo(mergePatch) } } },
      response: {
        200: json('The value was changed.', written, 'etag'),
        202: writtenOnly(written, 'etag'),
        ...problems(
          'KEY_TOO_LONG',
          'NOT_FOUND',
          'NOT_JSON',
          'PRECONDITION_FAILED',
          'VALUE_TOO_LARGE',
          'BODY_TOO_LARGE',
          'write',
        ),
      },
    },
    handler: writeHandler<PatchRoute>(
      node,
      (target, request, reply) => ({
        run: (write) =>
          withBody(traffic, request, async (body) => {
            const { key } = target;
            const patch = await parsedBody(body, patchSteps(body));
            const operation = { kind: 'merge-patch', ...target, patch, patchBytes: body.length } as const;
            const isLarge = (node.outline(key)?.size ?? 0) > AT_ONCE_BYTES;
            if (!isLarge) return write(operation);
            return largePatches.run(reply, async () =>
              write({ ...operation, ...(await preparedPatch(node, key, patch)) }),
            );
          }),
        answer: ({ entry, version, position }) => ({
          key: target.key,
          created: false,
          expiresAt: entry?.expiresAt ?? null,
          version,
          position,
        }),
      }),
      requirePatchType,
    ),
  });
}

/** @throws Problem UNSUPPORTED_MEDIA_TYPE */
function requirePatchType({ bodyType }: FastifyRequest<PatchRoute>, reply: FastifyReply): void {
  if (bodyType === PATCH_TYPE) return;
  reply.header('accept-patch', PATCH_TYPE);
  throw new Problem('UNSUPPORTED_MEDIA_TYPE', `a patch is ${PATCH_TYPE}`);
}

/**
 * Reads the body, which the content type parser has left as a stream.
 * @param write uses the bytes of the body; afterwards their memory is free
 */
async function withBody<T>(
  { bodies }: Traffic,
  request: FastifyRequest<ValueRoute>,
  write: (body: Buffer) => Promise<T>,
): Promise<T> {
  const body = await readBody(request.body, request.headers['content-length'], VALUE_LIMIT, bodies);
  try {
    return await write(body);
  } finally {
    free(body);
    bodies.release(request.raw);
  }
}
