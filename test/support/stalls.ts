/** How long a node lets others wait while it works on one request. */
import { readFileSync } from 'node:fs';
import { Agent, get } from 'node:http';
import type { ChildNode } from '../../src/cli/child-node.ts';

/**
 * Asks `/healthz` again and again while `body` runs.
 * @returns the most processor time, in milliseconds, that the node's main thread used while one of these requests waited: on
 *   a quiet machine that is how long it waited, and other processes do not count. Where the system does not tell, the time
 *   itself.
 */
export async function longestStall(node: ChildNode, body: () => Promise<unknown>): Promise<number> {
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  let running = true;
  let longest = 0;
  const asking = (async () => {
    while (running) {
      const before = spentMs(node);
      await healthy(node, agent);
      longest = Math.max(longest, spentMs(node) - before);
    }
  })();
  try {
    await body();
  } finally {
    running = false;
    await asking;
    agent.destroy();
  }
  return longest;
}

function healthy(node: ChildNode, agent: Agent): Promise<void> {
  return new Promise((resolve, reject) => {
    const request = get(`${node.url}/healthz`, { agent }, (response) => {
      response.resume();
      response.on('end', resolve);
    });
    request.on('error', reject);
  });
}

/** Processor time of the node's main thread; on Linux the first number of `schedstat`, in nanoseconds. */
function spentMs({ process: { pid } }: ChildNode): number {
  try {
    return Number(readFileSync(`/proc/${pid}/task/${pid}/schedstat`, 'latin1').split(' ')[0]) / 1e6;
  } catch {
    return performance.now();
  }
}
