/** Small writes at a steady rate, from a process of its own: PUTs, pipelined on a few connections, stamped with the time. */
import { connect } from 'node:net';
import { Command } from 'commander';
import { positive } from './options.ts';

const KEYS = 100_000;
const VALUE_BYTES = 100;
const CONNECTIONS = 4;
/** Writes are sent in portions, so often. */
const PORTION_MS = 1;
/** So many may be unanswered: a node that cannot keep up is not asked for more. */
const MAX_OPEN = 4_000;

const { port, rate, seconds } = new Command()
  .requiredOption('--port <N>', '', positive)
  .requiredOption('--rate <N>', 'writes a second', positive)
  .requiredOption('--seconds <S>', '', positive)
  .parse()
  .opts<{ port: number; rate: number; seconds: number }>();

let answered = 0;
let sent = 0;
const sockets = await Promise.all(
  Array.from(
    { length: CONNECTIONS },
    () =>
      new Promise<ReturnType<typeof connect>>((resolve, reject) => {
        const socket = connect(port, '127.0.0.1', () => resolve(socket));
        socket.on('error', reject);
        socket.setNoDelay(true);
        socket.on('data', (chunk) => {
          for (let at = chunk.indexOf('HTTP/1.1 2'); at !== -1; at = chunk.indexOf('HTTP/1.1 2', at + 1)) {
            answered += 1;
          }
        });
      }),
  ),
);

function put(): string {
  const key = `k${String(Math.floor(Math.random() * KEYS)).padStart(6, '0')}`;
  const value = `${process.hrtime.bigint()}-`.padEnd(VALUE_BYTES, 'x');
  return `PUT /v1/keys/${key} HTTP/1.1\r\nHost: b\r\nContent-Length: ${VALUE_BYTES}\r\n\r\n${value}`;
}

const startedAt = performance.now();
await new Promise<void>((resolve) => {
  const timer = setInterval(() => {
    const elapsedMs = performance.now() - startedAt;
    if (elapsedMs >= seconds * 1000) {
      clearInterval(timer);
      resolve();
      return;
    }
    const due = Math.floor((elapsedMs / 1000) * rate);
    const count = Math.min(due - sent, MAX_OPEN - (sent - answered));
    const portions = sockets.map(() => '');
    for (let index = 0; index < count; index += 1) portions[index % CONNECTIONS] += put();
    for (const [index, portion] of portions.entries()) if (portion !== '') sockets[index]?.write(portion);
    sent += Math.max(0, count);
  }, PORTION_MS);
});
process.stdout.write(
  `${JSON.stringify({ writes: answered, seconds: (performance.now() - startedAt) / 1000 })}\n`,
);
process.exit(0);
