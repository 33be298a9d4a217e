/**
 * A snapshot on its way into its file. While it arrives, the part that is there is made durable, and a thread of its own
 * reads it back from the disk and sums it up: so little is left to be done when the last byte has come.
 *
 * Owns: the file until the snapshot has been checked, and that thread.
 * Every descriptor is closed before a connection of SQLite is opened that others use: closing one drops SQLite's locks.
 */
import { type FileHandle, open as openFile, rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import { Worker } from 'node:worker_threads';
import { DamagedSnapshot, type SnapshotSink } from '../../node/ports.ts';
import type { Position } from '../../replication/position.ts';
import { faultPoint, waitingFaultPoint } from '../fault-point.ts';
import { syncFolder } from '../sync-folder.ts';
import { workerUrl } from '../worker-url.ts';
import type { Answers, CheckData, Inspection, Question } from './incoming-file-thread.ts';

/** So much is made durable at a time. */
const SYNC_BYTES = 16 * 1024 * 1024;

export class IncomingFile implements SnapshotSink {
  readonly keyspaceNumber: number;
  readonly #path: string;
  readonly #file: FileHandle;
  readonly #length: number;
  readonly #checker: Checker;
  #written = 0;
  /** It is durable up to here, or is being made so. */
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

  /** @param path of the file, which must not be there @param length that was announced */
  static async create(path: string, keyspaceNumber: number, length: number): Promise<IncomingFile> {
    faultPoint('snapshot-create');
    return new IncomingFile(path, keyspaceNumber, await openFile(path, 'wx'), length);
  }

  async write(parts: readonly Buffer[]): Promise<void> {
    faultPoint('snapshot-write');
    const length = parts.reduce((sum, part) => sum + part.length, 0);
    const { bytesWritten } = await this.#file.writev(parts);
    // That is what a disk does which becomes full: the rest says why.
    if (bytesWritten < length) await this.#file.writeFile(Buffer.concat(parts).subarray(bytesWritten));
    this.#written += length;
    this.#checker.written(this.#written);
    if (this.#written - this.#synced >= SYNC_BYTES) await this.#syncSoFar();
  }

  /**
   * That the file is what the master has sent, a keyspace of exactly our schema, at exactly the position that was announced,
   * and whole; and that each of its entries is one that this node could have written.
   */
  async finish(expected: Position, crc32: number | null): Promise<{ empty: boolean }> {
    if (this.#written !== this.#length) {
      throw new Error(`${this.#written} bytes came, announced were ${this.#length}`);
    }
    faultPoint('snapshot-sync');
    const [found] = await Promise.all([this.#check(expected, crc32), this.#sync()]);
    await this.#close();
    // What was received is what was sent, if there was a sum: the damage is the sender's.
    if ('wrong' in found) throw new DamagedSnapshot(found.wrong, crc32 !== null);
    return found;
  }

  async discard(): Promise<void> {
    await this.#close();
    faultPoint('snapshot-discard');
    for (const suffix of ['-wal', '-shm', '']) await rm(this.#path + suffix, { force: true });
  }

  /** Begins with what has been written; waits for what was begun before. */
  async #syncSoFar(): Promise<void> {
    await this.#syncing;
    this.#synced = this.#written;
    this.#syncing = this.#file.datasync();
    // It is waited for later.
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

/** @throws Error when the file is not what the master has sent */
function verify(found: number, expected: number): void {
  if (found === expected) return;
  throw new Error(
    `it is not what the master has sent: its CRC-32 is ${hex(found)}, sent was ${hex(expected)}`,
  );
}

function hex(crc32: number): string {
  return crc32.toString(16).padStart(8, '0');
}

/** The main thread's end of incoming-file-thread.ts. What is thrown there becomes the answer to what is asked. */
class Checker {
  readonly #worker: Worker;
  readonly #failed: Promise<never>;
  readonly #stop = new Int32Array(new SharedArrayBuffer(Int32Array.BYTES_PER_ELEMENT));

  constructor(path: string) {
    const data: CheckData = { path, stop: this.#stop };
    this.#worker = new Worker(workerUrl(import.meta.url, 'incoming-file-thread'), { workerData: data });
    this.#failed = new Promise((_, reject) => {
      this.#worker.once('error', reject);
      this.#worker.once('exit', () => reject(new Error(`the check of ${path} was not finished`)));
    });
    // Also when nothing is asked.
    this.#failed.catch(() => undefined);
  }

  /** @param to so much of the file can be read back */
  written(to: number): void {
    this.#post({ kind: 'written', to });
  }

  /** One question at a time. */
  ask<Q extends Question & { kind: keyof Answers }>(question: Q): Promise<Answers[Q['kind']]> {
    const answer = new Promise<Answers[Q['kind']]>((resolve) => this.#worker.once('message', resolve));
    this.#post(question);
    return Promise.race([answer, this.#failed]);
  }

  async stop(): Promise<void> {
    // A thread is not terminated inside of SQLite: it goes from there by itself.
    Atomics.store(this.#stop, 0, 1);
    await this.#worker.terminate();
  }

  #post(question: Question): void {
    this.#worker.postMessage(question);
  }
}
