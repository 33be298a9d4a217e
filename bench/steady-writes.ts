/**
 * Sends small writes, or reads, at a steady rate, from a process of its own: pipelined on a few connections, with a time stamp in
 * each value, over HTTP or in Redis's protocol. It can also follow a replica, and then measures when each write arrives there.
 *
 * The parent sends `measure` and receives the measurements since its last question; after `stop` the process sends nothing more.
 */
import { connect, type Socket } from 'node:net';
import { Command } from 'commander';
import { WebSocket } from 'ws';
import { positive } from './options.ts';
import { keyAt, VALUE } from './workload.ts';

export interface Written {
  /** Number of answered requests. */
  readonly writes: number;
  /** Number of requests that were sent and not answered yet. */
  readonly open: number;
  readonly seconds: number;
  /** Milliseconds from sending a write until its answer, in ascending order. */
  readonly latencies: readonly number[];
  /** Milliseconds from a write's answer until the replica had the write, in ascending order; 0 if the replica had it before. */
  readonly propagation: readonly number[];
  /** Milliseconds from sending a write until the replica had it, in ascending order. */
  readonly visible: readonly number[];
}

const CONNECTIONS = 4;
/** Milliseconds between two portions of requests. */
const PORTION_MS = 1;
/** Largest number of unanswered requests. At this number the process sends no more, because the node cannot keep up. */
const MAX_OPEN = 4_000;
/** Bytes by which the process finds the answers: the begin of each HTTP answer, or the end of each Redis answer. */
const ANSWERS = { put: 'HTTP/1.1 ', get: 'HTTP/1.1 ', redis: '\r\n' } as const;
/** Number of answered writes that a connection forgets at once. */
const FORGET_AT = 1_024;
const STAMP = /"value":"(\d+)-/;

const { port, rate, keys, protocol, follow } = new Command()
  .requiredOption('--port <N>', '', positive)
  .requiredOption('--rate <N>', 'writes a second', positive)
  .requiredOption('--keys <N>', 'random ones of the first so many', positive)
  .requiredOption('--protocol <NAME>', 'put, get or redis')
  .option('--follow <PORT>', 'of a replica', positive)
  .parse()
  .opts<{ port: number; rate: number; keys: number; protocol: keyof typeof ANSWERS; follow?: number }>();

const isHttp = protocol !== 'redis';

interface Write {
  readonly stamp: string;
  readonly sentAt: number;
  answeredAt?: number;
  seenAt?: number;
}

let sent = 0;
let refused = 0;
let answered = 0;
let sending = true;
let since = performance.now();
let answeredSince = 0;
let latencies: number[] = [];
let propagation: number[] = [];
let visible: number[] = [];
/** Writes by their stamps, until they have been answered and the replica has them. */
const unseen = new Map<string, Write>();

/** One connection. Its answers come in the order of its requests. */
class Pipe {
  readonly socket: Socket;
  readonly #open: Write[] = [];
  #at = 0;
  #rest = '';

  constructor(socket: Socket) {
    this.socket = socket;
    socket.setNoDelay(true);
    socket.setEncoding('latin1');
    socket.on('data', (text: string) => this.#read(text));
    socket.on('close', () => fail('a connection was closed'));
  }

  send(count: number): void {
    if (count <= 0) return;
    let portion = '';
    const sentAt = performance.now();
    for (let index = 0; index < count; index += 1) {
      const stamp = String(process.hrtime.bigint());
      const write: Write = { stamp, sentAt };
      this.#open.push(write);
      if (follow !== undefined) unseen.set(stamp, write);
      portion += request(keyAt(Math.floor(Math.random() * keys)), `${stamp}-`.padEnd(VALUE.length, 'x'));
    }
    this.socket.write(portion);
  }

  #read(chunk: string): void {
    const mark = ANSWERS[protocol];
    const text = this.#rest + chunk;
    let from = 0;
    for (;;) {
      const at = text.indexOf(mark, from);
      const end = at + mark.length;
      // The next digit of an HTTP answer is the first digit of its status, so it must have arrived.
      if (at === -1 || (isHttp && end >= text.length)) break;
      const good = isHttp ? text[end] === '2' : text.startsWith('+', from);
      if (!good) fail(`an answer was ${text.slice(from, end + 3)}`);
      from = end;
      this.#answered();
    }
    this.#rest = isHttp ? text.slice(Math.max(from, text.length - mark.length)) : text.slice(from);
  }

