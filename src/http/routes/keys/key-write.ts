/** The course of every write of one entry: from the request to the answer. */
import type { FastifyReply, FastifyRequest } from 'fastify';
import type { Condition } from '../../../keyspace/condition.ts';
import type { Operation, OperationResult } from '../../../keyspace/write.ts';
import type { Node } from '../../../node/node.ts';
import { entryHeaders } from '../../answer-headers.ts';
import { writeCondition } from '../../request/conditions.ts';
import { checkKey, keyNotFound } from '../../request/key.ts';
import type { Described } from '../../schemas/common/described.ts';
import type { AcksQuery } from '../../schemas/common/queries.ts';
import type { keyParams } from '../../schemas/keys/keys.ts';
import { acknowledged } from '../acks.ts';
import { refuseOnReplica } from '../refuse-on-replica.ts';

/** The entry that a request names, and the state that it must have for the write. */
export interface Target {
  readonly key: string;
  readonly condition: Condition;
}

/** A write that the node has carried out. */
export interface Done extends OperationResult {
  /** Version of the entry; 0: the write has deleted it. */
  readonly version: number;
  readonly position: string;
}

/** What one kind of write adds to the course. */
export interface KeyWrite<Answer> {
  /** Passes the operation to `write`, once it has the body that the operation needs. */
  readonly run: (write: (operation: Operation) => Promise<Answer>) => Promise<Answer>;
  /** Answers the write; called before the memory of the body is free. */
  readonly answer: (done: Done) => Answer;
  /** Whether a missing entry is an error. */
  readonly mustExist?: boolean;
}

/** A route that writes one entry. */
export interface WriteRoute {
  Params: Described<typeof keyParams>;
  Querystring: AcksQuery;
  Reply: { readonly position: string };
}

/**
 * Makes a handler of writes. It checks the key and the conditions, has `plan` read the rest of the request, refuses on a replica
 * before any body is read, writes, sets the headers of the entry, and waits for acknowledgements.
 * @param plan reads what this kind of write needs; it may throw a Problem
 * @param check refuses requests that have nothing to do with this route, before their conditions are read
 */
export function writeHandler<Route extends WriteRoute>(
  node: Node,
  plan: (target: Target, request: FastifyRequest<Route>, reply: FastifyReply) => KeyWrite<Route['Reply']>,
  check: (request: FastifyRequest<Route>, reply: FastifyReply) => void = () => undefined,
): (request: FastifyRequest<Route>, reply: FastifyReply) => Promise<Route['Reply']> {
  return async (request, reply) => {
    // Fastify's types do not resolve the parts of a route that is a type parameter.
    const { params, query } = request as FastifyRequest<WriteRoute>;
    const key = checkKey(params.key);
    check(request, reply);
    const mayRead = request.principal.covers('read', key);
    const target = { key, condition: writeCondition(request.headers, mayRead) };
    const { run, answer, mustExist = false } = plan(target, request, reply);
    refuseOnReplica(node);
    const answered = await run(async (operation) => {
      const { results, position } = await node.write(operation, request.standing);
      const { existed, entry } = results[0] as OperationResult;
      if (mustExist && !existed) throw keyNotFound(key);
      reply.header('psync-position', position);
      if (entry !== null) entryHeaders(reply, entry);
      return answer({ existed, entry, version: entry?.version ?? 0, position });
    });
    return acknowledged(node, reply, query, answered);
  };
}
