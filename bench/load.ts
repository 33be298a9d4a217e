/**
 * The load generator without wrk (generator.ts), in a process of its own, so that it does not share the server's event loop.
 * Prints one line of JSON.
 *
 * It counts the answers between two moments of its own, not between autocannon's start and end. That span would include the
 * time for making the requests, and the time in which the generator's code is not compiled yet.
 *
 * Random keys without work per request: the keys are shuffled, and each connection gets its share as requests that
 * are built once, before the clock starts, and then sent over and over. Together the connections cover every key,
 * in no order. (One `requests` array for all was rejected: all connections would send the same keys in step.
 * `setupRequest` was rejected too: it makes each request anew, so the bench would measure the generator.)
 */
import autocannon, { type Connection, type Request } from 'autocannon';
import { Command } from 'commander';
import { cpuMicros } from './cpu-time.ts';
import type { LoadResult } from './generator.ts';
import { positive } from './options.ts';
import { CONNECTIONS, KEYS, keyAt, VALUE } from './workload.ts';

interface LoadOptions {
  readonly url: string;
  readonly pid: number;
  readonly method: string;
  readonly keys: number;
  readonly seconds: number;
}

/** Seconds after which the generator runs at full speed and the measurement begins. */
const LEAD_SECONDS = 1;

async function load({ url, pid, method, keys, seconds }: LoadOptions): Promise<LoadResult> {
  const shares = sharesOfKeys(keys);
  const token = process.env.BENCH_TOKEN ?? '';
  const type: Record<string, string> = method === 'PUT' ? { 'content-type': 'application/octet-stream' } : {};
  const authorization: Record<string, string> = token === '' ? {} : { authorization: `Bearer ${token}` };
  const run = autocannon({
    url,
    method,
    connections: CONNECTIONS,
    // `stop` ends the load; this is only the latest end.
    duration: LEAD_SECONDS + seconds + 10,
    headers: { ...type, ...authorization },
    ...(method === 'PUT' ? { body: VALUE } : {}),
    setupClient: (connection: Connection) => connection.setRequests(shares.pop() ?? []),
  });
  let responses = 0;
  run.on('response', () => {
    responses += 1;
  });
  const counted = new Promise<LoadResult>((resolve) => {
    run.once('start', () => {
      setTimeout(() => {
        const first = moment(pid, responses);
        setTimeout(() => {
          resolve(between(first, moment(pid, responses)));
          run.stop();
        }, seconds * 1_000);
      }, LEAD_SECONDS * 1_000);
    });
  });
  const { errors, timeouts, non2xx } = await run;
  if (errors + timeouts + non2xx > 0) {
    throw new Error(`${non2xx} answers were not 2xx, ${errors} connections failed, ${timeouts} timed out`);
  }
  return counted;
}

/** @param count number of keys; of a million keys the requests use only a part, so that they fit into memory */
function sharesOfKeys(count: number): Request[][] {
  const step = Math.ceil(count / KEYS);
  const keys = Array.from({ length: Math.floor(count / step) }, (_, index) => index * step);
  for (let at = keys.length - 1; at > 0; at -= 1) {
    const other = Math.floor(Math.random() * (at + 1));
    [keys[at], keys[other]] = [keys[other] as number, keys[at] as number];
  }
  const shares: Request[][] = Array.from({ length: CONNECTIONS }, () => []);
  for (const [at, key] of keys.entries()) shares[at % CONNECTIONS]?.push({ path: `/v1/keys/${keyAt(key)}` });
  return shares;
}

interface Moment {
  readonly atMs: number;
  readonly responses: number;
  readonly busy: ReturnType<typeof performance.eventLoopUtilization>;
  readonly serverMicros: number | null;
}

function moment(pid: number, responses: number): Moment {
  return {
    atMs: performance.now(),
    responses,
    busy: performance.eventLoopUtilization(),
    serverMicros: cpuMicros(pid),
  };
}

function between(first: Moment, last: Moment): LoadResult {
  const requests = last.responses - first.responses;
  const used =
    last.serverMicros === null || first.serverMicros === null ? null : last.serverMicros - first.serverMicros;
  return {
    requests,
    perSecond: requests / ((last.atMs - first.atMs) / 1_000),
    generatorBusy: performance.eventLoopUtilization(last.busy, first.busy).utilization,
    serverMicrosPerRequest: used === null ? null : used / requests,
  };
}

const command = new Command('load')
  .description('Puts one server under load, and prints what came of it as JSON.')
  .requiredOption('--url <URL>', 'http://HOST:PORT')
  .requiredOption('--pid <PID>', "the server's process", positive)
  .requiredOption('--method <METHOD>', 'PUT or GET')
  .option('--keys <N>', 'of the first so many', positive, KEYS)
  .option('--seconds <S>', 'how long', positive, 5)
  .parse();
process.stdout.write(`${JSON.stringify(await load(command.opts<LoadOptions>()))}\n`);
