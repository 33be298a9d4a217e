/** The thread that copies one frozen keyspace file, and computes the SHA-256 of what it writes. */
import { createHash } from 'node:crypto';
import { closeSync, fdatasyncSync, openSync, readSync, writeSync } from 'node:fs';
import { parentPort, workerData } from 'node:worker_threads';
import { lowerThreadPriority } from '../../runtime/background.ts';
import { faultPoint } from '../fault-point.ts';
import { FRAME_HEADER_BYTES, frameStart, walOf } from '../wal-layout.ts';
import { COPIED, type CopyAnswer, type CopyTask, PART_BYTES, STOP } from './copy-protocol.ts';

/**
 * Number of bytes after which the thread lets the disk take what it has written. Otherwise the system would collect so much
 * that the next fsync of the journal waits for all of it.
 */
const SYNC_BYTES = 32 * 1024 * 1024;

function copied({ path, file, pages, to, shared }: CopyTask): CopyAnswer {
  const length = pages.frames.length * pages.pageSize;
  const buffer = Buffer.allocUnsafeSlow(PART_BYTES);
  const sum = createHash('sha256');
  const target = openSync(to, 'wx', 0o600);
  const wal = pages.frames.some((frame) => frame !== 0) ? openSync(walOf(path), 'r') : null;
  try {
    for (let at = 0; at < length; at += PART_BYTES) {
      if (Atomics.load(shared, STOP) !== 0) return null;
      const part = buffer.subarray(0, length - at);
      fill(part, at, { file, wal, pages });
      sum.update(part);
      faultPoint('copy-write');
      write(target, part);
      if ((at + PART_BYTES) % SYNC_BYTES === 0) fdatasyncSync(target);
      Atomics.add(shared, COPIED, 1);
    }
  } finally {
    if (wal !== null) closeSync(wal);
    closeSync(target);
  }
  return sum.digest('hex');
}

/**
 * Fills the part with the bytes of the frozen file that begin at `at`.
 * @param wal descriptor of the WAL; null: no page is in it
 */
function fill(
  part: Buffer,
  at: number,
  { file, wal, pages }: Pick<CopyTask, 'file' | 'pages'> & { readonly wal: number | null },
): void {
  const { frames, pageSize, fileBytes } = pages;
  const inFile = Math.max(0, Math.min(part.length, fileBytes - at));
  readWhole(file, part.subarray(0, inFile), at);
  // A page that was free from the beginning is neither in the file nor in the WAL.
  part.fill(0, inFile);
  if (wal === null) return;
  for (let done = 0; done < part.length; done += pageSize) {
    const frame = frames[(at + done) / pageSize] as number;
    if (frame === 0) continue;
    const from = frameStart(frame, pageSize) + FRAME_HEADER_BYTES;
    readWhole(wal, part.subarray(done, done + pageSize), from);
  }
}

function readWhole(file: number, into: Buffer, at: number): void {
  for (let done = 0; done < into.length; ) {
    const read = readSync(file, into, done, into.length - done, at + done);
    if (read === 0) throw new Error('the keyspace file is shorter than it was');
    done += read;
  }
}

/** A disk that gets full writes only a part; writing the rest makes the system report the reason. */
function write(file: number, bytes: Buffer): void {
  for (let done = 0; done < bytes.length; ) done += writeSync(file, bytes, done);
}

lowerThreadPriority();
parentPort?.postMessage(copied(workerData as CopyTask));
