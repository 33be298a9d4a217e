/**
 * Asks a node for something small again and again, each time when the last answer has come, from a thread of its own: what the
 * test itself does, such as reading an export, makes no answer late.
 */
import { once } from 'node:events';
import { Agent, request } from 'node:http';
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads';

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
  static async start(url: string, what: 'health' | 'put' = 'health'): Promise<Probe> {
    const worker = new Worker(new URL(import.meta.url), {
      workerData: what === 'health' ? [`${url}/healthz`, 'GET'] : [`${url}/v1/keys/probe`, 'PUT'],
    });
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

async function probe(url: string, method: string): Promise<void> {
  let waits: number[] = [];
  let startedAt = performance.now();
  parentPort?.on('message', () => {
    // One that is not answered yet has waited, too.
    const sorted = [...waits, performance.now() - startedAt].sort((one, other) => one - other);
    waits = [];
    parentPort?.postMessage({
      longestMs: sorted.at(-1),
      medianMs: sorted[Math.floor(sorted.length / 2)],
      answers: sorted.length,
    });
  });
  for (let isFirst = true; ; isFirst = false) {
    startedAt = performance.now();
    await ask(url, method);
    waits.push(performance.now() - startedAt);
    if (isFirst) parentPort?.postMessage('ready');
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
}

if (!isMainThread && Array.isArray(workerData)) await probe(workerData[0], workerData[1]);
