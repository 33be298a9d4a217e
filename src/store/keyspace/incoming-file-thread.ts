/** The thread that writes and checks one snapshot: first the bytes while they arrive, then the contents of the file. */
import { closeSync, openSync, readSync, writeSync } from 'node:fs';
import { parentPort, workerData } from 'node:worker_threads';
import { crc32 } from 'node:zlib';
import { messageOf, telling, toldOf } from '../../node/ports/failures.ts';
import type { Position } from '../../replication/position.ts';
import { PART_BYTES } from '../../replication/snapshot-terms.ts';
import { lowerThreadPriority } from '../../runtime/background.ts';
import { expectPosition, inspect } from '../checks/inspect.ts';
import { PlainFile } from '../checks/page-source.ts';
import { codeOf, isDamage, isOfDisk } from '../storage-failure.ts';
import { withUntrusted } from '../untrusted-file.ts';

export interface CheckData {
  readonly path: string;
  /** Shared with the main thread: a value other than 0 says that no answer is needed any more. */
  readonly stop: Int32Array;
}

export type Question =
  /** Writes the parts one behind the other, from byte `at` on. */
  | { readonly kind: 'write'; readonly parts: readonly Uint8Array[]; readonly at: number }
  /** Forgets the bytes behind the last whole part. */
  | { readonly kind: 'rewind' }
  | { readonly kind: 'sum' }
  /** The last question. */
  | { readonly kind: 'inspect'; readonly expected: Position };

/** Error of the disk. */
export interface WriteFailure {
  readonly code: string;
  readonly message: string;
  /** For others than the operator. */
  readonly told: string;
}

/** The first bytes of a file: whole parts of a snapshot. */
interface Whole {
  readonly bytes: number;
  /** CRC-32 of these bytes, as read back from the file. */
  readonly crc32: number;
}

export interface Answers {
  /** null: the bytes are written. */
  readonly write: WriteFailure | null;
  /** The whole parts, which stay. */
  readonly rewind: Whole;
  /** CRC-32 of all bytes written so far, as read back from the file. */
  readonly sum: number;
  readonly inspect: Inspection;
}

/** Result of the check of a received file: its contents, or what is wrong with it. */
export type Inspection =
  | {
      /** Whether the file holds no entries. */
      readonly empty: boolean;
    }
  | { readonly wrong: string };

/** SQLite's code for a file that is shorter than its header says. */
const SHORT = 'SQLITE_IOERR_SHORT_READ';

/**
 * Writes the bytes, and computes their CRC-32 as read back from the file, so that it also covers the way into the file. Both are
 * work for a thread with a low priority: the event loop of a replica answers requests meanwhile. (The bytes come from the system's cache: the checks of pages and entries find a disk
 * that forgets.)
 */
class WrittenFile {
  readonly #file: number;
  readonly #part = Buffer.allocUnsafeSlow(PART_BYTES);
  #at = 0;
  #sum = 0;
  #whole: Whole = { bytes: 0, crc32: 0 };

  constructor(path: string) {
    this.#file = openSync(path, 'r+');
  }

  get sum(): number {
    return this.#sum;
  }

  /** @param at place of the first byte @returns the place after the last one */
  write(parts: readonly Uint8Array[], at: number): number {
    let end = at;
    for (const part of parts) {
      // A disk that gets full writes only a part. Writing the rest makes the system report the reason.
      for (let done = 0; done < part.length; ) {
        const written = writeSync(this.#file, part, done, part.length - done, end);
        done += written;
        end += written;
      }
    }
    return end;
  }

  /** Reads back what it has not read yet. @param to number of bytes in the file */
  advance(to: number): void {
    while (this.#at < to) {
      const most = Math.min(to, this.#whole.bytes + PART_BYTES) - this.#at;
      const read = readSync(this.#file, this.#part, 0, most, this.#at);
      if (read === 0) throw telling(new Error(`there are ${this.#at} bytes, written were ${to}`));
      this.#sum = crc32(this.#part.subarray(0, read), this.#sum);
      this.#at += read;
      if (this.#at === this.#whole.bytes + PART_BYTES) this.#whole = { bytes: this.#at, crc32: this.#sum };
    }
  }

  /** Goes back to the end of the last whole part. @returns the whole parts */
  rewind(): Whole {
    this.#at = this.#whole.bytes;
    this.#sum = this.#whole.crc32;
    return this.#whole;
  }

  close(): void {
    closeSync(this.#file);
  }
}

/**
 * @returns null if the check was stopped
 * @throws Error if this node's disk failed during the check
 */
function inspected(path: string, expected: Position): Inspection | null {
  try {
    const found = inspect(
      {
        path,
        pages: new PlainFile(path),
        position: expected,
        opened: (use) => withUntrusted(path, 'read', use),
      },
      () => Atomics.load(stop, 0) !== 0,
    );
    if (found === null) return null;
    expectPosition(found.position, expected, 'announced');
    return { empty: found.entries === 0 };
  } catch (error) {
    const code = codeOf(error);
    if (isDamage(code) || code === SHORT) return { wrong: `it is damaged: ${toldOf(error)}` };
    if (isOfDisk(code)) throw error;
    return { wrong: toldOf(error) };
  }
}

/** Writes the bytes, answers, so that the next ones come, and reads them back. */
function write(parts: readonly Uint8Array[], at: number): void {
  let failure: WriteFailure | null = null;
  let end = 0;
  try {
    end = bytes.write(parts, at);
  } catch (error) {
    failure = { code: codeOf(error), message: messageOf(error), told: toldOf(error) };
  }
  port?.postMessage(failure satisfies Answers['write']);
  bytes.advance(end);
}

const port = parentPort;
if (port === null) throw new Error('this module runs as a worker thread');
lowerThreadPriority();
const { path, stop } = workerData as CheckData;
const bytes = new WrittenFile(path);
port.on('message', (question: Question) => {
  switch (question.kind) {
    case 'write':
      write(question.parts, question.at);
      return;
    case 'rewind':
      port.postMessage(bytes.rewind() satisfies Answers['rewind']);
      return;
    case 'sum':
      port.postMessage(bytes.sum satisfies Answers['sum']);
      return;
    case 'inspect': {
      // Closed before SQLite opens the file: see keyspace-file.ts.
      bytes.close();
      const found = inspected(path, question.expected);
      if (found !== null) port.postMessage(found satisfies Answers['inspect']);
      return;
    }
  }
});
