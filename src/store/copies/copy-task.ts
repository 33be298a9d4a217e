/** Copies a frozen keyspace file on a thread of its own. */
import { Worker } from 'node:worker_threads';
import type { FileCopying } from '../../node/ports/keyspace.ts';
import { workerUrl } from '../worker-url.ts';
import { COPIED, type CopyAnswer, type CopyTask, PART_BYTES, STOP } from './copy-protocol.ts';

/** Begins a copy. When it fails or is stopped, a part of it may be there. */
export function copyFrozen(task: Omit<CopyTask, 'shared'>): FileCopying {
  const shared = new Int32Array(new SharedArrayBuffer(2 * Int32Array.BYTES_PER_ELEMENT));
  const done = new Promise<CopyAnswer>((resolve, reject) => {
    const thread = new Worker(workerUrl(import.meta.url, 'copy-thread'), {
      workerData: { ...task, shared } satisfies CopyTask,
    });
    thread.once('message', resolve);
    thread.once('error', reject);
    thread.once('exit', () => reject(new Error(`the copy of ${task.path} was not finished`)));
  });
  return {
    done,
    copiedBytes: () => Atomics.load(shared, COPIED) * PART_BYTES,
    stop: () => {
      Atomics.store(shared, STOP, 1);
    },
  };
}
