/** `/v1/snapshot`: makes a snapshot and redirects to it. `/v1/snapshots/…`: the bytes of one snapshot. */
import { Readable } from 'node:stream';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import type { Access } from '../../../access/access.ts';
import type { Node } from '../../../node/node.ts';
import type { SnapshotCopy } from '../../../node/ports/snapshot-files.ts';
import { Problem } from '../../../node/problem.ts';
import { formatHash } from '../../../replication/history-hash.ts';
import { formatPosition, type Position } from '../../../replication/position.ts';
import type { Admission } from '../../../web/origins.ts';
import { sendProblem } from '../../problem.ts';
import { namesEtag } from '../../request/conditions.ts';
import { type ByteRange, rangeOf } from '../../request/range.ts';
import { mustGoOn } from '../../request/slices.ts';
import { ANSWER_STALL_MS, allowedMs } from '../../request/traffic/unread-answers.ts';
import { positionOf, reachWanted, wantedPosition } from '../../request/wait.ts';
import type { Described } from '../../schemas/common/described.ts';
import { problems } from '../../schemas/common/problems.ts';
import {
  snapshotAnswers,
  snapshotFileQuery,
  snapshotHeaders,
  snapshotParams,
  snapshotPlace,
  snapshotQuery,
  unsatisfiedHeaders,
} from '../../schemas/replication/snapshot.ts';

export interface SnapshotRouteParts {
  readonly node: Node;
  readonly access: Access;
  readonly settings: Pick<Admission, 'publicUrl'>;
}

interface FileRoute {
  Params: Described<typeof snapshotParams>;
  Querystring: Described<typeof snapshotFileQuery>;
}

export function snapshotRoutes(app: FastifyInstance, parts: SnapshotRouteParts): void {
  newestRoute(app, parts);
  fileRoute(app, parts);
}

function newestRoute(app: FastifyInstance, { node, settings }: SnapshotRouteParts): void {
  app.get<{ Querystring: Described<typeof snapshotQuery> }>('/v1/snapshot', {
    schema: {
      operationId: 'getSnapshot',
      summary: 'Make a snapshot to download',
      description:
        'The node copies its keyspace file as it is at one position, and redirects to the copy; writes go on meanwhile. If nothing was ' +
        'written since the last copy, it redirects to that. Who asks while a copy is being made gets that one, so give the `position` of ' +
        'a write that must be in it. If the copy takes longer than 30 s, the answer is 503 `LOADING`, and the copy goes on: ask again. ' +
        '`TOO_MANY_REQUESTS`: earlier snapshots are being downloaded and fill `--snapshot-budget`, or writes came too fast for the copy. ' +
        '`DISK_FULL`: the disk has less than 1.1 times the room, or the snapshot is larger than `--snapshot-budget`.',
      tags: ['replication'],
      querystring: snapshotQuery,
      response: { ...problems('wait', 'LOADING', 'DISK_FULL'), 307: snapshotPlace },
    },
    handler: async (request, reply) => {
      refuseBlindResume(request);
      await reachWanted(node, request);
      const { standing } = request;
      const copy = await node.newestSnapshot(wantedPosition(request), standing.signal);
      standing.mustGoOn();
      return reply
        .code(307)
        .header('location', placeOf(copy, settings.publicUrl, isConditional(request)))
        .header('psync-position', formatPosition(copy.position))
        .send();
    },
  });
}

/**
 * A client that has the beginning of one snapshot must not get the end of another one.
 * @throws Problem BAD_REQUEST for a range that does not say of which snapshot it is
 */
function refuseBlindResume({ headers }: FastifyRequest): void {
  const { range, 'if-range': ifRange } = headers;
  if (range === undefined || ifRange !== undefined || /^bytes=0+-/i.test(range)) return;
  throw new Problem(
    'BAD_REQUEST',
    'the snapshot here may be another one than before; resume at the URL to which this one has redirected, or send If-Range',
  );
}

/** Whether the client names the snapshot that it has by an ETag, which does not say of which node it is. */
function isConditional({ headers }: FastifyRequest): boolean {
  return (['if-range', 'if-match', 'if-none-match'] as const).some((name) => headers[name] !== undefined);
}

/**
 * The hash tells the bytes from those of another copy of the same position, on another node or after a restart: their pages may be
 * in another order. A client follows the redirect with its conditions, so a conditional request gets the URL at which no ETag counts.
 * @param publicUrl if it has a path, the node does not see that: then the URL is relative to `/v1/snapshot`
 */
function placeOf(
  { position: { runId, offset }, sha256 }: SnapshotCopy,
  publicUrl: string | null,
  conditional: boolean,
): string {
  const hasPath = publicUrl !== null && new URL(publicUrl).pathname !== '/';
  return `${hasPath ? '' : '/v1/'}snapshots/${runId}/${offset}${conditional ? '' : `?sha256=${sha256}`}`;
}

