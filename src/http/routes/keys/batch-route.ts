/** `POST /v1/batch`: several operations, all or nothing. */
import type { Readable } from 'node:stream';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import type { Principal } from '../../../access/principal.ts';
import { ALWAYS, type Condition } from '../../../keyspace/condition.ts';
import type { StaysText } from '../../../keyspace/json/json.ts';
import type { RawJson } from '../../../keyspace/json/json-text.ts';
import { fromJsonValue, MAX_VALUE_JSON_BYTES } from '../../../keyspace/json/json-value.ts';
import { keyProblem } from '../../../keyspace/key.ts';
import { Refusal } from '../../../keyspace/refusal.ts';
import {
  MAX_BATCH_READ_BYTES,
  MAX_VALUE_BYTES,
  type Operation,
  type OperationResult,
} from '../../../keyspace/write.ts';
import type { Node } from '../../../node/node.ts';
import { Problem } from '../../../node/problem.ts';
import { jsonLine } from '../../../web/problem-body.ts';
import { parseJsonBody, readJson } from '../../request/bodies/json-body.ts';
import { expiryOf } from '../../request/expiry.ts';
import { integerOf, jsonInteger } from '../../request/json-integer.ts';
import { badKey } from '../../request/key.ts';
import { areSmall, arrayStream, type WithValue, whole } from '../../request/large-json.ts';
import { AT_ONCE_BYTES, ClientLines, slices } from '../../request/slices.ts';
import type { Traffic } from '../../request/traffic/traffic.ts';
import { reachWanted } from '../../request/wait.ts';
import { json, writtenOnly } from '../../schemas/common/answers.ts';
import { type Described, referenceTo } from '../../schemas/common/described.ts';
import { problems } from '../../schemas/common/problems.ts';
import { batchOperation, batchQuery, batchRequest, batchResults } from '../../schemas/keys/batch.ts';
import { acknowledged } from '../acks.ts';
import { refuseOnReplica } from '../refuse-on-replica.ts';
import { type BatchRead, isSmallRead, readAtOnce, readBytes, readInTurns } from './batch-read.ts';

/** The largest batch, in bytes of JSON. */
const MAX_BATCH_BYTES = 64 * 1024 * 1024;

type Batch = Described<typeof batchRequest>;
/** One operation, as the schema admits it; its value is still text. */
type BatchOperation = Omit<Batch['ops'][number], 'value'> & { readonly value?: RawJson };

/** Selects the values in `{"ops": [{"value": …}]}` to stay text, because another member says how to read them. */
const isValue: StaysText = (depth, name) => depth === 3 && name === 'value';

interface BatchRoute {
  Body: { readonly ops: readonly BatchOperation[] };
  Querystring: Described<typeof batchQuery>;
}

export async function batchRoute(
  app: FastifyInstance,
  node: Node,
  now: () => number,
  traffic: Traffic,
): Promise<void> {
  await app.register((batches, _options, done) => {
    batches.removeAllContentTypeParsers();
    batches.addContentTypeParser('application/json', async (request: FastifyRequest, payload: Readable) => {
      const body = await readJson(request, payload, traffic.bodies);
      return body.length === 0 ? undefined : parseJsonBody(body, isValue);
    });
    route(batches, node, now, traffic);
    done();
  });
}

/** Made anew for each server, because Fastify changes the schema of a route. */
function batchSchema() {
  return {
    operationId: 'batch',
    summary: 'Several operations, all or nothing',
    description:
      'Up to 10,000 operations in 64 MiB of JSON, in order; each sees what the ones before it did. If one fails ' +
      'nothing is applied, and `op` in the answer is its index. `delete`, `expire`, `persist` and `get` of a key ' +
      'that is not there do not fail: their result says so. The values that a batch reads have at most 64 MiB ' +
      'together, and the JSON of one value that it sets at most 32 MiB. A batch of nothing but `get`s writes ' +
      'nothing: a replica answers it too.',
    tags: ['keys'],
    querystring: batchQuery,
    body: referenceTo(batchRequest),
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
        'wait',
      ),
    },
  };
}

function route(app: FastifyInstance, node: Node, now: () => number, traffic: Traffic): void {
  const largeReads = new ClientLines();
  app.post<BatchRoute>('/v1/batch', {
    bodyLimit: MAX_BATCH_BYTES,
    schema: batchSchema(),
    handler: async (request, reply) => {
      const { ops } = request.body;
      const onlyReads = ops.every(({ op }) => op === 'get');
      if (!onlyReads) refuseOnReplica(node);
      const operations = await operationsOf(ops, now(), request.principal);
      mustCoverAll(request.principal, operations);
      // As for other writes, the header has no effect on a batch that writes.
      if (onlyReads || request.query.position !== undefined) await reachWanted(node, request);
      const bytes = await readBytes(node, operations);
      request.standing.mustGoOn();
      if (bytes > 0) {
        const most = Math.min(bytes, MAX_BATCH_READ_BYTES);
        await request.standing.after(traffic.answers.admit(request.raw, reply.raw, most));
      }
      const { results, position } = await (onlyReads
        ? read(node, operations, bytes, reply, largeReads)
        : node.write({ kind: 'batch', operations }, request.standing));
      traffic.bodies.release(request.raw);
      return answer(node, request, reply, operations, results, position);
    },
  });
}

