/**
 * The load of `soak`, in a process of its own: a mix of reads and of all kinds of writes to a bounded number of keys, as fast as
 * the server answers. Prints a line of JSON with the number of answered requests.
 *
 * As in load.ts, each connection makes its requests once and repeats them. The connections share the keys, so the state of an
 * entry depends on the connection that wrote it last.
 */
import autocannon, { type Connection, type Request } from 'autocannon';
import { Command } from 'commander';
import { positive } from './options.ts';
import { CONNECTIONS, KEYS, keyAt, VALUE } from './workload.ts';

const REQUESTS_PER_CONNECTION = 500;
const BATCH_OPERATIONS = 20;
const TTL_SECONDS = 2;
/** Percentage of each kind of request; all others are GETs. */
const MIX = { put: 50, expiring: 10, delete: 10, batch: 5 } as const;

function anyKey(): string {
  return keyAt(Math.floor(Math.random() * KEYS));
}

function anyRequest(): Request {
  const path = `/v1/keys/${anyKey()}`;
  const value = { body: VALUE, headers: { 'content-type': 'application/octet-stream' } };
  let kind = Math.random() * 100;
  kind -= MIX.put;
  if (kind < 0) return { method: 'PUT', path, ...value };
  kind -= MIX.expiring;
  if (kind < 0) return { method: 'PUT', path: `${path}?ttl=${TTL_SECONDS}`, ...value };
  kind -= MIX.delete;
  if (kind < 0) return { method: 'DELETE', path };
  kind -= MIX.batch;
  if (kind < 0) {
    const ops = Array.from({ length: BATCH_OPERATIONS }, () => ({ op: 'set', key: anyKey(), value: VALUE }));
    const headers = { 'content-type': 'application/json' };
    return { method: 'POST', path: '/v1/batch', body: JSON.stringify({ ops }), headers };
  }
  return { method: 'GET', path };
}

const { url, seconds } = new Command('soak-load')
  .requiredOption('--url <URL>', 'http://HOST:PORT')
  .requiredOption('--seconds <S>', 'how long', positive)
  .parse()
  .opts<{ readonly url: string; readonly seconds: number }>();
const run = autocannon({
  url,
  method: 'GET',
  connections: CONNECTIONS,
  duration: seconds,
  setupClient: (connection: Connection) =>
    connection.setRequests(Array.from({ length: REQUESTS_PER_CONNECTION }, anyRequest)),
});
const answers = new Map<number, number>();
run.on('response', (_client: Connection, status: number) =>
  answers.set(status, (answers.get(status) ?? 0) + 1),
);
const { errors, timeouts } = await run;
// A GET or DELETE of an entry that was deleted or has expired gets a 404.
const wrong = [...answers].filter(([status]) => status >= 300 && status !== 404);
if (errors + timeouts + wrong.length > 0) {
  throw new Error(`answers ${JSON.stringify(wrong)}, ${errors} connections failed, ${timeouts} timed out`);
}
const requests = [...answers.values()].reduce((sum, count) => sum + count, 0);
process.stdout.write(`${JSON.stringify({ requests })}\n`);
