/**
 * `?acks=N&timeout=MS` of a write (Redis's WAIT): the node answers once N replicas have the write in their journals.
 */
import type { ServerResponse } from 'node:http';
import type { FastifyReply, FastifyRequest } from 'fastify';
import type { Node } from '../../node/node.ts';
import type { AckPlace } from '../../node/session/ack-waiters.ts';
import { parsePosition } from '../../replication/position.ts';
import type { AcksQuery } from '../schemas/common/queries.ts';

const places = new WeakMap<ServerResponse, AckPlace>();

/**
 * Reserves a place among the waiting writes before a write that asks for `acks`. The place is freed when the answer is
 * sent or the client disconnects, and when its token goes: then the write is answered with the replicas so far.
 * @throws Problem TOO_MANY_REQUESTS; nothing is written then
 */
export function enterAcks(node: Node, { query, standing }: FastifyRequest, { raw }: FastifyReply): void {
  if (((query as Partial<AcksQuery> | undefined)?.acks ?? 0) === 0) return;
  const place = node.enterAcks();
  if (raw.destroyed) return place.leave();
  places.set(raw, place);
  standing.signal.addEventListener('abort', () => place.leave(), { once: true });
}

/**
 * @param answer to a write that is done
 * @returns the answer, with `acks` if the request asked for it; the status is 202 if too few replicas confirmed
 */
export function acknowledged<T extends { readonly position: string }>(
  node: Node,
  reply: FastifyReply,
  { acks, timeout }: AcksQuery,
  answer: T,
): T | Promise<T & { acks: number }> {
  if (acks === undefined) return answer;
  return waited(node, reply, acks, timeout, answer);
}

async function waited<T extends { readonly position: string }>(
  node: Node,
  reply: FastifyReply,
  acks: number,
  timeout: number,
  answer: T,
): Promise<T & { acks: number }> {
  const position = parsePosition(answer.position);
  if (position === null) throw new Error(`${answer.position} is no position`);
  const place = places.get(reply.raw);
  // A request without `acks` does not wait.
  const reached =
    place === undefined
      ? node.acknowledgedBy(position.offset)
      : await place.wait(position.offset, acks, timeout);
  if (reached < acks) reply.code(202);
  return { ...answer, acks: reached };
}