/** Answers a batch of only reads without a write turn, which a read-only node would refuse. */
async function read(
  node: Node,
  operations: readonly Operation[],
  bytes: number,
  reply: FastifyReply,
  largeReads: ClientLines,
): Promise<BatchRead> {
  try {
    if (isSmallRead(operations, bytes)) return readAtOnce(node, operations);
    return await largeReads.run(reply, () => readInTurns(node, operations, bytes));
  } catch (error) {
    if (error instanceof Refusal) throw new Problem(error.code, error.message, error.extra);
    throw error;
  }
}

/** @throws Problem FORBIDDEN that names the operations whose keys or rights the sender lacks */
function mustCoverAll(principal: Principal, operations: readonly Operation[]): void {
  let first: Problem | null = null;
  const refused: number[] = [];
  for (const [index, { kind, key }] of operations.entries()) {
    const problem = principal.problem(kind === 'get' ? 'read' : 'write', key);
    if (problem === null) continue;
    first ??= problem;
    refused.push(index);
  }
  if (first === null) return;
  throw new Problem(first.code, `operation ${refused[0]}: ${first.message}; nothing was done`, {
    ops: refused,
  });
}

async function answer(
  node: Node,
  request: FastifyRequest<BatchRoute>,
  reply: FastifyReply,
  operations: readonly Operation[],
  results: readonly OperationResult[],
  position: string,
): Promise<unknown> {
  reply.header('psync-position', position).type('application/json; charset=utf-8');
  const answers = results.map((result, index) => resultOf(operations[index] as Operation, result));
  const rest = await acknowledged(node, reply, request.query, { position });
  if (!areSmall(answers)) return arrayStream('results', answers, rest);
  reply.serializer(jsonLine);
  return { results: answers.map(whole), ...rest };
}

/** @throws Problem that names the malformed operation */
async function operationsOf(
  ops: readonly BatchOperation[],
  now: number,
  sender: Principal,
): Promise<Operation[]> {
  const turns = slices();
  const operations: Operation[] = [];
  for (const [index, op] of ops.entries()) {
    // Small batches fit into the first slice.
    if (index % OPERATIONS_AT_ONCE === OPERATIONS_AT_ONCE - 1 || isLarge(op)) await turns.next();
    operations.push(named(index, () => operationOf(op, now, sender)));
  }
  return operations;
}

/** Number of operations between two looks at the clock. */
const OPERATIONS_AT_ONCE = 100;

function isLarge({ value }: BatchOperation): boolean {
  return value !== undefined && value.bytes.length > AT_ONCE_BYTES;
}

/** Adds the index of the operation to its problem. */
function named(index: number, parse: () => Operation): Operation {
  try {
    return parse();
  } catch (error) {
    if (!(error instanceof Problem)) throw error;
    throw new Problem(error.code, `operation ${index}: ${error.message}`, { ...error.extra, op: index });
  }
}

/** Members that each operation may have. */
const ALLOWED: ReadonlyMap<string, ReadonlySet<string>> = new Map(
  batchOperation.oneOf.map(({ properties }) => [properties.op.const, new Set(Object.keys(properties))]),
);

function operationOf(op: BatchOperation, now: number, sender: Principal): Operation {
  const { key } = op;
  const problem = keyProblem(key);
  if (problem !== null) throw badKey(problem);
  for (const member in op) {
    if (ALLOWED.get(op.op)?.has(member) !== true) {
      throw new Problem('BAD_REQUEST', `${JSON.stringify(member)} has no meaning for ${op.op}`);
    }
  }
  const condition = conditionOf(op, sender);
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

function conditionOf({ key, ifAbsent = false, ifVersion }: BatchOperation, sender: Principal): Condition {
  if (ifAbsent && ifVersion !== undefined) {
    throw new Problem('BAD_REQUEST', 'ifAbsent and ifVersion contradict each other');
  }
  if (!ifAbsent && ifVersion === undefined) return ALWAYS;
  const hidesVersion = !sender.covers('read', key);
  return ifVersion === undefined ? { noneMatch: '*', hidesVersion } : { match: [ifVersion], hidesVersion };
}

function bytesOf({ value, encoding }: BatchOperation): Buffer {
  if (value !== undefined && value.bytes.length > MAX_VALUE_JSON_BYTES) {
    throw new Problem('VALUE_TOO_LARGE', `a value may have at most ${MAX_VALUE_JSON_BYTES} bytes of JSON`);
  }
  const bytes = fromJsonValue(value, encoding);
  if (typeof bytes === 'string') throw new Problem('BAD_REQUEST', bytes);
  if (bytes.length > MAX_VALUE_BYTES) {
    throw new Problem('VALUE_TOO_LARGE', `a value may have at most ${MAX_VALUE_BYTES} bytes`);
  }
  return bytes;
}

function resultOf(operation: Operation, { existed, entry }: OperationResult): WithValue {
  const version = entry?.version;
  switch (operation.kind) {
    case 'set':
      return withoutValue({ created: !existed, version, expiresAt: entry?.expiresAt });
    case 'delete':
      return withoutValue({ deleted: existed });
    case 'increment':
      return withoutValue({ value: jsonInteger(BigInt(entry?.value?.toString('latin1') ?? '0')), version });
    case 'append':
      return withoutValue({ size: entry?.value?.length, version });
    case 'expire':
    case 'persist':
      return withoutValue(
        entry === null ? { found: false } : { found: true, expiresAt: entry.expiresAt, version },
      );
    case 'get':
      if (entry === null) return withoutValue({ found: false });
      return { before: { found: true }, value: entry.value, after: { expiresAt: entry.expiresAt, version } };
    case 'merge-patch':
      throw new Error('a batch has no patches');
  }
}

function withoutValue(members: object): WithValue {
  return { before: members, value: null, after: {} };
}
