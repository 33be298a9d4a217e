/** The main thread's side of applier-thread.ts. */
import { statSync } from 'node:fs';
import { Worker } from 'node:worker_threads';
import type { Position } from '../../replication/position.ts';
import { DamageError, StartError } from '../start-error.ts';
import { isDamage, isDamaged, openingFailure, storageFailure } from '../storage-failure.ts';
import { workerUrl } from '../worker-url.ts';
import type {
  Answer,
  Answers,
  ApplierData,
  FailureInThread,
  FromApplier,
  Question,
  ToApplier,
} from './applier-protocol.ts';
import { damaged } from './file-failures.ts';

/**
 * Young generation of the applier's thread, in MB. Without it, V8 lets garbage grow to several times this size;
 * long-lived memory is not limited.
 */
const APPLIER_YOUNG_MB = 24;
/** Sends questions to the applier's thread and receives its answers. */
export class ApplierCalls {
  readonly opened: Position;
  readonly #path: string;
  readonly #worker: Worker;
  readonly #open = new Map<number, { resolve: (answer: Answer) => void; reject: (error: Error) => void }>();
  readonly #failed: (error: Error) => void;
  #lastId = 0;
  #broken: Error | null = null;
  #closing = false;

  private constructor(path: string, worker: Worker, opened: Position, failed: (error: Error) => void) {
    this.#path = path;
    this.#worker = worker;
    this.opened = opened;
    this.#failed = failed;
    worker.on('message', (message: FromApplier) => this.#answered(message));
    worker.on('error', (error) => this.#break(error));
    worker.on('exit', () => this.#break(new Error('the applier has ended')));
    // If the thread ends without `close`, the node has to end: later writes could never be applied.
  }

  /**
   * Starts the thread, which opens the file.
   * @param failed called when the thread has failed for good
   * @throws StartError when the file is missing, damaged, or of another program
   */
  static start(data: ApplierData, failed: (error: Error) => void): Promise<ApplierCalls> {
    const worker = new Worker(workerUrl(import.meta.url, 'applier-thread'), {
      workerData: data,
      resourceLimits: { maxYoungGenerationSizeMb: APPLIER_YOUNG_MB },
    });
    return new Promise((resolve, reject) => {
      worker.once('error', reject);
      worker.once('message', (message: FromApplier) => {
        worker.off('error', reject);
        if (message.kind === 'ready') resolve(new ApplierCalls(data.path, worker, message.position, failed));
        else if (message.kind === 'broken') reject(cannotOpen(data.path, message));
      });
    });
  }

  /** @throws StorageError of the thread; the error that broke the thread, if it is broken */
  ask<Q extends Question>(question: Q): Promise<Answers[Q['kind']]> {
    if (this.#broken !== null) return Promise.reject(this.#broken);
    this.#lastId += 1;
    const id = this.#lastId;
    return new Promise((resolve, reject) => {
      this.#open.set(id, { resolve: (answer) => resolve(answer as Answers[Q['kind']]), reject });
      const moved =
        question.kind === 'flush' ? question.changes.map(({ addresses }) => addresses.buffer) : [];
      this.#worker.postMessage({ ...question, id } as ToApplier, moved);
    });
  }

  /** Has the thread close the file and end. */
  async close(): Promise<void> {
    this.#closing = true;
    if (this.#broken === null) {
      const ended = new Promise<void>((resolve) => this.#worker.once('exit', () => resolve()));
      await this.ask({ kind: 'close' });
      await ended;
    }
    await this.#worker.terminate();
  }

  #answered(message: FromApplier): void {
    switch (message.kind) {
      case 'done':
        this.#open.get(message.id)?.resolve(message.answer);
        this.#open.delete(message.id);
        return;
      case 'failed': {
        const error = new CodedError(message);
        this.#open.get(message.id)?.reject(storageFailure(error, this.#path));
        this.#open.delete(message.id);
        if (isDamage(message.code)) this.#break(new DamageError(damaged(this.#path, message.message)));
        return;
      }
      case 'broken':
        this.#break(new CodedError({ ...message, message: `the applier cannot go on: ${message.message}` }));
        return;
      case 'ready':
        return;
    }
  }

  #break(error: Error): void {
    if (this.#broken === null && !this.#closing) this.#failed(error);
    this.#broken ??= error;
    for (const { reject } of this.#open.values()) reject(error);
    this.#open.clear();
  }
}

/** An error that arrived from the thread: it keeps its code but not its class. */
class CodedError extends Error {
  readonly code: string;
  readonly told: string;

  constructor({ code, message, told }: FailureInThread) {
    super(message);
    this.code = code;
    this.told = told;
  }
}

function cannotOpen(path: string, failure: FailureInThread): StartError {
  const { code, message } = failure;
  if (code === 'SQLITE_CANTOPEN' && isMissing(path))
    return new DamageError(`${path} is missing; restore it from a copy`);
  if (message.startsWith(path)) return new StartError(message);
  const error = new CodedError(failure);
  // For some damaged headers SQLite only reports a generic error (`unsupported file format`).
  if (isDamaged(error) || code === 'SQLITE_ERROR') return new DamageError(damaged(path, message));
  // The file is intact: for example, the disk is too full to migrate it.
  return new StartError(`${openingFailure(error, path)}; nothing was changed`);
}

/** Whether the file surely does not exist, rather than being out of reach. */
function isMissing(path: string): boolean {
  try {
    return statSync(path, { throwIfNoEntry: false }) === undefined;
  } catch {
    return false;
  }
}
