/**
 * Load for `put` and `get`: wrk if it is on the PATH, otherwise load.ts. wrk needs a third of the processor time per
 * request; on two cores that decides whether the server or the generator is measured.
 */
import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { cpuMicros } from './cpu-time.ts';
import { isOnPath } from './on-path.ts';
import { CONNECTIONS, VALUE } from './workload.ts';

const LOAD = fileURLToPath(new URL('./load.ts', import.meta.url));
const WRK_SCRIPT = fileURLToPath(new URL('./wrk.lua', import.meta.url));
const run = promisify(execFile);
/** Time after which wrk counts a request as failed. Its default of two seconds is too short for an fsync on a busy disk. */
const TIMEOUT = '30s';

export interface Load {
  readonly method: 'PUT' | 'GET';
  /** Number of keys: requests use random ones of the first `keys`. */
  readonly keys: number;
  readonly seconds: number;
  /** Token that every request shows; default: none. */
  readonly token?: string;
  /** Program that makes the load; default: wrk if it is on the PATH. */
  readonly generator?: 'wrk' | 'autocannon';
}

export interface LoadResult {
  readonly requests: number;
  readonly perSecond: number;
  /** Share of the time for which the generator worked; near 1 the generator is the limit. */
  readonly generatorBusy: number;
  /** Processor time of the server per request, of all its threads, in microseconds; null: the system has no /proc. */
  readonly serverMicrosPerRequest: number | null;
}

export interface Target {
  readonly url: string;
  readonly pid: number;
}

/** Program that `underLoad` uses unless the load names another one. */
export const GENERATOR = isOnPath('wrk') ? 'wrk' : 'autocannon';

/**
 * Puts a server under load.
 * @param signal ends the load early
 * @throws Error when the generator failed, or an answer was not 2xx
 */
export function underLoad(target: Target, load: Load, signal: AbortSignal): Promise<LoadResult> {
  const { generator = GENERATOR } = load;
  return generator === 'wrk' ? withWrk(target, load, signal) : withAutocannon(target, load, signal);
}

async function withAutocannon(
  { url, pid }: Target,
  { method, keys, seconds, token }: Load,
  signal: AbortSignal,
): Promise<LoadResult> {
  const flags = ['--url', url, '--pid', String(pid), '--method', method];
  const { stdout } = await run(
    process.execPath,
    [LOAD, ...flags, '--keys', String(keys), '--seconds', String(seconds)],
    { signal, env: environment(token) },
  );
  return JSON.parse(stdout) as LoadResult;
}

async function withWrk(
  { url, pid }: Target,
  { method, keys, seconds, token }: Load,
  signal: AbortSignal,
): Promise<LoadResult> {
  const flags = [
    '-t1',
    `-c${CONNECTIONS}`,
    `-d${seconds}s`,
    '--timeout',
    TIMEOUT,
    '-s',
    WRK_SCRIPT,
    url,
    '--',
    method,
    String(keys),
  ];
  const before = cpuMicros(pid);
  const { stdout } = await run('wrk', [...flags, ...(method === 'PUT' ? [VALUE] : [])], {
    signal,
    env: environment(token),
  });
  const after = cpuMicros(pid);
  const said = JSON.parse(stdout.trim().split('\n').at(-1) ?? '') as {
    readonly requests: number;
    readonly micros: number;
    readonly failed: number;
    readonly cpuSeconds: number;
  };
  if (said.failed > 0) throw new Error(`${said.failed} requests failed:\n${stdout}`);
  const tookSeconds = said.micros / 1e6;
  return {
    requests: said.requests,
    perSecond: said.requests / tookSeconds,
    generatorBusy: said.cpuSeconds / tookSeconds,
    serverMicrosPerRequest: before === null || after === null ? null : (after - before) / said.requests,
  };
}

/** The token is no argument: others on the machine can read those. */
function environment(token: string | undefined): NodeJS.ProcessEnv {
  return { ...process.env, BENCH_TOKEN: token ?? '' };
}
