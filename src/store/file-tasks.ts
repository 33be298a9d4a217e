/** Work that reads a whole keyspace file, each on a thread of its own that ends with it. */
import { Worker } from 'node:worker_threads';
import type { Digest, Scrubbed } from '../node/ports.ts';
import { workerUrl } from './worker-url.ts';

export interface FileTask {
  readonly kind: 'digest' | 'scrub' | 'unify';
  readonly path: string;
  /** Of a scrub: not 0 as soon as it is to stop. Shared with the thread. */
  readonly stop?: Int32Array;
}

/** The digest of what is committed. */
export function digest(path: string): Promise<Digest> {
  return run({ kind: 'digest', path });
}

/** Looks for damage in what is committed. @returns what comes of it, and what makes it stop soon, unfinished */
export function scrub(path: string): { readonly done: Promise<Scrubbed>; stop(): void } {
  const stop = new Int32Array(new SharedArrayBuffer(Int32Array.BYTES_PER_ELEMENT));
  return {
    done: run({ kind: 'scrub', path, stop }),
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
    const thread = new Worker(workerUrl('file-task-thread'), { workerData: task });
    thread.once('message', resolve);
    thread.once('error', reject);
    thread.once('exit', () => reject(new Error(`${task.kind} of ${task.path} was not finished`)));
  });
}
