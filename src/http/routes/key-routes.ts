/** `/v1/keys/{key}`: one entry. */
import { Readable } from 'node:stream';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { type Entry, type Outline, outlineOf } from '../../keyspace/entry.ts';
import { atOnce, isJsonSteps } from '../../keyspace/json/json.ts';
import { patchSteps } from '../../keyspace/json/merge-patch.ts';
import type { Operation, OperationResult } from '../../keyspace/write.ts';
import { MAX_VALUE_BYTES } from '../../keyspace/write.ts';
import type { Node } from '../../node/node.ts';
import { Problem } from '../../node/problem.ts';
import { free } from '../../stream/growing-buffer.ts';
import { VALUE_POLICY, varyBy } from '../answer-headers.ts';
import { readBody } from '../request/body.ts';
import { etag, isKnown, writeCondition } from '../request/conditions.ts';
import { expiryOf } from '../request/expiry.ts';
import { parsedBody } from '../request/json-body.ts';
import { jsonInteger } from '../request/json-integer.ts';
import { checkKey } from '../request/key.ts';
import { preparedPatch, typeOf, wantsJson } from '../request/key-json.ts';
import { AT_ONCE_BYTES, clientHasGone, inSlices, Line, slices } from '../request/slices.ts';
import type { Traffic } from '../request/traffic.ts';
import { reachWanted, wantedPosition } from '../request/wait.ts';
import { bytes, json, noContent, RAW_BODY, writtenOnly } from '../schemas/answers.ts';
import { type Described, referenceTo } from '../schemas/described.ts';
import { READ_HEADERS, WRITE_HEADERS } from '../schemas/headers.ts';
import {
  appended,
  deleted,
  expiry,
  expiryRequest,
  incremented,
  incrementRequest,
  keyParams,
  mergePatch,
  putQuery,
  written,
} from '../schemas/keys.ts';
import { problems } from '../schemas/problems.ts';
import { type AcksQuery, acksQuery, type WaitQuery, waitQuery } from '../schemas/queries.ts';
import { acknowledged } from './acks.ts';
import { refuseOnReplica } from './refuse-on-replica.ts';

const VALUE_LIMIT = { maxBytes: MAX_VALUE_BYTES, code: 'VALUE_TOO_LARGE', what: 'a value' } as const;
/** The largest JSON body of an operation on a key, in bytes; of a patch it is the largest value. */
const MAX_JSON_BYTES = 64 * 1024;

interface KeyRoute {
  Params: Described<typeof keyParams>;
}

interface WriteRoute extends KeyRoute {
  Querystring: AcksQuery;
}

interface ValueRoute extends WriteRoute {
  Body: Readable | undefined;
}

