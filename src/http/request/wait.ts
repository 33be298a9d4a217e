/** `?position=P&timeout=MS` of a read: the node answers once it has reached the position. */
import type { FastifyRequest } from 'fastify';
import type { Node } from '../../node/node.ts';
import { Problem } from '../../node/problem.ts';
import { type Position, parsePosition } from '../../replication/position.ts';
import type { WaitQuery } from '../schemas/common/queries.ts';

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
 * @throws Problem BAD_REQUEST, UNAUTHORIZED, UNKNOWN_HISTORY, NOT_REACHED, TOO_MANY_REQUESTS
 */
export async function reachWanted(node: Node, request: Waiting): Promise<void> {
  const wanted = wantedPosition(request);
  if (wanted === null) return;
  const { standing, query } = request;
  await standing.after(node.reach(wanted, query.timeout, standing.signal, standing.client));
}

/** @throws Problem BAD_REQUEST for a malformed position */
export function positionOf(text: string): Position {
  const parsed = parsePosition(text);
  if (parsed === null) {
    throw new Problem(
      'BAD_REQUEST',
      `${JSON.stringify(text.slice(0, 80))} is not a position, <run ID>:<offset>`,
    );
  }
  return parsed;
}
