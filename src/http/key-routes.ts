/** `/v1/keys`: single entries, and pages of them. */
import type { FastifyInstance, FastifyRequest } from 'fastify';
import { toJsonValue } from '../keyspace/json-value.ts';
import { keyProblem, MAX_KEY_BYTES } from '../keyspace/key.ts';
import type { ListedEntry } from '../keyspace/page.ts';
import type { Node } from '../node/node.ts';
import { Problem } from '../node/problem.ts';
import { formatPosition } from '../replication/position.ts';
import { readBody } from './body.ts';
import { bytes, deleted, json, keyPage, problems, written } from './schemas.ts';

/** The largest value, in bytes. */
export const MAX_VALUE_BYTES = 16 * 1024 * 1024;
/** The most entries of one page. */
export const MAX_PAGE = 1_000;

const VALUE_LIMIT = { maxBytes: MAX_VALUE_BYTES, code: 'VALUE_TOO_LARGE', what: 'a value' } as const;
const WRITE_PROBLEMS = ['READONLY', 'STORAGE_FAILED', 'SHUTTING_DOWN', 'DISK_FULL'] as const;

const keyParams = {
  type: 'object',
  properties: {
    '*': { type: 'string', description: 'The key, percent-encoded; slashes may stand as they are.' },
  },
} as const;

interface ListQuery {
  readonly prefix: string;
  readonly after?: string;
  readonly limit: number;
  readonly values: boolean;
}

export function keyRoutes(app: FastifyInstance, node: Node): void {
  app.put('/v1/keys/*', {
    schema: {
      operationId: 'putKey',
      summary: 'Set an entry',
      description: 'The body is the value: any bytes, up to 16 MiB, whatever its media type.',
      tags: ['keys'],
      params: keyParams,
      body: { content: { 'application/octet-stream': { schema: {} } } },
      response: {
        200: json('The entry was replaced.', written),
        201: json('The entry is new.', written),
        ...problems('BAD_REQUEST', 'KEY_TOO_LONG', 'VALUE_TOO_LARGE', ...WRITE_PROBLEMS),
      },
    },
    handler: async (request, reply) => {
      const key = keyOf(request);
      refuseOnReplica(node);
      const value = await readBody(request.body as never, request.headers['content-length'], VALUE_LIMIT);
      const { existed, version, position } = await node.write({ kind: 'set', key, value, expiresAt: null });
      reply
        .code(existed ? 200 : 201)
        .header('etag', `"${version}"`)
        .header('psync-position', position);
      return { key, version, created: !existed, expiresAt: null, position };
    },
  });

  app.get('/v1/keys/*', {
    schema: {
      operationId: 'getKey',
      summary: 'Read an entry',
      description: 'The bytes as they were set. `HEAD` answers the same without them.',
      tags: ['keys'],
      params: keyParams,
      response: { 200: bytes('The value.'), ...problems('BAD_REQUEST', 'KEY_TOO_LONG', 'NOT_FOUND') },
    },
    handler: (request, reply) => {
      const key = keyOf(request);
      const entry = node.get(key);
      if (entry === null) throw notFound(key);
      reply.header('etag', `"${entry.version}"`);
      if (entry.expiresAt !== null) reply.header('psync-expires-at', String(entry.expiresAt));
      reply.header('content-type', 'application/octet-stream').send(entry.value);
    },
  });

  app.delete('/v1/keys/*', {
    schema: {
      operationId: 'deleteKey',
      summary: 'Delete an entry',
      tags: ['keys'],
      params: keyParams,
      response: {
        200: json('It was there, and is deleted.', deleted),
        ...problems('BAD_REQUEST', 'KEY_TOO_LONG', 'NOT_FOUND', ...WRITE_PROBLEMS),
      },
    },
    handler: async (request, reply) => {
      const key = keyOf(request);
      refuseOnReplica(node);
      const { existed, position } = await node.write({ kind: 'delete', key });
      if (!existed) throw notFound(key);
      reply.header('psync-position', position);
      return { key, deleted: true, position };
    },
  });

  app.get<{ Querystring: ListQuery }>('/v1/keys', {
    schema: {
      operationId: 'listKeys',
      summary: 'List entries in key order',
      description: 'Keys are ordered by their UTF-8 bytes. A page with values ends early at 16 MiB of them.',
      tags: ['keys'],
      querystring: {
        type: 'object',
        additionalProperties: false,
        properties: {
          prefix: { type: 'string', default: '', description: 'Only keys that begin so.' },
          after: { type: 'string', description: 'Only keys after this one: `next` of the page before.' },
          limit: { type: 'integer', minimum: 1, maximum: MAX_PAGE, default: 100 },
          values: { type: 'boolean', default: false, description: 'With the values.' },
        },
      },
      response: { 200: json('A page.', keyPage), ...problems('BAD_REQUEST') },
    },
    handler: (request, reply) => {
      const { prefix, after, limit, values } = request.query;
      const { entries, next } = node.page({ prefix, after: after ?? null, limit, values });
      reply.send({ keys: entries.map(listed), next, position: formatPosition(node.position) });
    },
  });
}

/**
 * The key that the URL names, decoded.
 * @throws Problem KEY_TOO_LONG, BAD_REQUEST
 */
function keyOf(request: FastifyRequest): string {
  const key = (request.params as { '*': string })['*'];
  switch (keyProblem(key)) {
    case null:
      return key;
    case 'too-long':
      throw new Problem('KEY_TOO_LONG', `a key may have at most ${MAX_KEY_BYTES} bytes of UTF-8`);
    case 'empty':
      throw new Problem('BAD_REQUEST', 'the key is empty');
    case 'not-unicode':
      throw new Problem('BAD_REQUEST', 'the key is not Unicode');
  }
}

/** Before the body is read: the client sends it to the master instead. */
export function refuseOnReplica(node: Node): void {
  const problem = node.writeProblem;
  if (problem !== null) throw problem;
}

function notFound(key: string): Problem {
  return new Problem('NOT_FOUND', `there is no key ${JSON.stringify(key)}`);
}

function listed({ key, version, size, expiresAt, value }: ListedEntry): object {
  return { key, version, size, expiresAt, ...(value === null ? {} : toJsonValue(value)) };
}
