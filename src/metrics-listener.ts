/** The main thread's side of metrics-thread.ts: it starts the thread and answers its questions. */
import { Worker } from 'node:worker_threads';
import type { Answer, FromThread, NodeState, Question, ToThread } from './http/metrics-side/messages.ts';
import type { MetricsListening } from './http/servers.ts';
import type { Scrapes } from './metrics/scrapes.ts';
import type { ThreadData } from './metrics-thread.ts';
import type { Node } from './node/node.ts';
import type { Log } from './node/ports/world.ts';
import { logUnexpected, unattended } from './node/unattended.ts';
import type { LiveSettings } from './settings/live.ts';
import type { Settings } from './settings/table.ts';
import { workerUrl } from './store/worker-url.ts';
import type { Lines } from './web/access-log.ts';
import type { RequestCounts } from './web/record/request-counts.ts';

export interface MetricsListenerParts {
  readonly settings: Settings;
  readonly live: LiveSettings;
  readonly node: Node;
  readonly metrics: Scrapes;
  readonly counts: RequestCounts;
  /** null: there is no access log. */
  readonly lines: Lines | null;
  readonly log: Log;
}

/**
 * Largest heap of the thread, in MiB: its young and its old part. It holds the code of HTTP and few requests; the text of metrics is
 * outside of it.
 */
const HEAP = { maxYoungGenerationSizeMb: 4, maxOldGenerationSizeMb: 64 } as const;

type Listened = FromThread & { readonly kind: 'listening' | 'failed' };

export class MetricsListener implements MetricsListening {
  readonly #parts: MetricsListenerParts;
  readonly #thread: Worker;
  readonly #ended: Promise<void>;
  /** Whether the thread has ended, or was told to. */
  #isOver = false;
  /** Why the thread has ended; null: it has not, or was told to. */
  #failure: Error | null = null;
  #listened: (message: Listened) => void = () => undefined;

  /** Starts the thread; it does not listen yet. */
  constructor(parts: MetricsListenerParts) {
    this.#parts = parts;
    const data: ThreadData = { settings: parts.settings, state: this.#state };
    const url = workerUrl(import.meta.url, 'metrics-thread');
    this.#thread = new Worker(url, { workerData: data, resourceLimits: HEAP });
    this.#thread.on('message', (message: FromThread) => this.#take(message));
    this.#thread.on('error', (error) => this.#failed(error));
    this.#ended = new Promise((resolve) => {
      this.#thread.once('exit', () => {
        this.#failed(new Error('the thread has ended'));
        resolve();
      });
    });
  }

  async listen(host: string, port: number): Promise<number> {
    if (this.#failure !== null) throw this.#failure;
    const listened = new Promise<Listened>((resolve) => {
      this.#listened = resolve;
    });
    this.#send({ kind: 'listen', host, port });
    const message = await listened;
    if (message.kind === 'listening') return message.port;
    throw Object.assign(new Error(message.message), { code: message.code });
  }

  /** Has the thread read the files of certificates anew. */
  reload(): void {
    this.#send({ kind: 'reload' });
  }

  async close(): Promise<void> {
    this.#isOver = true;
    this.#send({ kind: 'close' });
    await this.#ended;
  }

  closeAllConnections(): void {
    this.#send({ kind: 'end-connections' });
  }

  #send(message: ToThread): void {
    this.#thread.postMessage(message);
  }

  /** The node goes on without: whoever scrapes it finds out at once. */
  #failed(error: Error): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#failure = error;
    logUnexpected(this.#parts.log, 'metrics-listener', error);
    this.#listened({ kind: 'failed', message: error.message, code: undefined });
  }

  get #state(): NodeState {
    const { node, live } = this.#parts;
    const { position, role, closing } = node;
    const { logsRequests, bodyTimeoutMs, requestMemoryBytes } = live;
    return { position, role, closing, logsRequests, bodyTimeoutMs, requestMemoryBytes };
  }

  #take(message: FromThread): void {
    const { counts, lines, log } = this.#parts;
    switch (message.kind) {
      case 'listening':
      case 'failed':
        this.#listened(message);
        return;
      case 'question':
        unattended(this.#answer(message.id, message.question), (error) =>
          logUnexpected(log, 'metrics-listener', error),
        );
        return;
      case 'requests':
        for (const note of message.notes) counts.add(note);
        return;
      case 'log':
        log[message.level](message.event, message.fields);
        return;
      case 'access':
        lines?.write(message.event, message.fields);
    }
  }

  async #answer(id: number, question: Question): Promise<void> {
    const answered = await this.#answerTo(question);
    this.#send({
      kind: 'answer',
      answer: { id, text: null, unready: null, ...answered, state: this.#state },
    });
  }

  async #answerTo(question: Question): Promise<Partial<Answer>> {
    if (question.about === 'state') return {};
    const { log, metrics, node } = this.#parts;
    if (question.about === 'readiness') {
      const unready = node.unready(question.wanted);
      return unready === null ? {} : { unready: { code: unready.code, message: unready.message } };
    }
    try {
      const { contentType, bytes } = await metrics.scrape();
      return { text: { contentType, bytes, restMs: metrics.restMs } };
    } catch (error) {
      logUnexpected(log, 'metrics', error);
      return {};
    }
  }
}
