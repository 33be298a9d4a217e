/** `/v1/replication`, `/v1/digest`: the node's history, its master and its replicas. */
import type { FastifyInstance } from 'fastify';
import type { Access } from '../../../access/access.ts';
import { clientName } from '../../../access/client-name.ts';
import type { Node, ReplicationStatus } from '../../../node/node.ts';
import type { Digest } from '../../../node/ports/keyspace.ts';
import type { MasterAbove } from '../../../node/ports/peers.ts';
import { Problem } from '../../../node/problem.ts';
import { parseHash } from '../../../replication/history-hash.ts';
import { formatPosition } from '../../../replication/position.ts';
import { type PartialSnapshot, parsePartial } from '../../../replication/snapshot-terms.ts';
import type { Proxies } from '../../../web/proxies.ts';
import { positionOf, reachWanted } from '../../request/wait.ts';
import { mayKnowHash } from '../../required-rights.ts';
import { json } from '../../schemas/common/answers.ts';
import { type Described, referenceTo } from '../../schemas/common/described.ts';
import { problems } from '../../schemas/common/problems.ts';
import { backlogQuery, backlogReport } from '../../schemas/replication/backlog.ts';
import { check, checkQuery } from '../../schemas/replication/check.ts';
import { digest, digestQuery } from '../../schemas/replication/digest.ts';
import { replication, replicationQuery } from '../../schemas/replication/replication.ts';
import { failoverRequest, failoverResult, upstreamRequest } from '../../schemas/replication/role.ts';
import { sessionRoutes } from './session-routes.ts';

/** Largest JSON body of these calls, in bytes. */
const MAX_JSON_BYTES = 64 * 1024;

type State = Described<typeof replication>;

function answered({ position, keys, digest }: Digest): {
  readonly position: string;
  readonly keys: number;
  readonly digest: string;
} {
  return { position: formatPosition(position), keys, digest };
}

/** Tells whether everybody who reaches the node may do everything. */
type Door = Pick<Access, 'letsEverybodyIn'>;

/** @param proxies tell whose address a request has */
export function replicationRoutes(app: FastifyInstance, node: Node, door: Door, proxies: Proxies): void {
  streamRoute(app);
  getReplicationRoute(app, node, door, proxies);
  setUpstreamRoute(app, node);
  deleteUpstreamRoute(app, node);
  checkPositionRoute(app, node);
  sessionRoutes(app, node);
  getBacklogRoute(app, node);
  failoverRoute(app, node, door);
  abortFailoverRoute(app, node);
  acceptEmptyMasterRoute(app, node);
  resetCountersRoute(app, node);
  getDigestRoute(app, node);
}

function streamRoute(app: FastifyInstance): void {
  // Replicas connect here by WebSocket, which `ws/` handles; a request that arrives here is not one.
  app.get('/v1/replication/stream', {
    schema: { hide: true },
    handler: (_request, reply) => {
      // RFC 9110, 15.5.22.
      reply.header('upgrade', 'websocket').header('connection', 'close, Upgrade');
      throw new Problem(
        'UPGRADE_REQUIRED',
        'replicas connect here with a WebSocket of the subprotocol psync.v1',
      );
    },
  });
}

function getReplicationRoute(app: FastifyInstance, node: Node, door: Door, proxies: Proxies): void {
  app.get<{ Querystring: Described<typeof replicationQuery>; Reply: State }>('/v1/replication', {
    schema: {
      operationId: 'getReplication',
      summary: 'Role, position, backlog, upstream, replicas and counters',
      description:
        'What this node knows of its history, of the master it follows, and of the replicas that follow it.',
      tags: ['replication'],
      querystring: replicationQuery,
      response: { 200: json('The state of replication.', replication), ...problems() },
    },
    handler: async ({ principal, query: { asked }, raw }, reply) => {
      const look = (ids: string): Promise<readonly MasterAbove[]> =>
        node.mastersAbove(ids.split(','), clientName(principal, proxies.addressOf(raw)));
      const above = asked === undefined ? {} : { masters: await look(asked) };
      const status = { ...node.status, openToAll: door.letsEverybodyIn, ...above };
      return reply.send(mayKnowHash(principal) ? status : withoutHashes(status));
    },
  });
}

/** What tells something of the bytes of all keys is for those who may read all of them. */
function withoutHashes<T extends ReplicationStatus>(status: T): T {
  const { upstream } = status;
  const kept = upstream?.keptSnapshot;
  const told = kept === undefined ? {} : { keptSnapshot: { ...kept, announced: null } };
  return { ...status, historyHash: null, upstream: upstream === null ? null : { ...upstream, ...told } };
}

