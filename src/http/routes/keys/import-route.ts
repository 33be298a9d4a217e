/** `POST /v1/import`: reads NDJSON as a stream, in bounded memory. */
import type { FastifyInstance, FastifyRequest } from 'fastify';
import { fromJsonValue } from '../../../keyspace/json/json-value.ts';
import { keyProblem } from '../../../keyspace/key.ts';
import { MAX_VALUE_BYTES } from '../../../keyspace/write.ts';
import type { Node } from '../../../node/node.ts';
import { Problem } from '../../../node/problem.ts';
import type { Turns } from '../../../node/turns.ts';
import { formatPosition } from '../../../replication/position.ts';
import { type DelCommand, isTime, type SetCommand } from '../../../stream/command.ts';
import type { BodyBudget } from '../../request/bodies/body-budget.ts';
import { isBlank, lineGroups, parseLine, parseLongLine } from '../../request/bodies/ndjson.ts';
import { badKey } from '../../request/key.ts';
import { AT_ONCE_BYTES } from '../../request/slices.ts';
import { json, writtenOnly } from '../../schemas/common/answers.ts';
import type { Described } from '../../schemas/common/described.ts';
import { problems } from '../../schemas/common/problems.ts';
import { type AcksQuery, acksQuery } from '../../schemas/common/queries.ts';
import { imported, NDJSON_BODY } from '../../schemas/keys/import-export.ts';
import { acknowledged } from '../acks.ts';
import { refuseOnReplica } from '../refuse-on-replica.ts';

/** Largest group of entries that is written together: number of entries, and bytes. */
const GROUP_ENTRIES = 1_000;
const GROUP_BYTES = 1024 * 1024;

/** Accepted media types, beside none at all; the last one is the default of `curl --data-binary`. */
const MEDIA_TYPES: readonly string[] = [
  'application/x-ndjson',
  'application/ndjson',
  'application/jsonl',
  'text/plain',
  'application/octet-stream',
  'application/x-www-form-urlencoded',
];

const MEMBERS: ReadonlySet<string> = new Set(['key', 'value', 'encoding', 'expiresAt', 'version']);

export function importRoute(app: FastifyInstance, node: Node, now: () => number, bodies: BodyBudget): void {
  app.post<{ Querystring: AcksQuery; Reply: Described<typeof imported> }>('/v1/import', {
    schema: {
      operationId: 'importEntries',
      summary: 'Load many entries',
      description: [
        'NDJSON: one `{"key": …, "value": …, "encoding": "utf8" | "base64" | "json", "expiresAt": MS | null}` a line,',
        'as `/v1/export` writes it. The body is streamed; entries are written while it arrives, in order, and each',
        'is set whether or not it was there. The whole is not atomic: when a line is malformed, the entries before',
        'it are in, and the answer says how many. A line has at most 32 MiB. A byte order mark in front is skipped, and so',
        'are lines of nothing but white space.',
      ].join('\n'),
      tags: ['keys'],
      querystring: acksQuery,
      body: NDJSON_BODY,
      response: {
        200: json('All lines are in.', imported),
        202: writtenOnly(imported),
        ...problems('BAD_LINE', 'write'),
      },
    },
    handler: async (request, reply) => {
      refuseOnReplica(node);
      const type = request.bodyType;
      if (type !== null && !MEDIA_TYPES.includes(type)) {
        throw new Problem('UNSUPPORTED_MEDIA_TYPE', `an import is application/x-ndjson, not ${type}`);
      }
      const body = request.body as import('node:stream').Readable | undefined;
      const load = new Load(node, now, request);
      request.standing.explained = (problem) => load.explain(problem) as Problem;
      try {
        if (body !== undefined) await load.addAll(lineGroups(body, bodies));
      } catch (error) {
        // The rest of the body is discarded instead of parsed, so the connection stays usable.
        bodies.release(request.raw);
        body?.resume();
        throw load.explain(error);
      }
      reply.header('psync-position', load.position);
      const answer = { imported: load.imported, position: load.position };
      return acknowledged(node, reply, request.query, answer);
    },
  });
}

/** One import in progress. */
class Load {
  readonly #node: Node;
  readonly #now: () => number;
  readonly #request: Pick<FastifyRequest, 'principal' | 'standing'>;
  #line = 0;
  #group: (SetCommand | DelCommand)[] = [];
  #groupBytes = 0;
  readonly #turns: Turns;
  imported = 0;
  position: string;

  constructor(node: Node, now: () => number, request: Pick<FastifyRequest, 'principal' | 'standing'>) {
    this.#node = node;
    this.#now = now;
    this.#request = request;
    this.#turns = node.turns();
    this.position = formatPosition(node.position);
  }

