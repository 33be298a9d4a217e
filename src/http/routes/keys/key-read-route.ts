/** `GET /v1/keys/{key}`: the value of one entry. */
import { Readable } from 'node:stream';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { type Entry, type Outline, outlineOf } from '../../../keyspace/entry.ts';
import { atOnce, isJsonSteps } from '../../../keyspace/json/json.ts';
import type { Node } from '../../../node/node.ts';
import { Problem } from '../../../node/problem.ts';
import { free } from '../../../stream/growing-buffer.ts';
import { ASKED_AGAIN, entryHeaders, VALUE_POLICY, varyBy } from '../../answer-headers.ts';
import { isKnown, writeCondition } from '../../request/conditions.ts';
import { checkKey, keyNotFound } from '../../request/key.ts';
import { dependsOnValue, kindsOf, typeOf, wantsJson } from '../../request/key-json.ts';
import { AT_ONCE_BYTES, ClientLines, inSlices, mustGoOn, slices } from '../../request/slices.ts';
import type { Traffic } from '../../request/traffic/traffic.ts';
import { reachWanted, wantedPosition } from '../../request/wait.ts';
import { bytes, notModified } from '../../schemas/common/answers.ts';
import type { Described } from '../../schemas/common/described.ts';
import { READ_HEADERS } from '../../schemas/common/headers.ts';
import { problems } from '../../schemas/common/problems.ts';
import { type WaitQuery, waitQuery } from '../../schemas/common/queries.ts';
import { keyParams } from '../../schemas/keys/keys.ts';

interface ReadRoute {
  Params: Described<typeof keyParams>;
  Querystring: WaitQuery;
}

export function keyReadRoute(app: FastifyInstance, node: Node, traffic: Traffic): void {
  const reads = new KeyReads(node, traffic);
  app.get<ReadRoute>('/v1/keys/:key', {
    config: { swagger: { exposeHeadRoute: true } },
    schema: {
      operationId: 'getKey',
      summary: 'Read an entry',
      description:
        'The bytes as they were set. `HEAD` answers the same without them. With `Accept: application/json` a value ' +
        'that is JSON comes as such, with `Accept: text/plain` one that is UTF-8, so that a browser shows it; one that is not ' +
        'comes as bytes, or as 406 if the client does not take these. What a browser asks for to show it (`Sec-Fetch-Mode: ' +
        'navigate`) comes as text instead of bytes.',
      tags: ['keys'],
      params: keyParams,
      headers: READ_HEADERS,
      querystring: waitQuery,
      response: {
        200: bytes('The value.'),
        304: notModified('The client has this version already.'),
        ...problems('KEY_TOO_LONG', 'NOT_FOUND', 'NOT_ACCEPTABLE', 'PRECONDITION_FAILED', 'wait'),
      },
    },
    handler: (request, reply) => {
      const key = checkKey(request.params.key);
      // Most reads do not wait, and are answered without a promise.
      if (wantedPosition(request) !== null) {
        return reachWanted(node, request).then(() => reads.answer(key, request, reply));
      }
      const late = reads.answer(key, request, reply);
      return late instanceof Promise ? late : undefined;
    },
  });
}

class KeyReads {
  readonly #node: Node;
  readonly #traffic: Traffic;
  /** Values that have to be looked through for JSON. */
  readonly #largeReads = new ClientLines();

  constructor(node: Node, traffic: Traffic) {
    this.#node = node;
    this.#traffic = traffic;
  }

  /** Answers what needs no value at once, and reads the value only when there is room for the answer. */
  answer(key: string, request: FastifyRequest, reply: FastifyReply): FastifyReply | Promise<FastifyReply> {
    const outline = this.#node.outline(key);
    if (outline === null) throw keyNotFound(key);
    if (isAnswered(outline, request, reply)) return reply;
    const { accept } = request.headers;
    // The answer may depend on what the value is, also the answer to HEAD.
    if (request.method === 'HEAD' && !dependsOnValue(accept)) {
      const type = typeOf(request.headers, { isJson: () => false, isText: () => false });
      return sendSize(reply, outline, type);
    }
    const room = this.#traffic.answers.admit(request.raw, reply.raw, outline.size);
    if (outline.size > AT_ONCE_BYTES) return this.#answerLarge(key, request, reply, room);
    if (room !== null) return request.standing.after(room).then(() => this.answer(key, request, reply));
    const entry = this.#node.get(key);
    if (entry === null) throw keyNotFound(key);
    const type = typeOf(
      request.headers,
      kindsOf(entry.value, () => atOnce(isJsonSteps(entry.value))),
    );
    return sendValue(reply, entry, type);
  }

  /** Reads a large value when there is room, one in a turn of the event loop. */
  async #answerLarge(
    key: string,
    request: FastifyRequest,
    reply: FastifyReply,
    room: Promise<void> | null,
  ): Promise<FastifyReply> {
    await request.standing.after(room);
    const { accept } = request.headers;
    if (dependsOnValue(accept))
      return this.#largeReads.run(reply, () => this.#answerNow(key, request, reply));
    return this.#answerNow(key, request, reply);
  }

  async #answerNow(key: string, request: FastifyRequest, reply: FastifyReply): Promise<FastifyReply> {
    await slices().pass();
    mustGoOn(reply);
    // The answer is the entry as it is now, so the headers of the older state go.
    reply.removeHeader('etag').removeHeader('psync-expires-at');
    const entry = this.#node.get(key);
    if (entry === null) throw keyNotFound(key);
    const { value } = entry;
    if (isAnswered(outlineOf(entry), request, reply)) return reply;
    this.#traffic.answers.count(request.raw, reply.raw, value.length);
    const { accept } = request.headers;
    const isJson = wantsJson(accept) && (await inSlices(value.length, isJsonSteps(value)));
    const type = typeOf(
      request.headers,
      kindsOf(value, () => isJson),
    );
    return sendValue(reply, entry, type);
  }
}

/** Answers 304 to a client that has this version. @throws Problem PRECONDITION_FAILED */
function isAnswered(outline: Outline, request: FastifyRequest, reply: FastifyReply): boolean {
  entryHeaders(reply, outline);
  // A 304 or 406 also depends on Accept (RFC 9110, 12.5.5 and 15.4.5).
  varyBy(reply.header(...ASKED_AGAIN), 'Accept');
  const { match } = writeCondition({ 'if-match': request.headers['if-match'] }, true);
  if (match !== undefined && match !== '*' && !match.includes(outline.version)) {
    throw new Problem('PRECONDITION_FAILED', `the entry has version ${outline.version}`, {
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
  // The value is a copy that only this answer uses.
  reply.raw.once('finish', () => free(entry.value));
  return reply
    .header('content-type', type)
    .header(...VALUE_POLICY)
    .send(entry.value);
}