/** @throws Problem BAD_REQUEST for numbers that no part has */
function partialOf(text: string): PartialSnapshot {
  const partial = parsePartial(text);
  if (partial === null) throw new Problem('BAD_REQUEST', `${text} is no part of a snapshot`);
  return partial;
}

function setUpstreamRoute(app: FastifyInstance, node: Node): void {
  app.put<{ Body: Described<typeof upstreamRequest>; Reply: State }>('/v1/replication/upstream', {
    bodyLimit: MAX_JSON_BYTES,
    schema: {
      operationId: 'setUpstream',
      summary: 'Follow a master (REPLICAOF)',
      description: [
        'What this node has is kept: if the history of the master allows it, it continues from there; otherwise it',
        'is served until a snapshot has replaced it. `ws://HOST:PORT`. A node that follows this one, directly or by way of',
        'others, is refused: 409 names the circle. So is one above which a node answers what no node would: 502.',
        'A node that lets everybody in and shows its master a token or a certificate takes a new master from nobody: 403.',
      ].join('\n'),
      tags: ['replication'],
      body: referenceTo(upstreamRequest),
      response: {
        200: json('It follows that master already.', replication),
        202: json('It follows that master from now on.', replication),
        ...problems('admin', 'body', 'CIRCLE', 'BAD_PEER', 'FAILOVER_REFUSED', 'DISK_FULL'),
      },
    },
    handler: async (request, reply) => {
      const changed = await node.replicaOf(request.body.url, request.standing);
      reply.code(changed ? 202 : 200);
      return node.status;
    },
  });
}

function deleteUpstreamRoute(app: FastifyInstance, node: Node): void {
  app.delete<{ Reply: State }>('/v1/replication/upstream', {
    schema: {
      operationId: 'deleteUpstream',
      summary: 'Become a master (REPLICAOF NO ONE)',
      description:
        'Under a new run ID; the old one goes into the lineage, so that siblings can continue from here.',
      tags: ['replication'],
      response: {
        200: json('It is a master.', replication),
        ...problems('admin', 'body', 'FAILOVER_REFUSED', 'DISK_FULL'),
      },
    },
    handler: async ({ standing }) => {
      await node.promote(standing);
      return node.status;
    },
  });
}

function checkPositionRoute(app: FastifyInstance, node: Node): void {
  app.get<{ Querystring: Described<typeof checkQuery>; Reply: Described<typeof check> }>(
    '/v1/replication/check',
    {
      schema: {
        operationId: 'checkPosition',
        summary: 'What PSYNC would answer',
        description:
          'Whether a replica at this position would continue or need a snapshot, why, and how many bytes it would be sent. ' +
          'Nothing is done, and nothing counted. Without a position: of a replica that has nothing. Without a hash: of a replica ' +
          'that does not tell its history hash. `read` must be for all keys; a hash, and `snapshot`, need `replicate` or such a `read`.',
        tags: ['replication'],
        querystring: checkQuery,
        response: { 200: json('The decision.', check), ...problems() },
      },
      handler: async (request) => {
        const { position: asked, hash, snapshot } = request.query;
        const { decision, ...rest } = node.check({
          position: asked === undefined ? null : positionOf(asked),
          hash: hash === undefined ? null : parseHash(hash),
          partial: snapshot === undefined ? null : partialOf(snapshot),
        });
        const reason = decision.kind === 'full-resync' ? decision.reason : null;
        return { decision: decision.kind, reason, ...rest };
      },
    },
  );
}

function getBacklogRoute(app: FastifyInstance, node: Node): void {
  app.get<{ Querystring: Described<typeof backlogQuery>; Reply: Described<typeof backlogReport> }>(
    '/v1/replication/backlog',
    {
      schema: {
        operationId: 'getBacklog',
        summary: 'The backlog, the write rate, and how large it should be',
        description:
          'The window, how fast the stream grows, the outages that were seen, and advice: the seconds that a replica may ' +
          'be away, times the bytes written a second.',
        tags: ['replication'],
        querystring: backlogQuery,
        response: { 200: json('The backlog.', backlogReport), ...problems() },
      },
      handler: (request, reply) => {
        reply.send(node.backlogReport(request.query.seconds ?? null));
      },
    },
  );
}

