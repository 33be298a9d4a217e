/** `?position=P&timeout=MS` of a read: answer when this node has reached the position. */
import type { FastifyReply, FastifyRequest } from 'fastify';
import type { Node } from '../../node/node.ts';
import { Problem } from '../../node/problem.ts';
import { type Position, parsePosition } from '../../replication/position.ts';
import { position } from '../schemas/schemas.ts';

/** The longest that a request may wait for something, and how long it does if it does not say. */
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

/** What the query of every read may have; the header `Psync-Position` of the request does the same. */
export const WAIT_QUERY = {
  position: {
    ...position,
    description:
      'Answer when this node has reached the position: what a write was answered with is there then. 412 if it is not ' +
      "on this node's history; 503 when time is up. The header `Psync-Position` does the same.",
  },
  timeout: { ...TIMEOUT, description: 'How long to wait for `position`, in milliseconds.' },
} as const;

/** The query of a read that takes nothing else. */
export const WAIT_ONLY = { type: 'object', additionalProperties: false, properties: WAIT_QUERY } as const;

type Waiting = FastifyRequest<{ Querystring: WaitQuery }>;

/**
 * The position that a read brings, or null.
 * @throws Problem BAD_REQUEST for what is no position
 */
export function wantedPosition(request: Waiting): Position | null {
  const text = request.query.position ?? request.headers['psync-position'];
  return text === undefined ? null : positionOf(String(text));
}

/**
 * Waits until this node has reached the position that the read brings, if it does.
 * @throws Problem BAD_REQUEST, UNKNOWN_HISTORY, NOT_REACHED, TOO_MANY_REQUESTS
 */
export async function reachWanted(node: Node, request: Waiting, reply: FastifyReply): Promise<void> {
  const wanted = wantedPosition(request);
  if (wanted === null) return;
  const client = new AbortController();
  reply.raw.once('close', () => client.abort());
  await node.reach(wanted, request.query.timeout, client.signal);
}

/** @throws Problem BAD_REQUEST */
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
