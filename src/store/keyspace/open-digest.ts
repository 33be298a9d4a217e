/** The main thread's end of open-digest-thread.ts. */
import { Worker } from 'node:worker_threads';
import type { OpenDigest, Sum } from '../../node/ports.ts';
import { Problem } from '../../node/problem.ts';
import type { Position } from '../../replication/position.ts';
import { workerUrl } from '../worker-url.ts';

/**
 * @param path of the keyspace file
 * @param failure what an error becomes
 */
export async function openDigest(path: string, failure: (error: unknown) => Error): Promise<OpenDigest> {
  const worker = new Worker(workerUrl(import.meta.url, 'open-digest-thread'), { workerData: path });
  let hasClosed = (): void => undefined;
  const closed = new Promise<void>((resolve) => {
    hasClosed = resolve;
  });
  const failed = new Promise<never>((_, reject) => {
    worker.once('error', (error) => reject(failure(error)));
    worker.once('exit', () => {
      // Nobody else ends it.
      reject(
        new Problem(
          'NOT_REACHED',
          `${path} was closed, or replaced by a full resync, before its digest was made`,
        ),
      );
      hasClosed();
    });
  });
  // Also when nothing is asked.
  failed.catch(() => undefined);
  const answer = <T>(): Promise<T> =>
    Promise.race([new Promise<T>((resolve) => worker.once('message', resolve)), failed]);
  const position = await answer<Position>();
  return {
    position,
    closed,
    at: (parts) => {
      worker.postMessage(parts);
      return answer<Sum>();
    },
    close: () => {
      // A thread is not terminated inside of SQLite: it goes from there by itself.
      worker.terminate().catch(() => undefined);
    },
  };
}
