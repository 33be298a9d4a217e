/** `?position=P&timeout=MS` of a read: the node answers once it has reached the position. */
import type { FastifyReply, FastifyRequest } from 'fastify';
import type { Node } from '../../node/node.ts';
import { Problem } from '../../node/problem.ts';
import { type Position, parsePosition } from '../../replication/position.ts';
import { position } from '../schemas/members.ts';

/** Longest wait that a request may ask for, and the default, in milliseconds. */
const MAX_TIMEOUT_MS = 600_000;
const TIMEOUT_MS = 5_000;

export const TIMEOUT = {
  type: 'integer',
  minimum: 0,
  maximum: MAX_TIMEOUT_MS,
  default: TIMEOUT_MS,
} as const;

export interface WaitQuery {
  readonly position?: string;
  readonly timeout: number;
}

/** Query parameters of every read; the request header `Psync-Position` does the same as `position`. */
export const WAIT_QUERY = {
  position: {
    ...position,
    description:
      'Answer when this node has reached the position: what a write was answered with is there then. 412 if it is not ' +
      "on this node's history; 503 when time is up. The header `Psync-Position` does the same.",
  },
  timeout: { ...TIMEOUT, description: 'How long to wait for `position`, in milliseconds.' },
} as const;

/** Query of a read that has no other parameters. */
export const WAIT_ONLY = { type: 'object', additionalProperties: false, properties: WAIT_QUERY } as const;

type Waiting = FastifyRequest<{ Querystring: WaitQuery }>;

/**
 * Position that a read asks for, or null.
 * @throws Problem BAD_REQUEST for a malformed position
 */
export function wantedPosition(request: Waiting): Position | null {
  const text = request.query.position ?? request.headers['psync-position'];
  return text === undefined ? null : positionOf(String(text));
}

/**
 * Waits until this node has reached the position that the read asks for, if it asks for one.
 * @throws Problem BAD_REQUEST, UNKNOWN_HISTORY, NOT_REACHED, TOO_MANY_REQUESTS
 */
export async function reachWanted(node: Node, request: Waiting, reply: FastifyReply): Promise<void> {
  const wanted = wantedPosition(request);
  if (wanted === null) return;
  const client = new AbortController();
  reply.raw.once('close', () => client.abort());
  await node.reach(wanted, request.query.timeout, client.signal);
}

/** @throws Problem BAD_REQUEST for a malformed position */
export function positionOf(text: string): Position {
  const parsed = parsePosition(text);
  if (parsed === null) {
    throw new Problem(
      'BAD_REQUEST',
      `${JSON.stringify(text.slice(0, 80))} is no position, <run ID>:<offset>`,
    );
  }
  return parsed;
}
