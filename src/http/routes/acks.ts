/**
 * `?acks=N&timeout=MS` of a write (Redis's WAIT): the node answers once N replicas have the write in their journals. With
 * `durable=true` (WAITAOF) it answers once this node and N replicas have it on their disks.
 */
import type { ServerResponse } from 'node:http';
import type { FastifyReply, FastifyRequest } from 'fastify';
import type { Node } from '../../node/node.ts';
import { type AckPlace, isMet } from '../../node/session/ack-waiters.ts';
import { parsePosition } from '../../replication/position.ts';
import type { AcksQuery } from '../schemas/common/queries.ts';

const places = new WeakMap<ServerResponse, AckPlace>();

/** How far a write has come, as its answer tells it. */
export interface Acks {
  readonly acks: number;
  readonly durable?: boolean;
}

/**
 * Reserves a place among the waiting writes before a write that asks for `acks` or `durable`. The place is freed when the answer is
 * sent or the client disconnects, and when its token goes: then the write is answered with the replicas so far.
 * @throws Problem TOO_MANY_REQUESTS; nothing is written then
 */
export function enterAcks(node: Node, { query, standing }: FastifyRequest, { raw }: FastifyReply): void {
  const { acks = 0, durable = false } = (query ?? {}) as Partial<AcksQuery>;
  if (acks === 0 && !durable) return;
  const place = node.enterAcks(standing.client);
  if (raw.destroyed) return place.leave();
  places.set(raw, place);
  standing.signal.addEventListener('abort', () => place.leave(), { once: true });
}

/**
 * @param answer to a write that is done
 * @returns the answer, with `acks` and `durable` if the request asked for them; the status is 202 if that much was not reached in time
 */
export function acknowledged<T extends { readonly position: string }>(
  node: Node,
  reply: FastifyReply,
  query: AcksQuery,
  answer: T,
): T | Promise<T & Acks> {
  if (query.acks === undefined && query.durable !== true) return answer;
  return waited(node, reply, query, answer);
}

async function waited<T extends { readonly position: string }>(
  node: Node,
  reply: FastifyReply,
  { acks: replicas = 0, durable = false, timeout }: AcksQuery,
  answer: T,
): Promise<T & Acks> {
  const position = parsePosition(answer.position);
  if (position === null) throw new Error(`${answer.position} is no position`);
  const place = places.get(reply.raw);
  const demand = { offset: position.offset, replicas, durable };
  // A request with `acks=0` alone does not wait.
  const count = place === undefined ? node.acknowledged(demand) : await place.wait(demand, timeout);
  if (!isMet(demand, count)) reply.code(202);
  return { ...answer, acks: count.replicas, ...(durable && { durable: count.isHere }) };
}
