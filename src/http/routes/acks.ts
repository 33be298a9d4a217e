/** `?acks=N&timeout=MS` of a write (Redis's WAIT): answer when N replicas have it in their journals. */
import type { ServerResponse } from 'node:http';
import type { FastifyReply, FastifyRequest } from 'fastify';
import type { Node } from '../../node/node.ts';
import type { AckPlace } from '../../node/session/ack-waiters.ts';
import { parsePosition } from '../../replication/position.ts';
import { TIMEOUT } from '../request/wait.ts';

export interface AcksQuery {
  readonly acks?: number;
  readonly timeout: number;
}

/** What the query of every write may have. */
export const ACKS_QUERY = {
  acks: {
    type: 'integer',
    minimum: 0,
    maximum: 1_000,
    description:
      'Answer when so many replicas have the write in their journals. If they have not when time is up, the answer is ' +
      '202 and tells how many have; it is written either way. If too many writes wait already it is 429, and nothing is written.',
    examples: [1],
  },
  timeout: { ...TIMEOUT, description: 'How long to wait for `acks`, in milliseconds.' },
} as const;

/** The query of a write that takes nothing else. */
export const ACKS_ONLY = { type: 'object', additionalProperties: false, properties: ACKS_QUERY } as const;

const places = new WeakMap<ServerResponse, AckPlace>();

/**
 * Before a write is made: takes a place for it if it asks for `acks`. The place is left when the answer is sent, or the client
 * has gone.
 * @throws Problem TOO_MANY_REQUESTS; nothing is written then
 */
export function enterAcks(node: Node, { query }: FastifyRequest, { raw }: FastifyReply): void {
  if (((query as Partial<AcksQuery> | undefined)?.acks ?? 0) === 0) return;
  const place = node.enterAcks();
  if (raw.destroyed) return place.leave();
  places.set(raw, place);
  raw.once('close', () => place.leave());
}

/**
 * @param answer what the write is answered with; it has been written
 * @returns the answer, with `acks` if that was asked for; the status is 202 then if there are too few
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
  // Who asks for no acknowledgement does not wait.
  const reached =
    place === undefined
      ? node.acknowledgedBy(position.offset)
      : await place.wait(position.offset, acks, timeout);
  if (reached < acks) reply.code(202);
  return { ...answer, acks: reached };
}