/** Routes whose body is the value: any media type, read by the handler. */
export function valueRoutes(app: FastifyInstance, node: Node, now: () => number, traffic: Traffic): void {
  // Each for its own: a patch may have to wait until this node may write.
  const [largeReads, largePatches] = [new Line(), new Line()];
  app.put<ValueRoute & { Querystring: Described<typeof putQuery> }>('/v1/keys/:key', {
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
    handler: async (request, reply) => {
      const key = checkKey(request.params.key);
      const condition = writeCondition(request.headers);
      const expiresAt = expiryOf(request.query, now());
      refuseOnReplica(node);
      const written = await withBody(request, async (value) => {
        const { result, position } = await operate({ kind: 'set', key, value, expiresAt, condition });
        reply.code(result.existed ? 200 : 201);
        return answer(reply, position, result, { key, created: !result.existed, expiresAt });
      });
      return acknowledged(node, reply, request.query, written);
    },
  });

  app.post<ValueRoute>('/v1/keys/:key/append', {
    schema: {
      operationId: 'appendToKey',
      summary: 'Append bytes to the value',
      description: 'The body is what is appended. An entry that is not there is made. The expiry stays.',
      tags: ['keys'],
      params: keyParams,
      headers: WRITE_HEADERS,
      querystring: acksQuery,
      body: RAW_BODY,
      response: {
        200: json('The entry as it is now.', appended, 'etag'),
        202: writtenOnly(appended, 'etag'),
        ...problems('KEY_TOO_LONG', 'PRECONDITION_FAILED', 'VALUE_TOO_LARGE', 'write'),
      },
    },
    handler: async (request, reply) => {
      const key = checkKey(request.params.key);
      const condition = writeCondition(request.headers);
      refuseOnReplica(node);
      const written = await withBody(request, async (value) => {
        const { result, position } = await operate({ kind: 'append', key, value, condition });
        return answer(reply, position, result, { size: result.entry?.value?.length ?? 0 });
      });
      return acknowledged(node, reply, request.query, written);
    },
  });

  app.patch<ValueRoute>('/v1/keys/:key', {
    schema: {
      operationId: 'patchKey',
      summary: 'Merge a patch into a JSON value',
      description:
        'JSON Merge Patch, RFC 7396: null removes a member. What the patch does not name stays as it is written. The ' +
        'expiry stays. A patch has at most 16 MiB, 128 levels and 200,000 members.',
      tags: ['keys'],
      params: keyParams,
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
    handler: async (request, reply) => {
      const key = checkKey(request.params.key);
      if (request.bodyType !== 'application/merge-patch+json') {
        reply.header('accept-patch', 'application/merge-patch+json');
        throw new Problem('UNSUPPORTED_MEDIA_TYPE', 'a patch is application/merge-patch+json');
      }
      const condition = writeCondition(request.headers);
      refuseOnReplica(node);
      const { result, position } = await withBody(request, async (body) => {
        const patch = await parsedBody(body, patchSteps(body));
        const operation = { kind: 'merge-patch', key, patch, patchBytes: body.length, condition } as const;
        const isLarge = (node.outline(key)?.size ?? 0) > AT_ONCE_BYTES;
        if (!isLarge) return operate(operation);
        return largePatches.run(reply, async () =>
          operate({ ...operation, ...(await preparedPatch(node, key, patch)) }),
        );
      });
      const members = { key, created: false, expiresAt: result.entry?.expiresAt ?? null };
      return acknowledged(node, reply, request.query, answer(reply, position, result, members));
    },
  });

  app.get<KeyRoute & { Querystring: WaitQuery }>('/v1/keys/:key', {
    config: { swagger: { exposeHeadRoute: true } },
    schema: {
      operationId: 'getKey',
      summary: 'Read an entry',
      description:
        'The bytes as they were set. `HEAD` answers the same without them. With `Accept: application/json` a value ' +
        'that is JSON comes as such; one that is not is 406.',
      tags: ['keys'],
      params: keyParams,
      headers: READ_HEADERS,
      querystring: waitQuery,
      response: {
        200: bytes('The value.'),
        304: noContent('The client has this version already.', 'etag'),
        ...problems('KEY_TOO_LONG', 'NOT_FOUND', 'NOT_ACCEPTABLE', 'PRECONDITION_FAILED', 'wait'),
      },
    },
    handler: (request, reply) => {
      const key = checkKey(request.params.key);
      // Most reads do not wait, and are answered without a promise.
      if (wantedPosition(request) !== null) {
        return reachWanted(node, request, reply).then(() => read(key, request, reply));
      }
      const late = read(key, request, reply);
      return late instanceof Promise ? late : undefined;
    },
  });

  /** Answers what can be without the value, and reads that only when there is room for the answer. */
  function read(
    key: string,
    request: FastifyRequest,
    reply: FastifyReply,
  ): FastifyReply | Promise<FastifyReply> {
    const outline = node.outline(key);
    if (outline === null) throw notFound(key);
    if (isAnswered(outline, request, reply)) return reply;
    const { accept } = request.headers;
    // Whether the value is JSON is part of the answer, also to HEAD.
    const isLookedThrough = wantsJson(accept);
    if (request.method === 'HEAD' && !isLookedThrough)
      return sendSize(
        reply,
        outline,
        typeOf(accept, () => false),
      );
    const room = traffic.answers.admit(request.raw, reply.raw, outline.size);
    if (outline.size > AT_ONCE_BYTES) return readLarge(key, request, reply, room);
    if (room !== null) return room.then(() => read(key, request, reply));
    const entry = node.get(key);
    if (entry === null) throw notFound(key);
    return sendValue(
      reply,
      entry,
      typeOf(accept, () => atOnce(isJsonSteps(entry.value))),
    );
  }

  /** Reads a large value when there is room, one in a turn of the event loop. */
  async function readLarge(
    key: string,
    request: FastifyRequest,
    reply: FastifyReply,
    room: Promise<void> | null,
  ): Promise<FastifyReply> {
    if (room !== null) await room;
    const { accept } = request.headers;
    if (wantsJson(accept)) return largeReads.run(reply, () => sendNow(key, request, reply));
    return sendNow(key, request, reply);
  }

  async function sendNow(key: string, request: FastifyRequest, reply: FastifyReply): Promise<FastifyReply> {
    await slices().pass();
    if (reply.raw.destroyed) throw clientHasGone();
    // It is what the entry is now that is answered.
    forgetHeaders(reply);
    const entry = node.get(key);
    if (entry === null) throw notFound(key);
    const { value } = entry;
    if (isAnswered(outlineOf(entry), request, reply)) return reply;
    traffic.answers.count(request.raw, reply.raw, value.length);
    const { accept } = request.headers;
    const isJson = wantsJson(accept) && (await inSlices(value.length, isJsonSteps(value)));
    return sendValue(
      reply,
      entry,
      typeOf(accept, () => isJson),
    );
  }

  /** Answers 304 to a client that has this version. @throws Problem PRECONDITION_FAILED */
  function isAnswered(outline: Outline, request: FastifyRequest, reply: FastifyReply): boolean {
    readHeaders(reply, outline);
    // Also a 304 or 406 is an answer to this Accept (RFC 9110, 12.5.5 and 15.4.5).
    varyBy(reply, 'Accept');
    const { match } = writeCondition({ 'if-match': request.headers['if-match'] });
    if (match !== undefined && match !== '*' && !match.includes(outline.version)) {
      throw new Problem('PRECONDITION_FAILED', `it has version ${outline.version}`, {
        currentVersion: outline.version,
      });
    }
    if (!isKnown(request.headers, outline.version)) return false;
    reply.code(304).send();
    return true;
  }

  /** Answers HEAD. */
  function sendSize(reply: FastifyReply, { size }: Outline, type: string): FastifyReply {
    // With a stream Fastify leaves the length as it is.
    return reply
      .header('content-type', type)
      .header(...VALUE_POLICY)
      .header('content-length', size)
      .send(Readable.from([]));
  }

  function sendValue(reply: FastifyReply, entry: Entry, type: string): FastifyReply {
    // The value is a copy that nobody else has.
    reply.raw.once('finish', () => free(entry.value));
    return reply
      .header('content-type', type)
      .header(...VALUE_POLICY)
      .send(entry.value);
  }

  /**
   * Reads the body, which the content type parser has left as a stream.
   * @param write what is to be done with its bytes; when that is over, they are gone
   */
  async function withBody<T>(
    request: FastifyRequest<ValueRoute>,
    write: (body: Buffer) => Promise<T>,
  ): Promise<T> {
    const { bodies } = traffic;
    const length = request.headers['content-length'];
    const body = await readBody(request.body, length, VALUE_LIMIT, bodies);
    try {
      return await write(body);
    } finally {
      free(body);
      bodies.release(request.raw);
    }
  }

  app.delete<WriteRoute>('/v1/keys/:key', {
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
    handler: async (request, reply) => {
      const key = checkKey(request.params.key);
      const condition = writeCondition(request.headers);
      refuseOnReplica(node);
      const { result, position } = await operate({ kind: 'delete', key, condition });
      if (!result.existed) throw notFound(key);
      reply.header('psync-position', position);
      return acknowledged(node, reply, request.query, { key, deleted: true, position });
    },
  });

  const operate = operator(node);
}

/** Routes whose body is JSON, or that have none. */
export function operationRoutes(app: FastifyInstance, node: Node, now: () => number): void {
  const operate = operator(node);

  app.post<WriteRoute & { Body: Described<typeof incrementRequest> | null }>('/v1/keys/:key/increment', {
    bodyLimit: MAX_JSON_BYTES,
    schema: {
      operationId: 'incrementKey',
      summary: 'Add to an integer',
      description:
        'A 64-bit signed integer in decimal digits. An entry that is not there counts as 0. The expiry stays.',
      tags: ['keys'],
      params: keyParams,
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
    handler: async (request, reply) => {
      const key = checkKey(request.params.key);
      const condition = writeCondition(request.headers);
      const by = integerOf(request.body?.by ?? 1);
      refuseOnReplica(node);
      const { result, position } = await operate({ kind: 'increment', key, by, condition });
      const value = BigInt(result.entry?.value?.toString('latin1') ?? '0');
      reply.type('application/json; charset=utf-8').serializer(JSON.stringify);
      const members = { value: jsonInteger(value) };
      return acknowledged(node, reply, request.query, answer(reply, position, result, members));
    },
  });

  /** Carries out a change of when the entry expires. @param expiresAt answered time, in milliseconds since 1970; null: never */
  const change = async (
    operation: Operation & { readonly key: string },
    expiresAt: number | null,
    query: AcksQuery,
    reply: FastifyReply,
  ) => {
    refuseOnReplica(node);
    const { key } = operation;
    const { result, position } = await operate(operation);
    if (!result.existed) throw notFound(key);
    return acknowledged(node, reply, query, answer(reply, position, result, { key, expiresAt }));
  };

  app.put<WriteRoute & { Body: Described<typeof expiryRequest> }>('/v1/keys/:key/expiry', {
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
    handler: async (request, reply) => {
      const key = checkKey(request.params.key);
      const condition = writeCondition(request.headers);
      const expiresAt = expiryOf(request.body, now());
      if (expiresAt === null) throw new Problem('BAD_REQUEST', 'either ttl or expiresAt is required');
      return change({ kind: 'expire', key, expiresAt, condition }, expiresAt, request.query, reply);
    },
  });

  app.delete<WriteRoute>('/v1/keys/:key/expiry', {
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
    handler: async (request, reply) => {
      const key = checkKey(request.params.key);
      const condition = writeCondition(request.headers);
      return change({ kind: 'persist', key, condition }, null, request.query, reply);
    },
  });
}

interface Operated {
  readonly result: OperationResult;
  readonly position: string;
}

function operator(node: Node): (operation: Operation) => Promise<Operated> {
  return async (operation) => {
    const { results, position } = await node.write(operation);
    return { result: results[0] as OperationResult, position };
  };
}

/** The answer to a write that left an entry. */
function answer<T extends object>(
  reply: FastifyReply,
  position: string,
  { entry }: OperationResult,
  members: T,
): T & { version: number; position: string } {
  const version = entry?.version ?? 0;
  reply.header('etag', etag(version)).header('psync-position', position);
  expiresHeader(reply, entry);
  return { ...members, version, position };
}

function readHeaders(reply: FastifyReply, entry: Outline): void {
  reply.header('etag', etag(entry.version));
  expiresHeader(reply, entry);
}

/** Takes back what `readHeaders` said. */
function forgetHeaders(reply: FastifyReply): void {
  reply.removeHeader('etag').removeHeader('psync-expires-at');
}

function expiresHeader(reply: FastifyReply, entry: Pick<Entry, 'expiresAt'> | null): void {
  if (entry !== null && entry.expiresAt !== null) reply.header('psync-expires-at', String(entry.expiresAt));
}

/** @throws Problem BAD_REQUEST for what is no 64-bit integer */
export function integerOf(value: number | string): bigint {
  const isInteger = typeof value === 'string' ? /^-?\d{1,19}$/.test(value) : Number.isSafeInteger(value);
  if (!isInteger)
    throw new Problem('BAD_REQUEST', '"by" is no integer; beyond 2^53 it has to be a string of digits');
  const by = BigInt(value);
  if (BigInt.asIntN(64, by) !== by) throw new Problem('BAD_REQUEST', '"by" has more than 64 bits');
  return by;
}

function notFound(key: string): Problem {
  return new Problem('NOT_FOUND', `there is no key ${JSON.stringify(key)}`);
}