function fileRoute(app: FastifyInstance, parts: SnapshotRouteParts): void {
  const { node, access } = parts;
  const failures = problems('POSITION_LOST', 'PRECONDITION_FAILED', 'RANGE_NOT_SATISFIABLE');
  app.get<FileRoute>('/v1/snapshots/:runId/:offset', {
    config: { swagger: { exposeHeadRoute: true } },
    schema: {
      operationId: 'getSnapshotFile',
      summary: 'Download a snapshot',
      description:
        'The bytes of the keyspace file at one position, to which `/v1/snapshot` has redirected. They never change, so a download that ' +
        'broke off continues with `Range`, which counts only with `sha256`. 410 `POSITION_LOST`: the node has removed the snapshot, because nobody has read it for ' +
        '`--snapshot-keep`, or a new one needed the room, or the node has restarted; start the download anew. 32 downloads at the same time.',
      tags: ['replication'],
      params: snapshotParams,
      headers: snapshotHeaders,
      querystring: snapshotFileQuery,
      response: { ...failures, ...snapshotAnswers, 416: { ...failures[416], headers: unsatisfiedHeaders } },
    },
    handler: (request, reply) => {
      const position = positionOf(`${request.params.runId}:${request.params.offset}`);
      const sha256 = request.query.sha256 ?? null;
      const copy = node.snapshot(position, sha256);
      const etag = `"${position.runId}/${position.offset}"`;
      const { headers } = request;
      const described = (): FastifyReply => describe(reply, copy, etag, access.needsTokens);
      // Two files of one position, such as those of two nodes behind a proxy, have one ETag, and their pages may be in another order.
      // So the ETag and ranges count only at a URL that says which of them the client means.
      const countedEtag = sha256 === null ? null : etag;
      if (!namesEtag(headers, 'if-match', countedEtag)) {
        const hint = sha256 === null ? ', which counts only with ?sha256=' : '';
        throw new Problem('PRECONDITION_FAILED', `the snapshot has the ETag ${etag}${hint}`);
      }
      if (headers['if-none-match'] !== undefined && namesEtag(headers, 'if-none-match', countedEtag)) {
        return described().code(304).send();
      }
      const isHead = request.method === 'HEAD';
      const range = isHead ? 'whole' : rangeOf(headers, copy.length, countedEtag);
      if (range === 'unsatisfiable') return sendUnsatisfied(reply, copy);
      const { start, end } = range === 'whole' ? { start: 0, end: copy.length - 1 } : range;
      // It may be refused, so the headers come later. With a stream Fastify leaves the length as it is.
      const body = isHead
        ? Readable.from([])
        : download(request, reply, { ...parts, position, sha256, range: { start, end } });
      described()
        .type('application/vnd.sqlite3')
        .header('content-length', end + 1 - start)
        .header(
          'content-disposition',
          `attachment; filename="psyncd-${position.runId}-${position.offset}.db"`,
        );
      if (range !== 'whole') {
        reply.code(206).header('content-range', `bytes ${start}-${end}/${copy.length}`);
      }
      return reply.send(body);
    },
  });
}

/** Whoever may download a snapshot has the right `replicate`, and so may know the history hash. */
function describe(
  reply: FastifyReply,
  { position, sha256, hash }: SnapshotCopy,
  etag: string,
  needsTokens: boolean,
): FastifyReply {
  if (hash !== null) reply.header('psync-history-hash', formatHash(hash));
  return reply
    .header('etag', etag)
    .header('accept-ranges', 'bytes')
    .header('cache-control', 'private, immutable')
    .header('repr-digest', `sha-256=:${Buffer.from(sha256, 'hex').toString('base64')}:`)
    .header('psync-position', formatPosition(position))
    .header('psync-needs-tokens', String(needsTokens));
}

function sendUnsatisfied(reply: FastifyReply, { length }: SnapshotCopy): FastifyReply {
  const problem = new Problem('RANGE_NOT_SATISFIABLE', `the snapshot has ${length} bytes`);
  return sendProblem(
    reply.header('accept-ranges', 'bytes').header('content-range', `bytes */${length}`),
    problem,
  );
}

/** @returns the bytes, as fast as the client takes them */
function download(
  request: FastifyRequest,
  reply: FastifyReply,
  {
    node,
    access,
    position,
    sha256,
    range: { start, end },
  }: SnapshotRouteParts & { position: Position; sha256: string | null; range: ByteRange },
): Readable {
  mustGoOn(reply);
  const { raw } = reply;
  const { bytes, close } = node.downloadSnapshot(position, sha256);
  const cut = (): void => {
    raw.destroy();
  };
  const watch = access.watch(request.principal, {
    may: (principal) => principal.has('replicate'),
    // The answer has begun: a client must not take a part for the whole.
    revoked: cut,
  });
  const timer = setTimeout(cut, allowedMs(end + 1 - start)).unref();
  raw.setTimeout(ANSWER_STALL_MS, cut);
  raw.once('close', () => {
    clearTimeout(timer);
    watch.end();
    close();
  });
  return Readable.from(bytes(start, end), { objectMode: false, highWaterMark: 256 * 1024 });
}
