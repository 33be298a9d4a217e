/** Attacks mirrors and followers in a process of their own with hostile nodes, and says what went wrong. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { HostileFeed } from './hostile-feed.ts';
import type { Line } from './victim.ts';

const VICTIM = fileURLToPath(new URL('victim.ts', import.meta.url));
/** Most memory of the process, in bytes: its rounds hold a few entries each. */
const MAX_BYTES = 512 * 1024 ** 2;
/** Most time until the process has ended after its last round, and for all of its rounds, in milliseconds. */
const END_MS = 20_000;
const ALL_MS = 240_000;

export interface ClientVerdict {
  /** Kind of the finding, and what belongs to it. */
  readonly findings: ReadonlyMap<string, string>;
  readonly connections: number;
  readonly peakBytes: number;
}

/**
 * @param seed what the nodes do follows from it, but not the times
 * @param rounds number of rounds; each takes some two seconds, and four are under way at a time
 * @param only this round alone
 */
export async function attackClient(seed: number, rounds: number, only?: number): Promise<ClientVerdict> {
  const numbers = only === undefined ? Array.from({ length: rounds }, (_, index) => index) : [only];
  const feeds = await Promise.all(
    numbers.map((round) => HostileFeed.start(seed * 1_000_003 + round, round % 3 === 0)),
  );
  const findings = new Map<string, string>();
  const args = numbers.map((round, index) => `${round}=${feeds[index]?.url}`);
  const victim = spawn(process.execPath, [VICTIM, `${seed}`, ...args]);
  const found = (kind: string, detail: string): unknown => findings.has(kind) || findings.set(kind, detail);
  let limit = setTimeout(() => {
    found('the rounds do not end', '');
    victim.kill('SIGKILL');
  }, ALL_MS);
  let peakBytes = 0;
  let isOver = false;
  victim.stderr.on('data', (data: Buffer) => found('the process complains', String(data)));
  createInterface({ input: victim.stdout }).on('line', (text) => {
    const line = JSON.parse(text) as Line;
    if (!('peakBytes' in line)) {
      found(line.kind, `round ${line.round}: ${line.detail}`);
      return;
    }
    isOver = true;
    peakBytes = line.peakBytes;
    clearTimeout(limit);
    limit = setTimeout(() => {
      found('the process does not end', '');
      victim.kill('SIGKILL');
    }, END_MS);
  });
  const [code, signal] = await once(victim, 'close');
  clearTimeout(limit);
  const connections = feeds.reduce((sum, feed) => sum + feed.connections, 0);
  for (const feed of feeds) feed.close();
  if (!isOver && findings.size === 0) found('the process has ended early', `code ${code}, signal ${signal}`);
  if (peakBytes > MAX_BYTES) found('memory', `${peakBytes} bytes`);
  return { findings, connections, peakBytes };
}