  /**
   * Writes all lines; at a line that fails, it stops after writing the lines before.
   * @throws Problem
   */
  async addAll(groups: AsyncIterable<readonly Buffer[]>): Promise<void> {
    try {
      for await (const lines of groups) await this.#add(lines);
    } catch (error) {
      if (error instanceof Problem && isOfLine(error)) await this.#write();
      throw error;
    }
    // Behind the last line nothing is left that could be refused.
    if (this.#group.length > 0) await this.#write();
    else this.#request.standing.decide();
  }

  async #add(lines: readonly Buffer[]): Promise<void> {
    for (const line of lines) {
      this.#line += 1;
      if (this.#turns.isOver) await this.#turns.pass();
      if (isBlank(line)) continue;
      const entry = await this.#parsed(line);
      this.#mustCover(entry);
      this.#group.push(entry);
      this.#groupBytes += line.length;
      if (this.#group.length >= GROUP_ENTRIES || this.#groupBytes >= GROUP_BYTES) {
        await this.#write();
        this.#request.standing.goesOn();
      }
    }
  }

  /** @throws Problem FORBIDDEN */
  #mustCover(entry: SetCommand | DelCommand): void {
    const key = entry.kind === 'set' ? entry.key : (entry.keys[0] as string);
    const problem = this.#request.principal.problem('write', key);
    if (problem !== null) throw problem.withDetail(problem.message, { line: this.#line });
  }

  /** Writes the collected entries. */
  async #write(): Promise<void> {
    const commands = this.#group;
    if (commands.length === 0) return;
    this.#group = [];
    this.#groupBytes = 0;
    const { position } = await this.#node.write({ kind: 'load', commands }, this.#request.standing);
    this.imported += commands.length;
    this.position = position;
  }

  /** Adds to an error the line and the number of entries that were written. */
  explain(error: unknown): unknown {
    const { imported } = this;
    if (error instanceof Problem) {
      const isLine = isOfLine(error);
      const line = error.extra.line ?? this.#line + 1;
      const [entries, are] = imported === 1 ? ['1 entry', 'is'] : [`${imported} entries`, 'are'];
      const detail = isLine
        ? `line ${line}: ${error.message}; ${entries} before it ${are} in`
        : `${error.message}; ${entries} ${are} in`;
      return error.withDetail(detail, { ...error.extra, ...(isLine ? { line } : {}), imported });
    }
    if (error instanceof Error && 'code' in error && error.code === 'ECONNRESET') {
      return new Problem('BAD_REQUEST', 'the connection broke before the body was complete', { imported });
    }
    return error;
  }

  async #parsed(line: Buffer): Promise<SetCommand | DelCommand> {
    try {
      const object = line.length <= AT_ONCE_BYTES ? parseLine(line) : await parseLongLine(line);
      return entryOf(object, this.#now());
    } catch (error) {
      if (error instanceof Problem) throw new Problem('BAD_LINE', error.message, { line: this.#line });
      throw error;
    }
  }
}

/** Whether the problem is that of one line: then the lines before it are in. */
function isOfLine({ code }: Problem): boolean {
  return code === 'BAD_LINE' || code === 'FORBIDDEN';
}

/** @returns the command that sets the entry; if the entry has expired by `now`, the command that deletes it */
function entryOf(object: Readonly<Record<string, unknown>>, now: number): SetCommand | DelCommand {
  const { key, value, encoding, expiresAt = null } = object;
  for (const member in object) {
    if (!MEMBERS.has(member)) throw bad(`unknown member ${JSON.stringify(member)}`);
  }
  if (typeof key !== 'string') throw bad('"key" is not a string');
  const problem = keyProblem(key);
  if (problem !== null) throw badKey(problem, 'BAD_LINE');
  const bytes = fromJsonValue(value, encoding);
  if (typeof bytes === 'string') throw bad(bytes);
  if (bytes.length > MAX_VALUE_BYTES) throw bad(`the value has more than ${MAX_VALUE_BYTES} bytes`);
  if (expiresAt !== null && !(typeof expiresAt === 'number' && isTime(expiresAt))) {
    throw bad('"expiresAt" is not a time in milliseconds');
  }
  const at = expiresAt as number | null;
  return at !== null && at <= now
    ? { kind: 'del', keys: [key] }
    : { kind: 'set', key, value: bytes, expiresAt: at };
}

function bad(detail: string): Problem {
  return new Problem('BAD_LINE', detail);
}
