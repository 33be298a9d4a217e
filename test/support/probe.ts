/**
 * Asks a node for something small again and again, each time when the last answer has come, from a thread of its own: what the
 * test itself does, such as reading an export, makes no answer late. Nor does what other processes do: the time in which the
 * node's main thread, or that of the probe, was ready and other threads had the processors does not count, where the system
 * tells it.
 */
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { Agent, request } from 'node:http';
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads';
import type { ChildNode } from '../../src/cli/child-node.ts';

export interface Waits {
  /** The longest that an answer took, in milliseconds. */
  readonly longestMs: number;
  readonly medianMs: number;
  readonly answers: number;
}

export class Probe {
  readonly #worker: Worker;
  /** The node did not answer. When the test is over, and the node gone, nobody asks for this any more. */
  #failure: unknown = null;

  private constructor(worker: Worker) {
    this.#worker = worker;
    worker.on('error', (error) => {
      this.#failure = error;
    });
  }

  /**
   * Resolves when the first answer has come.
   * @param what `health` asks for `/healthz`; `put` sets the entry `probe`
   */
  static async start({ url, process }: ChildNode, what: 'health' | 'put' = 'health'): Promise<Probe> {
    const [path, method] = what === 'health' ? ['/healthz', 'GET'] : ['/v1/keys/probe', 'PUT'];
    const worker = new Worker(new URL(import.meta.url), { workerData: [url + path, method, process.pid] });
    await once(worker, 'message');
    return new Probe(worker);
  }

  /** How long the answers took since the last call. */
  async take(): Promise<Waits> {
    if (this.#failure !== null) throw this.#failure;
    const taken = once(this.#worker, 'message');
    this.#worker.postMessage('take');
    const [waits] = (await taken) as [Waits];
    return waits;
  }

  async stop(): Promise<void> {
    await this.#worker.terminate();
  }
}

const agent = new Agent({ keepAlive: true });

function ask(url: string, method: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const options = { method, agent, headers: { 'content-length': '0' } };
    request(url, options, (response) => response.resume().once('end', resolve))
      .once('error', reject)
      .end();
  });
}

/** How long a thread has been ready without a processor, in milliseconds: on Linux the second number of `schedstat`. */
function delayedMs(thread: string): number {
  try {
    return Number(readFileSync(`/proc/${thread}/schedstat`, 'latin1').split(' ')[1]) / 1e6;
  } catch {
    return 0;
  }
}

/** The time, without that in which the node's main thread or this thread had to wait for a processor. */
function undelayedNow(pid: number): number {
  return performance.now() - delayedMs(`${pid}/task/${pid}`) - delayedMs('thread-self');
}

async function probe(url: string, method: string, pid: number): Promise<void> {
  let waits: number[] = [];
  let startedAt = undelayedNow(pid);
  parentPort?.on('message', () => {
    // One that is not answered yet has waited, too.
    const sorted = [...waits, undelayedNow(pid) - startedAt].sort((one, other) => one - other);
    waits = [];
    parentPort?.postMessage({
      longestMs: sorted.at(-1),
      medianMs: sorted[Math.floor(sorted.length / 2)],
      answers: sorted.length,
    });
  });
  for (let isFirst = true; ; isFirst = false) {
    startedAt = undelayedNow(pid);
    await ask(url, method);
    waits.push(undelayedNow(pid) - startedAt);
    if (isFirst) parentPort?.postMessage('ready');
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
}

if (!isMainThread && Array.isArray(workerData)) await probe(workerData[0], workerData[1], workerData[2]);