  #answered(): void {
    const write = this.#open[this.#at] as Write;
    this.#at += 1;
    // `shift` for each answer would be slow, because it moves thousands of open writes.
    if (this.#at === FORGET_AT) {
      this.#open.splice(0, this.#at);
      this.#at = 0;
    }
    write.answeredAt = performance.now();
    answered += 1;
    answeredSince += 1;
    latencies.push(write.answeredAt - write.sentAt);
    told(write);
  }
}

/** Records the times of a write when it has been answered and the replica has it. */
function told({ stamp, sentAt, answeredAt, seenAt }: Write): void {
  if (answeredAt === undefined || seenAt === undefined) return;
  unseen.delete(stamp);
  visible.push(seenAt - sentAt);
  propagation.push(Math.max(0, seenAt - answeredAt));
}

function request(key: string, value: string): string {
  if (protocol === 'get') return `GET /v1/keys/${key} HTTP/1.1\r\nHost: localhost\r\n\r\n`;
  return isHttp
    ? `PUT /v1/keys/${key} HTTP/1.1\r\nHost: localhost\r\nContent-Length: ${value.length}\r\n\r\n${value}`
    : `*3\r\n$3\r\nSET\r\n$${key.length}\r\n${key}\r\n$${value.length}\r\n${value}\r\n`;
}

function fail(text: string): never {
  process.stderr.write(`steady writes: ${text}\n`);
  process.exit(1);
}

function seen(message: string): void {
  const write = unseen.get(STAMP.exec(message)?.[1] ?? '');
  if (write === undefined) return;
  write.seenAt = performance.now();
  told(write);
}

async function followReplica(replicaPort: number): Promise<void> {
  const socket = new WebSocket(`ws://127.0.0.1:${replicaPort}/v1/changes?position=now`, 'psync.v1.json');
  socket.on('close', () => fail('the replica has closed'));
  await new Promise<void>((resolve) => {
    socket.on('message', (data: Buffer) => {
      const message = data.toString('utf8');
      if (message.includes('"continue"')) resolve();
      seen(message);
    });
  });
}

const pipes = await Promise.all(
  Array.from(
    { length: CONNECTIONS },
    () =>
      new Promise<Pipe>((resolve, reject) => {
        const socket = connect(port, '127.0.0.1', () => resolve(new Pipe(socket)));
        socket.once('error', reject);
      }),
  ),
);
if (follow !== undefined) await followReplica(follow);

const startedAt = performance.now();
setInterval(() => {
  if (!sending) return;
  const due = Math.floor(((performance.now() - startedAt) / 1000) * rate) - sent - refused;
  const count = Math.max(0, Math.min(due, MAX_OPEN - (sent - answered)));
  // Requests that could not be sent are not sent later, because the rate would then be higher than asked for.
  refused += due - count;
  const share = Math.ceil(count / pipes.length);
  // The connections take turns, because at a low rate the first one gets all requests, and servers close idle connections.
  pipes.push(pipes.shift() as Pipe);
  for (const [index, pipe] of pipes.entries()) pipe.send(Math.min(share, count - index * share));
  sent += count;
}, PORTION_MS);

process.send?.({ kind: 'ready' });
process.on('message', (message) => {
  if (message === 'stop') sending = false;
  const now = performance.now();
  const written: Written = {
    writes: answeredSince,
    open: sent - answered,
    seconds: (now - since) / 1000,
    latencies: latencies.sort((one, other) => one - other),
    propagation: propagation.sort((one, other) => one - other),
    visible: visible.sort((one, other) => one - other),
  };
  process.send?.(written);
  [answeredSince, since, latencies, propagation, visible] = [0, now, [], [], []];
});
process.once('disconnect', () => process.exit(0));
