/** Starts load.ts and takes what it says. */
import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import type { LoadResult } from './load.ts';

const LOAD = fileURLToPath(new URL('./load.ts', import.meta.url));
const run = promisify(execFile);

export interface Target {
  readonly url: string;
  readonly pid: number;
}

/**
 * @param signal ends it early
 * @throws Error when it failed, or an answer was not 2xx
 */
export async function underLoad(
  { url, pid }: Target,
  method: 'PUT' | 'GET',
  seconds: number,
  signal: AbortSignal,
): Promise<LoadResult> {
  const flags = ['--url', url, '--pid', String(pid), '--method', method, '--seconds', String(seconds)];
  const { stdout } = await run(process.execPath, [LOAD, ...flags], { signal });
  return JSON.parse(stdout) as LoadResult;
}
