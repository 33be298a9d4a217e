/** The main thread's side of open-digest-thread.ts. */
import { Worker } from 'node:worker_threads';
import type { OpenDigest, Sum } from '../../node/ports/keyspace.ts';
import { Problem } from '../../node/problem.ts';
import type { Position } from '../../replication/position.ts';
import { workerUrl } from '../worker-url.ts';

/**
 * @param path of the keyspace file
 * @param failure converts an error of the thread
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
      // Only `end` may end the thread.
      reject(
        new Problem(
          'NOT_REACHED',
          `${path} was closed, or replaced by a full resync, before its digest was made`,
        ),
      );
      hasClosed();
    });
  });
  // Prevents an unhandled rejection when no question is pending.
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
      // Asks the thread to end by itself: terminating a thread inside SQLite is not safe.
      worker.terminate().catch(() => undefined);
    },
  };
}
