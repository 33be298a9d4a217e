/**
 * Asks a node's `/healthz` again and again, each time when the last answer has come, from a thread of its own: what the test
 * itself does, such as reading an export, makes no answer late.
 */
import { once } from 'node:events';
import { get } from 'node:http';
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads';

export interface Waits {
  /** The longest that an answer took, in milliseconds. */
  readonly longestMs: number;
  readonly medianMs: number;
  readonly answers: number;
}

export class HealthProbe {
  readonly #worker: Worker;

  private constructor(worker: Worker) {
    this.#worker = worker;
  }

  /** Resolves when the first answer has come. */
  static async start(url: string): Promise<HealthProbe> {
    const worker = new Worker(new URL(import.meta.url), { workerData: `${url}/healthz` });
    await once(worker, 'message');
    return new HealthProbe(worker);
  }

  /** How long the answers took since the last call. */
  async take(): Promise<Waits> {
    const taken = once(this.#worker, 'message');
    this.#worker.postMessage('take');
    const [waits] = (await taken) as [Waits];
    return waits;
  }

  async stop(): Promise<void> {
    await this.#worker.terminate();
  }
}

function ask(url: string): Promise<void> {
  return new Promise((resolve, reject) => {
    get(url, (response) => response.resume().once('end', resolve)).once('error', reject);
  });
}

async function probe(url: string): Promise<void> {
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
    await ask(url);
    waits.push(performance.now() - startedAt);
    if (isFirst) parentPort?.postMessage('ready');
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
}

if (!isMainThread && typeof workerData === 'string') await probe(workerData);
