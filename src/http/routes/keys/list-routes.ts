/** `/v1/keys`: lists entries in pages, and deletes many. `/v1/export`: all entries. */
import { Readable } from 'node:stream';
import type { FastifyInstance } from 'fastify';
import type { Access } from '../../../access/access.ts';
import { type ListedEntry, MAX_PAGE_BYTES } from '../../../keyspace/page.ts';
import type { Node } from '../../../node/node.ts';
import { Problem } from '../../../node/problem.ts';
import { formatPosition } from '../../../replication/position.ts';
import { whenClosed } from '../../../web/when-closed.ts';
import { areSmall, arrayStream, inBuffers, pieces, type WithValue, whole } from '../../request/large-json.ts';
import { ANSWER_STALL_MS, type UnreadAnswers } from '../../request/traffic/unread-answers.ts';
import { reachWanted } from '../../request/wait.ts';
import { json, ndjson, writtenOnly } from '../../schemas/common/answers.ts';
import type { Described } from '../../schemas/common/described.ts';
import { problems } from '../../schemas/common/problems.ts';
import { exportedEntry, exportQuery } from '../../schemas/keys/import-export.ts';
import { deletedMany, deleteKeysQuery, keyPage, listQuery } from '../../schemas/keys/keys.ts';
import { acknowledged } from '../acks.ts';
import { refuseOnReplica } from '../refuse-on-replica.ts';

export function listRoutes(app: FastifyInstance, node: Node, access: Access, answers: UnreadAnswers): void {
  listKeysRoute(app, node, answers);
  deleteKeysRoute(app, node);
  exportEntriesRoute(app, node, access);
}

function listKeysRoute(app: FastifyInstance, node: Node, answers: UnreadAnswers): void {
  app.get<{ Querystring: Described<typeof listQuery> }>('/v1/keys', {
    schema: {
      operationId: 'listKeys',
      summary: 'List entries in key order',
      description:
        'Keys are ordered by their UTF-8 bytes. A page with values ends early, with the one with which they reach 16 MiB. So does a page ' +
        'that leaves out many entries that have expired and are not deleted yet: it may have no entries. Only `next` says whether it is the last.',
      tags: ['keys'],
      querystring: listQuery,
      response: { 200: json('A page.', keyPage), ...problems('wait', 'DISK_FULL') },
    },
    handler: async (request, reply) => {
      await reachWanted(node, request);
      const { prefix = '', after = null, limit, values } = request.query;
      if (values) await request.standing.after(answers.admit(request.raw, reply.raw, MAX_PAGE_BYTES));
      const { entries, next } = await node.page({ prefix, after, limit, values });
      const position = formatPosition(node.position);
      reply.header('psync-position', position);
      const objects = entries.map(listed);
      if (areSmall(objects)) return { keys: objects.map(whole), next, position };
      reply.type('application/json; charset=utf-8');
      return arrayStream('keys', objects, { next, position });
    },
  });
}

function deleteKeysRoute(app: FastifyInstance, node: Node): void {
  app.delete<{ Querystring: Described<typeof deleteKeysQuery>; Reply: Described<typeof deletedMany> }>(
    '/v1/keys',
    {
      schema: {
        operationId: 'deleteKeys',
        summary: 'Delete all entries, or those with a prefix',
        description:
          '`all=true` deletes everything at once. With `prefix` entries are deleted in key order, 1,000 at a time, so ' +
          'that other requests are not held up; entries that are written meanwhile may stay.',
        tags: ['keys'],
        querystring: deleteKeysQuery,
        response: {
          200: json('They are deleted.', deletedMany),
          202: writtenOnly(deletedMany),
          ...problems('admin', 'body', 'write'),
        },
      },
      handler: async (request, reply) => {
        const { standing } = request;
        const { prefix, all = false } = request.query;
        if (all === (prefix !== undefined)) {
          throw new Problem('BAD_REQUEST', 'either prefix or all=true is required');
        }
        refuseOnReplica(node);
        const { deleted, position } = await (prefix === undefined
          ? node.deleteAll(standing)
          : node.deletePrefix(prefix, standing));
        reply.header('psync-position', position);
        return acknowledged(node, reply, request.query, { deleted, position });
      },
    },
  );
}

function exportEntriesRoute(app: FastifyInstance, node: Node, access: Access): void {
  app.get<{ Querystring: Described<typeof exportQuery> }>('/v1/export', {
    schema: {
      operationId: 'exportEntries',
      summary: 'Read all entries, at one position',
      description:
        'NDJSON in key order: `{"key", "value", "encoding", "version", "expiresAt"}` a line, as `/v1/import` takes ' +
        'it. The header `Psync-Position` says of which position; writes go on meanwhile and are not in it. On a full disk it ' +
        'is refused (`DISK_FULL`) if the newest writes cannot be moved into the keyspace file that it reads.',
      tags: ['keys'],
      querystring: exportQuery,
      response: {
        200: ndjson('The entries.', exportedEntry),
        ...problems('TOO_MANY_REQUESTS', 'wait', 'DISK_FULL'),
      },
    },
    handler: async (request, reply) => {
      await reachWanted(node, request);
      const { prefix = '' } = request.query;
      const { position, groups, close } = await node.readEntries(prefix, request.standing.client);
      // The client or its token may have gone while the applier wrote the overlay to the file.
      if (request.standing.over !== null) close();
      else whenClosed(reply.raw, close);
      request.standing.mustGoOn();
      const watch = access.watch(request.principal, {
        may: (principal) => principal.covers('read', prefix),
        // The answer has begun: a client must not take a part for the whole.
        revoked: () => reply.raw.destroy(),
      });
      whenClosed(reply.raw, watch.end);
      // An open export keeps the WAL from shrinking, so a client that stops reading is disconnected.
      reply.raw.setTimeout(ANSWER_STALL_MS, () => reply.raw.destroy());
      reply.header('content-type', 'application/x-ndjson').header('psync-position', formatPosition(position));
      return Readable.from(lines(groups), { objectMode: false, highWaterMark: 1024 * 1024 });
    },
  });
}

async function* lines(groups: AsyncIterable<readonly ListedEntry[]>): AsyncGenerator<Buffer> {
  for await (const group of groups) {
    const objects = group.map(exported);
    if (areSmall(objects)) {
      yield Buffer.from(objects.map((object) => `${JSON.stringify(whole(object))}\n`).join(''), 'utf8');
    } else yield* inBuffers(linePieces(objects));
  }
}

function* linePieces(objects: readonly WithValue[]): Generator<string> {
  for (const object of objects) {
    yield* pieces(object);
    yield '\n';
  }
}

function exported({ key, version, expiresAt, value }: ListedEntry): WithValue {
  return { before: { key }, value: value ?? Buffer.alloc(0), after: { version, expiresAt } };
}

function listed({ key, version, size, expiresAt, value }: ListedEntry): WithValue {
  return { before: { key, version, size, expiresAt }, value, after: {} };
}
