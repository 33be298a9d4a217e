/** The thread that makes a backup of a copy of a keyspace file. */
import { createHash } from 'node:crypto';
import { closeSync, fdatasyncSync, openSync, readSync, writeSync } from 'node:fs';
import { parentPort, workerData } from 'node:worker_threads';
import { lowerThreadPriority } from '../../runtime/background.ts';
import type { Manifest } from '../backup/manifest.ts';
import { type Origin, sealFile } from '../backup/seal-file.ts';

export interface SealTask {
  /** Path of the copy. */
  readonly from: string;
  /** SHA-256 that the copy has, 64 hex digits. */
  readonly sha256: string;
  /** Path of the backup, where no file is. */
  readonly to: string;
  readonly origin: Origin;
}

/** What the thread answers. */
export type SealAnswer = Pick<Manifest, 'bytes' | 'keys'>;

const PART_BYTES = 1024 * 1024;
/** Number of bytes after which the disk takes what was written: otherwise the next fsync of the journal would wait for all of it. */
const SYNC_BYTES = 32 * PART_BYTES;

/** @throws Error if the copy is not what it was */
function copyFile({ from, sha256, to }: SealTask): void {
  const part = Buffer.allocUnsafeSlow(PART_BYTES);
  const sum = createHash('sha256');
  const source = openSync(from, 'r');
  const target = openSync(to, 'wx', 0o600);
  try {
    for (let at = 0; ; ) {
      const read = readSync(source, part, 0, PART_BYTES, at);
      if (read === 0) break;
      sum.update(part.subarray(0, read));
      for (let done = 0; done < read; ) done += writeSync(target, part, done, read - done);
      at += read;
      if (at % SYNC_BYTES === 0) fdatasyncSync(target);
    }
  } finally {
    closeSync(source);
    closeSync(target);
  }
  if (sum.digest('hex') !== sha256) throw changed(`${from} has other bytes than it had`);
}

/** @returns an error of the disk */
function changed(message: string): Error {
  return Object.assign(new Error(message), { code: 'PSYNCD_COPY_CHANGED' });
}

lowerThreadPriority();
const task = workerData as SealTask;
copyFile(task);
const { bytes, keys } = await sealFile(task.to, task.origin);
parentPort?.postMessage({ bytes, keys } satisfies SealAnswer);