function failoverRoute(app: FastifyInstance, node: Node, door: Door): void {
  app.post<{ Body: Described<typeof failoverRequest>; Reply: Described<typeof failoverResult> }>(
    '/v1/replication/failover',
    {
      bodyLimit: MAX_JSON_BYTES,
      schema: {
        operationId: 'failover',
        summary: 'Hand the role of the master over to a replica',
        description: [
          'Writes are held, the replica gets everything, becomes the master under a new run ID, and this node follows it',
          'with a partial resync; then the held writes are redirected to it (307). Answered when that is done. Nothing is',
          'lost, and there are never two masters: when time is up, or it is aborted, before the replica has everything,',
          'this node is the master as before. The other replicas go on following this node; `replicas` names them.',
          'A node that lets everybody in, and shows its master a token or a certificate, hands over for nobody: 403. One that does not',
          'let everybody in hands over to no replica that does: 409.',
        ].join('\n'),
        tags: ['replication'],
        body: referenceTo(failoverRequest),
        response: {
          200: json('The replica is the master.', failoverResult),
          ...problems(
            'admin',
            'body',
            'FAILOVER_REFUSED',
            'FAILOVER_ABORTED',
            'FAILOVER_TIMED_OUT',
            'DISK_FULL',
          ),
        },
      },
      handler: (request) => {
        const { to = null, timeoutMs } = request.body;
        return node.failover({ to, timeoutMs, isGuarded: !door.letsEverybodyIn }, request.standing);
      },
    },
  );
}

function abortFailoverRoute(app: FastifyInstance, node: Node): void {
  app.delete<{ Reply: State }>('/v1/replication/failover', {
    schema: {
      operationId: 'abortFailover',
      summary: 'Abort a hand-over',
      description:
        'Until the replica has been asked to become the master; afterwards only its answer decides (409).',
      tags: ['replication'],
      response: {
        200: json('It is aborted.', replication),
        ...problems('admin', 'body', 'FAILOVER_REFUSED'),
      },
    },
    handler: (_request, reply) => {
      node.abortFailover();
      reply.send(node.status);
    },
  });
}

function acceptEmptyMasterRoute(app: FastifyInstance, node: Node): void {
  app.post<{ Reply: State }>('/v1/replication/accept', {
    schema: {
      operationId: 'acceptEmptyMaster',
      summary: 'Let a guarded full resync happen',
      description: [
        'A replica that holds data does not replace it by the empty keyspace of an unrelated history: its link is `refused`',
        'and `guarded`. This lets the next full resync from that master replace the data, whatever it brings; what is',
        'replaced is kept as a file.',
      ].join('\n'),
      tags: ['replication'],
      response: {
        200: json('The master is asked again.', replication),
        ...problems('admin', 'body', 'NOTHING_GUARDED'),
      },
    },
    handler: (_request, reply) => {
      node.acceptEmptyMaster();
      reply.send(node.status);
    },
  });
}

function resetCountersRoute(app: FastifyInstance, node: Node): void {
  app.post<{ Reply: State }>('/v1/replication/counters/reset', {
    schema: {
      operationId: 'resetCounters',
      summary: 'Set the counters to 0 (CONFIG RESETSTAT)',
      description: [
        '`counters` and `feed.counters` of `/v1/replication`, and the same counts in `/v1/info`. The counters of `/metrics` stay,',
        'because Prometheus takes a counter that falls for a restart. The answer is the state afterwards.',
      ].join('\n'),
      tags: ['replication'],
      response: { 200: json('They count from 0.', replication), ...problems('admin', 'body') },
    },
    handler: (_request, reply) => {
      node.resetCounters();
      reply.send(node.status);
    },
  });
}

function getDigestRoute(app: FastifyInstance, node: Node): void {
  app.get<{ Querystring: Described<typeof digestQuery>; Reply: Described<typeof digest> }>('/v1/digest', {
    schema: {
      operationId: 'getDigest',
      summary: 'A hash over all entries at one position',
      description:
        'Equal on every node at equal positions. It reads the whole keyspace, on a thread of its own. On a full disk it is ' +
        'refused (`DISK_FULL`) if the newest writes cannot be moved into the keyspace file that it reads. With `against` this node ' +
        'compares itself with another one at one position, while both go on; it asks that node for `/v1/digest` and nothing ' +
        'else. `UNKNOWN_HISTORY`: the two share no history, so their digests say nothing; `NOT_REACHED`: there was no common ' +
        'position in time; `BAD_PEER`: no node answers there, or not like one. One comparison at a time.',
      tags: ['replication'],
      querystring: digestQuery,
      response: { 200: json('The digest.', digest), ...problems('admin', 'wait', 'DISK_FULL', 'BAD_PEER') },
    },
    handler: async (request) => {
      await reachWanted(node, request);
      const { against, timeout } = request.query;
      if (against === undefined) return answered(await node.digest());
      const { signal } = request.standing;
      const { equal, against: other, ...own } = await node.compare(against, timeout, signal);
      return { ...answered(own), against: { url: other.url, ...answered(other) }, equal };
    },
  });
}
