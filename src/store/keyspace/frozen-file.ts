/**
 * Reads a keyspace file as it was at one commit, while the applier commits more.
 *
 * Commits go to the WAL until a checkpoint moves them into the file. Without a checkpoint, neither the file nor the
 * existing WAL frames change; the WAL only grows. So the newest version of each page is either in the file or in a
 * known frame. Nothing needs to be moved or copied first, and readers of an older state hold nothing up
 * (https://www.sqlite.org/fileformat2.html#the_write_ahead_log). The bytes are those of the file that a checkpoint
 * would produce.
 *
 * Opening and closing the WAL by hand is safe: SQLite holds its POSIX locks, which closing a descriptor drops, on the
 * database file and the `-shm` file.
 */
import { closeSync, openSync, readSync } from 'node:fs';
import type { FileHandle } from 'node:fs/promises';
import type { Position } from '../../replication/position.ts';
import type { PageSource } from '../checks/page-source.ts';
import { FRAME_HEADER_BYTES, frameStart, WAL_HEADER_BYTES, WalSum, walOf } from '../wal-layout.ts';

/** Number of frames read at a time: 1 MiB. */
const FRAMES_AT_ONCE = 256;

/** Says where to find the bytes of a frozen file. The applier's thread sends it to the main thread. */
export interface FrozenPages {
  readonly position: Position;
  readonly pageSize: number;
  /** Length of the database file without the WAL. */
  readonly fileBytes: number;
  /** For each page, the number of the WAL frame that holds it, counted from 1; 0: the file holds it. */
  readonly frames: Uint32Array<ArrayBuffer>;
}

/** A WAL whose bytes are not those that SQLite wrote. It says nothing about the database file. */
export class WalDamaged extends Error {
  readonly code = 'PSYNCD_WAL_DAMAGED';
}

/**
 * Finds the newest version of each page in the WAL. SQLite has this index in memory; this function reads it from the
 * frames and verifies each frame's checksum: a frame with a wrong page number would otherwise leave an older, intact
 * version of the page in place. (Measured: 0.1 s of the applier's thread for 64 MiB of WAL, about the longest that
 * occurs.)
 * @param path of the keyspace file
 * @param wal number of committed frames, and of frames that a checkpoint has moved into the file
 * @param pages number of pages of the database including the WAL
 * @throws WalDamaged when a frame is not the one that SQLite wrote
 */
export function framesOf(
  path: string,
  wal: { readonly log: number; readonly checkpointed: number },
  pages: number,
  pageSize: number,
): Uint32Array<ArrayBuffer> {
  const frames = new Uint32Array(pages);
  // Everything is in the file, and the next commit may restart the WAL.
  if (wal.checkpointed >= wal.log) return frames;
  const file = openSync(walOf(path), 'r');
  try {
    const header = Buffer.alloc(WAL_HEADER_BYTES);
    readSync(file, header, 0, WAL_HEADER_BYTES, 0);
    const sum = new WalSum(header);
    const frameBytes = FRAME_HEADER_BYTES + pageSize;
    const part = Buffer.allocUnsafeSlow(frameBytes * FRAMES_AT_ONCE);
    for (let first = 1; first <= wal.log; first += FRAMES_AT_ONCE) {
      const count = Math.min(FRAMES_AT_ONCE, wal.log - first + 1);
      const read = readSync(file, part, 0, count * frameBytes, frameStart(first, pageSize));
      const words = sum.wordsOf(part);
      for (let index = 0; index < count; index += 1) {
        const at = index * frameBytes;
        if (at + frameBytes > read || !sum.matches(part, words, at, frameBytes)) {
          throw new WalDamaged(`${walOf(path)} has another frame ${first + index} than was written`);
        }
        const page = part.readUInt32BE(at);
        // A page beyond the end was freed by a later commit.
        if (page <= pages) frames[page - 1] = first + index;
      }
    }
  } finally {
    closeSync(file);
  }
  return frames;
}

/**
 * Reads the bytes synchronously, for a check, on any thread. It reads the file through a descriptor that stays open.
 */
export class FrozenPageSource implements PageSource {
  readonly bytes: number;
  readonly #pages: FrozenPages;
  readonly #file: number;
  readonly #wal: number | null;

  /**
   * @param path of the keyspace file
   * @param file descriptor of the open file; this class does not close it
   */
  constructor(path: string, file: number, pages: FrozenPages) {
    this.bytes = pages.frames.length * pages.pageSize;
    this.#pages = pages;
    this.#file = file;
    this.#wal = pages.frames.some((frame) => frame !== 0) ? openSync(walOf(path), 'r') : null;
  }

  read(at: number, into: Buffer): number {
    const { frames, pageSize, fileBytes } = this.#pages;
    const frame = frames[Math.floor(at / pageSize)] as number;
    if (frame !== 0 && this.#wal !== null) {
      const from = frameStart(frame, pageSize) + FRAME_HEADER_BYTES + (at % pageSize);
      return readSync(this.#wal, into, 0, into.length, from);
    }
    // A page that was free from the beginning is neither in the file nor in the WAL.
    if (at >= fileBytes) {
      into.fill(0);
      return into.length;
    }
    return readSync(this.#file, into, 0, into.length, at);
  }

  close(): void {
    if (this.#wal !== null) closeSync(this.#wal);
  }
}

/** Reads the bytes asynchronously, for a snapshot. */
export class FrozenBytes {
  readonly length: number;
  readonly #pages: FrozenPages;
  readonly #file: FileHandle;
  readonly #path: string;
  #wal: number | null = null;
  #closed = false;

  /**
   * @param path of the keyspace file
   * @param file the open file
   */
  constructor(path: string, file: FileHandle, pages: FrozenPages) {
    this.length = pages.frames.length * pages.pageSize;
    this.#pages = pages;
    this.#file = file;
    this.#path = path;
  }

  /**
   * Fills `into` with the bytes from `at`. Both begin and end at page boundaries, or where the file ends.
   *
   * It reads WAL pages synchronously: they were written a moment ago and are in the system's cache. A page takes some
   * microseconds, and ten times as long through Node's thread pool.
   */
  async read(at: number, into: Buffer): Promise<void> {
    const { frames, pageSize, fileBytes } = this.#pages;
    const { bytesRead } = await this.#file.read(into, 0, into.length, at);
    if (this.#closed) throw new Error('the file is not frozen any more');
    if (bytesRead < Math.min(into.length, fileBytes - at)) throw new Error('the file is shorter than it was');
    // A page that was free from the beginning is neither in the file nor in the WAL.
    into.fill(0, bytesRead);
    for (let done = 0; done < into.length; done += pageSize) {
      const frame = frames[(at + done) / pageSize] as number;
      if (frame === 0) continue;
      this.#wal ??= openSync(walOf(this.#path), 'r');
      const from = frameStart(frame, pageSize) + FRAME_HEADER_BYTES;
      if (readSync(this.#wal, into, done, pageSize, from) < pageSize)
        throw new Error('the WAL is shorter than it was');
    }
  }

  close(): void {
    this.#closed = true;
    if (this.#wal !== null) closeSync(this.#wal);
  }
}
