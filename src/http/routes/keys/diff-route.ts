/** `GET /v1/diff`: which keys differ between two positions. */
import type { FastifyInstance } from 'fastify';
import type { Node } from '../../../node/node.ts';
import { Problem } from '../../../node/problem.ts';
import { formatPosition } from '../../../replication/position.ts';
import { positionOf, reachWanted } from '../../request/wait.ts';
import { json } from '../../schemas/common/answers.ts';
import type { Described } from '../../schemas/common/described.ts';
import { problems } from '../../schemas/common/problems.ts';
import { difference, diffQuery } from '../../schemas/keys/diff.ts';

export function diffRoute(app: FastifyInstance, node: Node): void {
  app.get<{ Querystring: Described<typeof diffQuery>; Reply: Described<typeof difference> }>('/v1/diff', {
    schema: {
      operationId: 'getDiff',
      summary: 'Which keys differ between two positions',
      description: [
        'The keys that were added, changed and removed, in key order, on masters and replicas alike. It is made of the stream that the',
        'node still has: the backlog, and what `--journal-keep` keeps. If that does not reach back to `from`, the answer is 410',
        '`POSITION_LOST`, with the `window` that there is. Each page reads the stream between the positions anew, so ask for a prefix',
        'or for positions that are nearer to each other if there are many pages. Four differences are made at a time, two of one client.',
        '',
        'The stream tells what an entry became, not whether there was one before. So whether a key that was set is new is known only',
        'if the 64 MiB of the stream before `from`, as far as the node has them, name the key or begin the history. Otherwise',
        '`change` says `added-or-changed`. An entry that expires is removed when the master deletes it, moments later.',
      ].join('\n'),
      tags: ['changes'],
      querystring: diffQuery,
      response: {
        200: json('A page.', difference),
        ...problems('wait', 'POSITION_LOST', 'TOO_MANY_REQUESTS'),
      },
    },
    handler: async (request, reply) => {
      const { from, to, prefix = '', after = null, limit, timeout } = request.query;
      if (after !== null && to === undefined) {
        throw new Problem('BAD_REQUEST', 'after needs to: the pages of a difference have the same positions');
      }
      await reachWanted(node, request);
      const { standing } = request;
      const wanted = {
        from: positionOf(from),
        to: to === undefined ? null : positionOf(to),
        prefix,
        after,
        limit,
        timeoutMs: timeout,
        client: standing.client,
      };
      const found = await node.diff(wanted, standing.signal);
      standing.mustGoOn();
      const { flushed, changes, next } = found;
      reply.send({
        from: formatPosition(found.from),
        to: formatPosition(found.to),
        flushed: flushed === null ? null : formatPosition(flushed),
        changes: [...changes],
        next,
      });
      return reply;
    },
  });
}
