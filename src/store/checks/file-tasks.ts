/** Tasks that read a whole keyspace file, each on a thread of its own. */
import { Worker } from 'node:worker_threads';
import type { Digest, Scrubbed } from '../../node/ports/keyspace.ts';
import type { FrozenPages } from '../keyspace/frozen-file.ts';
import { workerUrl } from '../worker-url.ts';
import type { Inspection } from './inspect.ts';

export interface FileTask {
  readonly kind: 'digest' | 'inspect' | 'scrub' | 'unify';
  readonly path: string;
  /** Shared with the thread: a value other than 0 asks an inspection or a scrub to stop. */
  readonly stop?: Int32Array;
  /** The frozen file that an inspection reads. */
  readonly frozen?: Frozen;
}

/** A frozen file for another thread. */
export interface Frozen {
  /** Descriptor of the open file. The thread must not close it: that would drop SQLite's locks. */
  readonly file: number;
  readonly pages: FrozenPages;
}

/** A task that can be asked to stop early. */
export interface Stoppable<T> {
  readonly done: Promise<T>;
  stop(): void;
}

/** Computes the digest of the committed entries. */
export function digest(path: string): Promise<Digest> {
  return run({ kind: 'digest', path });
}

/** Searches the committed data for damage. */
export function scrub(path: string): Stoppable<Scrubbed> {
  return stoppable({ kind: 'scrub', path });
}

/** Checks a frozen file by the rules for a received snapshot. The result is null if the check was stopped. */
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

/** Moves the WAL of a file that no process has open into the file, and removes the WAL. */
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
