/** Work that reads a whole keyspace file, each on a thread of its own that ends with it. */
import { Worker } from 'node:worker_threads';
import type { Digest, Scrubbed } from '../../node/ports.ts';
import { workerUrl } from '../worker-url.ts';
import type { FrozenPages } from './frozen-file.ts';
import type { Inspection } from './inspect.ts';

export interface FileTask {
  readonly kind: 'digest' | 'inspect' | 'scrub' | 'unify';
  readonly path: string;
  /** Of an inspection and a scrub: not 0 as soon as it is to stop. Shared with the thread. */
  readonly stop?: Int32Array;
  /** What is inspected. */
  readonly frozen?: Frozen;
}

/** A frozen file for another thread. */
export interface Frozen {
  /** The descriptor of the file. Closing it would drop SQLite's locks: the thread leaves it open. */
  readonly file: number;
  readonly pages: FrozenPages;
}

/** Work that can be told to stop soon, unfinished. */
export interface Stoppable<T> {
  readonly done: Promise<T>;
  stop(): void;
}

/** The digest of what is committed. */
export function digest(path: string): Promise<Digest> {
  return run({ kind: 'digest', path });
}

/** Looks for damage in what is committed. */
export function scrub(path: string): Stoppable<Scrubbed> {
  return stoppable({ kind: 'scrub', path });
}

/** Checks a frozen file as a replica checks what it receives. What comes of it is null if it was stopped. */
export function inspect(path: string, frozen: Frozen): Stoppable<Inspection | null> {
  return stoppable({ kind: 'inspect', path, frozen });
}

function stoppable<T>(task: FileTask): Stoppable<T> {
  const stop = new Int32Array(new SharedArrayBuffer(Int32Array.BYTES_PER_ELEMENT));
  return {
    done: run({ ...task, stop }),
    stop: () => {
      Atomics.store(stop, 0, 1);
      Atomics.notify(stop, 0);
    },
  };
}

/** Moves what is in the WAL of a file that nobody has open into the file, and removes the WAL. */
export async function unify(path: string): Promise<void> {
  await run({ kind: 'unify', path });
}

function run<T>(task: FileTask): Promise<T> {
  return new Promise((resolve, reject) => {
    const thread = new Worker(workerUrl(import.meta.url, 'file-task-thread'), { workerData: task });
    thread.once('message', resolve);
    thread.once('error', reject);
    thread.once('exit', () => reject(new Error(`${task.kind} of ${task.path} was not finished`)));
  });
}
