/**
 * Has a thread write a snapshot into its file while it arrives, read it back and sum it up. Meanwhile it makes the received part
 * durable, so that little work remains after the last byte.
 *
 * Owns the file until the snapshot is checked, and that thread. It closes every descriptor before other code opens the
 * file with SQLite: closing one later would drop SQLite's locks.
 */
import { type FileHandle, open as openFile, rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import { Worker } from 'node:worker_threads';
import { DamagedSnapshot, telling } from '../../node/ports/failures.ts';
import type { SnapshotSink } from '../../node/ports/keyspace-files.ts';
import type { Position } from '../../replication/position.ts';
import { faultPoint, waitingFaultPoint } from '../fault-point.ts';
import { syncFolder } from '../sync-folder.ts';
import { workerUrl } from '../worker-url.ts';
import type { Answers, CheckData, Inspection, Question } from './incoming-file-thread.ts';

/** Number of bytes after which the received part is made durable. */
const SYNC_BYTES = 16 * 1024 * 1024;

export class IncomingFile implements SnapshotSink {
  readonly keyspaceNumber: number;
  readonly #path: string;
  readonly #file: FileHandle;
  readonly #length: number;
  readonly #checker: Checker;
  #written = 0;
  /** Number of bytes that are durable, or that a running sync makes durable. */
  #synced = 0;
  #syncing: Promise<void> | null = null;
  #open = true;

  private constructor(path: string, keyspaceNumber: number, file: FileHandle, length: number) {
    this.#path = path;
    this.keyspaceNumber = keyspaceNumber;
    this.#file = file;
    this.#length = length;
    this.#checker = new Checker(path);
  }

  /**
   * @param path of the file to create; no file may be there
   * @param length announced length in bytes
   */
  static async create(path: string, keyspaceNumber: number, length: number): Promise<IncomingFile> {
    faultPoint('snapshot-create');
    return new IncomingFile(path, keyspaceNumber, await openFile(path, 'wx'), length);
  }

  async write(parts: readonly Buffer[]): Promise<void> {
    faultPoint('snapshot-write');
    const length = parts.reduce((sum, part) => sum + part.length, 0);
    // The positions are explicit: after `rewind` there are other bytes behind the next one.
    await this.#checker.write(parts, this.#written);
    this.#written += length;
    if (this.#written - this.#synced >= SYNC_BYTES) await this.#syncSoFar();
  }

  async rewind(): Promise<{ bytes: number; crc32: number }> {
    const whole = await this.#checker.ask({ kind: 'rewind' });
    this.#written = whole.bytes;
    this.#synced = Math.min(this.#synced, whole.bytes);
    return whole;
  }

  /**
   * Checks the whole file: the bytes are those that the master sent, the schema is exactly this node's, the position is
   * the announced one, and this node could have written each entry.
   */
  async finish(expected: Position, crc32: number | null): Promise<{ empty: boolean }> {
    if (this.#written !== this.#length) {
      throw telling(new Error(`${this.#written} bytes came, announced were ${this.#length}`));
    }
    faultPoint('snapshot-sync');
    const [found] = await Promise.all([this.#check(expected, crc32), this.#sync()]);
    await this.#close();
    // With a matching checksum from the master, this node received what the master sent: the master's data is damaged.
    if ('wrong' in found) throw new DamagedSnapshot(found.wrong, crc32 !== null);
    return found;
  }

  async discard(): Promise<void> {
    await this.#close();
    faultPoint('snapshot-discard');
    for (const suffix of ['-wal', '-shm', '']) await rm(this.#path + suffix, { force: true });
  }

  /** Starts to make the written bytes durable, after any earlier sync has ended. */
  async #syncSoFar(): Promise<void> {
    await this.#syncing;
    this.#synced = this.#written;
    this.#syncing = this.#file.datasync();
    // A later step awaits the sync and reports its failure.
    this.#syncing.catch(() => undefined);
  }

  async #sync(): Promise<void> {
    await this.#syncing;
    this.#syncing = this.#file.sync();
    await this.#syncing;
    await syncFolder(dirname(this.#path));
  }

  async #check(expected: Position, crc32: number | null): Promise<Inspection> {
    await waitingFaultPoint('snapshot-check');
    if (crc32 !== null) verify(await this.#checker.ask({ kind: 'sum' }), crc32);
    return this.#checker.ask({ kind: 'inspect', expected });
  }

  async #close(): Promise<void> {
    if (!this.#open) return;
    this.#open = false;
    await this.#checker.stop();
    await this.#syncing?.catch(() => undefined);
    await this.#file.close();
  }
}

/** @throws Error if the checksum differs from the master's */
function verify(found: number, expected: number): void {
  if (found === expected) return;
  const what = `it is not what the master has sent: its CRC-32 is ${hex(found)}, sent was ${hex(expected)}`;
  throw telling(new Error(what));
}

/** @returns the bytes, in memory that holds nothing else */
function owned(part: Buffer): Uint8Array<ArrayBuffer> {
  const { buffer } = part;
  const isAlone = buffer instanceof ArrayBuffer && buffer.byteLength === part.byteLength;
  return isAlone ? new Uint8Array(buffer) : new Uint8Array(part);
}

function hex(crc32: number): string {
  return crc32.toString(16).padStart(8, '0');
}

/** The main thread's side of incoming-file-thread.ts. An exception in the thread rejects the pending question. */
class Checker {
  readonly #worker: Worker;
  readonly #failed: Promise<never>;
  readonly #stop = new Int32Array(new SharedArrayBuffer(Int32Array.BYTES_PER_ELEMENT));

  constructor(path: string) {
    const data: CheckData = { path, stop: this.#stop };
    this.#worker = new Worker(workerUrl(import.meta.url, 'incoming-file-thread'), { workerData: data });
    this.#failed = new Promise((_, reject) => {
      this.#worker.once('error', reject);
      this.#worker.once('exit', () =>
        reject(telling(new Error('the check of the snapshot was not finished'))),
      );
    });
    // Prevents an unhandled rejection when no question is pending.
    this.#failed.catch(() => undefined);
  }

  /**
   * Has the thread write the parts, whose memory goes to it. Without that, the garbage of a whole snapshot would make this thread
   * collect its large heap again and again.
   * @throws Error of the disk, with its code
   */
  async write(parts: readonly Buffer[], at: number): Promise<void> {
    const moved = parts.map(owned);
    const failure = await this.#ask<Question & { kind: 'write' }>(
      { kind: 'write', parts: moved, at },
      moved.map(({ buffer }) => buffer),
    );
    if (failure !== null)
      throw Object.assign(new Error(failure.message), { code: failure.code, told: failure.told });
  }

  /** Asks one question; the caller awaits the answer before the next one. */
  ask<Q extends Question & { kind: Exclude<keyof Answers, 'write'> }>(
    question: Q,
  ): Promise<Answers[Q['kind']]> {
    return this.#ask(question, []);
  }

  #ask<Q extends Question>(question: Q, moved: readonly ArrayBuffer[]): Promise<Answers[Q['kind']]> {
    const answer = new Promise<Answers[Q['kind']]>((resolve) => this.#worker.once('message', resolve));
    this.#worker.postMessage(question, moved);
    return Promise.race([answer, this.#failed]);
  }

  async stop(): Promise<void> {
    // Asks the thread to end by itself: terminating a thread inside SQLite is not safe.
    Atomics.store(this.#stop, 0, 1);
    await this.#worker.terminate();
  }
}
