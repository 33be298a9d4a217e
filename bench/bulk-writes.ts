/**
 * Writes as fast as a node accepts, from a process of its own: batches or an import of random keys. The bodies are
 * built before the clock starts and sent in another order each time.
 *
 * Prints a line of JSON.
 */
import { once } from 'node:events';
import { Agent, request } from 'node:http';
import { Command } from 'commander';
import { positive } from './options.ts';
import { keyAt, VALUE } from './workload.ts';

export interface BulkWritten {
  readonly operations: number;
  readonly seconds: number;
  /** Longest time of one batch; 0 for an import. */
  readonly longestMs: number;
}

const BODY_OPERATIONS = 1_000;
/** Number of requests open at a time, so that the node always has one to work on. */
const CONNECTIONS = 4;

const { port, kind, operations, keys } = new Command()
  .requiredOption('--port <N>', '', positive)
  .requiredOption('--kind <KIND>', 'batch or import')
  .requiredOption('--operations <N>', '', positive)
  .requiredOption('--keys <N>', '', positive)
  .parse()
  .opts<{ port: number; kind: string; operations: number; keys: number }>();

function shuffled<T>(items: T[]): T[] {
  for (let at = items.length - 1; at > 0; at -= 1) {
    const other = Math.floor(Math.random() * (at + 1));
    [items[at], items[other]] = [items[other] as T, items[at] as T];
  }
  return items;
}

function bodies(): Buffer[] {
  const order = shuffled(Array.from({ length: keys }, (_, index) => index));
  const built: Buffer[] = [];
  for (let from = 0; from + BODY_OPERATIONS <= Math.min(keys, operations); from += BODY_OPERATIONS) {
    const some = order
      .slice(from, from + BODY_OPERATIONS)
      .map((index) => ({ key: keyAt(index), value: VALUE }));
    const text =
      kind === 'batch'
        ? JSON.stringify({ ops: some.map((entry) => ({ op: 'set', ...entry })) })
        : some.map((entry) => `${JSON.stringify(entry)}\n`).join('');
    built.push(Buffer.from(text));
  }
  return built;
}

const agent = new Agent({ keepAlive: true, maxSockets: CONNECTIONS });

async function post(path: string, type: string, parts: () => Iterable<Buffer>): Promise<void> {
  const sending = request({
    port,
    host: '127.0.0.1',
    path,
    agent,
    method: 'POST',
    headers: { 'content-type': type },
  });
  const answering = once(sending, 'response');
  answering.catch(() => undefined);
  for (const part of parts()) if (!sending.write(part)) await once(sending, 'drain');
  sending.end();
  const [answer] = await answering;
  let text = '';
  for await (const chunk of answer) text = answer.statusCode === 200 ? '' : text + chunk;
  if (answer.statusCode !== 200) throw new Error(`status ${answer.statusCode}: ${text}`);
}

const built = bodies();
let left = Math.floor(operations / BODY_OPERATIONS);
const total = left;
let queue: Buffer[] = [];
let longestMs = 0;

function* next(): Generator<Buffer> {
  while (left > 0) {
    left -= 1;
    if (queue.length === 0) queue = shuffled([...built]);
    yield queue.pop() as Buffer;
  }
}

async function batches(): Promise<void> {
  for (const body of next()) {
    const sentAt = performance.now();
    await post('/v1/batch', 'application/json', () => [body]);
    longestMs = Math.max(longestMs, performance.now() - sentAt);
  }
}

const startedAt = performance.now();
await Promise.all(
  Array.from({ length: CONNECTIONS }, () =>
    kind === 'batch' ? batches() : post('/v1/import', 'application/x-ndjson', next),
  ),
);
const written: BulkWritten = {
  operations: total * BODY_OPERATIONS,
  seconds: (performance.now() - startedAt) / 1000,
  longestMs,
};
process.stdout.write(`${JSON.stringify(written)}\n`);
process.exit(0);
