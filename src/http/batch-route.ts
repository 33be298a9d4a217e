/** `POST /v1/batch`: several operations, all or nothing. */
import type { FastifyInstance } from 'fastify';
import { ALWAYS, type Condition } from '../keyspace/condition.ts';
import { fromJsonValue, toJsonValue } from '../keyspace/json-value.ts';
import { keyProblem } from '../keyspace/key.ts';
import { MAX_VALUE_BYTES, type Operation, type OperationResult } from '../keyspace/write.ts';
import type { Node } from '../node/node.ts';
import { Problem } from '../node/problem.ts';
import { ACKS_ONLY, type AcksQuery, acknowledged } from './acks.ts';
import { expiryOf } from './expiry.ts';
import { jsonInteger } from './json-integer.ts';
import { badKey } from './key.ts';
import { integerOf } from './key-routes.ts';
import { refuseOnReplica } from './refuse-on-replica.ts';
import { batchResults, json, problems, writtenOnly } from './schemas.ts';

/** The largest batch, in bytes of JSON. */
const MAX_BATCH_BYTES = 64 * 1024 * 1024;

/** One operation as the schema has let it through. */
interface BatchOperation {
  readonly op: 'set' | 'delete' | 'increment' | 'append' | 'expire' | 'persist' | 'get';
  readonly key: string;
  readonly value?: unknown;
  readonly encoding?: string;
  readonly ttl?: number;
  readonly expiresAt?: number | null;
  readonly by?: number | string;
  readonly ifAbsent?: boolean;
  readonly ifVersion?: number;
}

export function batchRoute(app: FastifyInstance, node: Node, now: () => number): void {
  app.post<{ Body: { ops: readonly BatchOperation[] }; Querystring: AcksQuery }>('/v1/batch', {
    bodyLimit: MAX_BATCH_BYTES,
    schema: {
      operationId: 'batch',
      summary: 'Several operations, all or nothing',
      description:
        'Up to 10,000 operations, in order; each sees what the ones before it did. If one fails nothing is applied, ' +
        'and `op` in the answer is its index. `delete`, `expire`, `persist` and `get` of a key that is not there do ' +
        'not fail: their result says so.',
      tags: ['keys'],
      querystring: ACKS_ONLY,
      body: { $ref: 'Batch#' },
      response: {
        200: json('All were applied.', batchResults),
        202: writtenOnly(batchResults),
        ...problems(
          'KEY_TOO_LONG',
          'NOT_INTEGER',
          'INTEGER_OVERFLOW',
          'PRECONDITION_FAILED',
          'VALUE_TOO_LARGE',
          'BATCH_TOO_LARGE',
          'body',
          'write',
        ),
      },
    },
    handler: async (request, reply) => {
      const { ops } = request.body;
      const at = now();
      const operations = ops.map((op, index) => named(index, () => operationOf(op, at)));
      refuseOnReplica(node);
      const { results, position } = await node.write({ kind: 'batch', operations });
      reply.header('psync-position', position);
      reply.type('application/json; charset=utf-8').serializer(JSON.stringify);
      const answers = results.map((result, index) => resultOf(operations[index] as Operation, result));
      return acknowledged(node, reply, request.query, { results: answers, position });
    },
  });
}

/** A problem of one operation says which. */
function named(index: number, parse: () => Operation): Operation {
  try {
    return parse();
  } catch (error) {
    if (!(error instanceof Problem)) throw error;
    throw new Problem(error.code, `operation ${index}: ${error.message}`, { ...error.extra, op: index });
  }
}

const ALLOWED: Readonly<Record<BatchOperation['op'], ReadonlySet<string>>> = {
  set: new Set(['value', 'encoding', 'ttl', 'expiresAt', 'ifAbsent', 'ifVersion']),
  delete: new Set(['ifVersion']),
  increment: new Set(['by', 'ifVersion']),
  append: new Set(['value', 'encoding', 'ifVersion']),
  expire: new Set(['ttl', 'expiresAt', 'ifVersion']),
  persist: new Set(['ifVersion']),
  get: new Set(),
};

function operationOf(op: BatchOperation, now: number): Operation {
  const { key } = op;
  const problem = keyProblem(key);
  if (problem !== null) throw badKey(problem);
  for (const member in op) {
    if (member !== 'op' && member !== 'key' && !ALLOWED[op.op].has(member)) {
      throw new Problem('BAD_REQUEST', `${JSON.stringify(member)} has no meaning for ${op.op}`);
    }
  }
  const condition = conditionOf(op);
  switch (op.op) {
    case 'set':
      return { kind: 'set', key, value: bytesOf(op), expiresAt: expiryOf(op, now), condition };
    case 'append':
      return { kind: 'append', key, value: bytesOf(op), condition };
    case 'increment':
      return { kind: 'increment', key, by: integerOf(op.by ?? 1), condition };
    case 'expire': {
      const expiresAt = expiryOf(op, now);
      if (expiresAt === null) throw new Problem('BAD_REQUEST', 'either ttl or expiresAt is required');
      return { kind: 'expire', key, expiresAt, condition };
    }
    case 'delete':
    case 'persist':
      return { kind: op.op, key, condition };
    case 'get':
      return { kind: 'get', key };
  }
}

function conditionOf({ ifAbsent = false, ifVersion }: BatchOperation): Condition {
  if (ifAbsent && ifVersion !== undefined) {
    throw new Problem('BAD_REQUEST', 'ifAbsent and ifVersion contradict each other');
  }
  if (ifAbsent) return { noneMatch: '*' };
  return ifVersion === undefined ? ALWAYS : { match: [ifVersion] };
}

function bytesOf({ value, encoding }: BatchOperation): Buffer {
  const bytes = fromJsonValue(value, encoding);
  if (typeof bytes === 'string') throw new Problem('BAD_REQUEST', bytes);
  if (bytes.length > MAX_VALUE_BYTES) {
    throw new Problem('VALUE_TOO_LARGE', `a value may have at most ${MAX_VALUE_BYTES} bytes`);
  }
  return bytes;
}

function resultOf(operation: Operation, { existed, entry }: OperationResult): object {
  const version = entry?.version;
  switch (operation.kind) {
    case 'set':
      return { created: !existed, version, expiresAt: entry?.expiresAt };
    case 'delete':
      return { deleted: existed };
    case 'increment':
      return { value: jsonInteger(BigInt(entry?.value.toString('latin1') ?? '0')), version };
    case 'append':
      return { size: entry?.value.length, version };
    case 'expire':
    case 'persist':
      return entry === null ? { found: false } : { found: true, expiresAt: entry.expiresAt, version };
    case 'get':
      if (entry === null) return { found: false };
      return { found: true, ...toJsonValue(entry.value), expiresAt: entry.expiresAt, version };
    case 'merge-patch':
      throw new Error('a batch has no patches');
  }
}
