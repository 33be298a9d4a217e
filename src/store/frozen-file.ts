/**
 * A keyspace file as it was at one commit, read while more is committed.
 *
 * What is committed stands in the WAL until a checkpoint moves it into the file. As long as none is made the file does not
 * change, nor does what the WAL holds already: it only grows. So the newest version of each page is either in the file, or
 * in the frame of the WAL that is known for it, and nothing has to be moved or copied first, nor readers of an older state
 * waited for (https://www.sqlite.org/fileformat2.html#the_write_ahead_log). What comes out is byte for byte the file that a
 * checkpoint would make.
 *
 * The WAL may be opened and closed by hand: the locks of POSIX, which closing a file drops, are on the other two.
 */
import { closeSync, openSync, readSync } from 'node:fs';
import type { FileHandle } from 'node:fs/promises';
import type { Position } from '../replication/position.ts';

/** Of the WAL: what stands before the first frame, and in each frame before its page; and where its salts are, in both. */
const WAL_HEADER_BYTES = 32;
const FRAME_HEADER_BYTES = 24;
const SALT_BYTES = 8;
const SALT_IN_WAL_HEADER = 16;
const SALT_IN_FRAME_HEADER = 8;

/** Which bytes a frozen file has. It goes from the applier's thread to the main one. */
export interface FrozenPages {
  readonly position: Position;
  readonly pageSize: number;
  /** How long the file is by itself. */
  readonly fileBytes: number;
  /** Of each page the frame of the WAL that holds it, counted from 1; 0: it is in the file. */
  readonly frames: Uint32Array<ArrayBuffer>;
}

/**
 * Says where in the WAL the newest version of each page is.
 * @param path of the keyspace file
 * @param wal how many frames are committed, and how many of them a checkpoint has moved into the file
 * @param pages how many pages the file has with them
 * @throws Error when the WAL is not what it was said to be
 */
export function framesOf(
  path: string,
  wal: { readonly log: number; readonly checkpointed: number },
  pages: number,
  pageSize: number,
): Uint32Array<ArrayBuffer> {
  const frames = new Uint32Array(pages);
  // The next commit may begin the WAL anew then.
  if (wal.checkpointed >= wal.log) return frames;
  const file = openSync(walOf(path), 'r');
  try {
    const salt = Buffer.alloc(SALT_BYTES);
    const header = Buffer.alloc(FRAME_HEADER_BYTES);
    readSync(file, salt, 0, SALT_BYTES, SALT_IN_WAL_HEADER);
    for (let frame = 1; frame <= wal.log; frame += 1) {
      const read = readSync(file, header, 0, FRAME_HEADER_BYTES, frameStart(frame, pageSize));
      if (
        read < FRAME_HEADER_BYTES ||
        salt.compare(header, SALT_IN_FRAME_HEADER, SALT_IN_FRAME_HEADER + SALT_BYTES) !== 0
      ) {
        throw new Error(`${walOf(path)} has no frame ${frame} of the present round`);
      }
      const page = header.readUInt32BE(0);
      // What is beyond the end was given back later.
      if (page <= pages) frames[page - 1] = frame;
    }
  } finally {
    closeSync(file);
  }
  return frames;
}

/** Reads the bytes. */
export class FrozenBytes {
  readonly length: number;
  readonly #pages: FrozenPages;
  readonly #file: FileHandle;
  readonly #path: string;
  #wal: number | null = null;
  #closed = false;

  /**
   * @param path of the keyspace file
   * @param file the same, open
   */
  constructor(path: string, file: FileHandle, pages: FrozenPages) {
    this.length = pages.frames.length * pages.pageSize;
    this.#pages = pages;
    this.#file = file;
    this.#path = path;
  }

  /**
   * Fills `into` with the bytes that begin at `at`; both are whole pages, and end where the file does.
   *
   * What is in the WAL was written a moment ago and is read from the system's cache, at once: a page takes some
   * microseconds, and by way of a thread ten times as long.
   */
  async read(at: number, into: Buffer): Promise<void> {
    const { frames, pageSize, fileBytes } = this.#pages;
    const { bytesRead } = await this.#file.read(into, 0, into.length, at);
    if (this.#closed) throw new Error('the file is not frozen any more');
    if (bytesRead < Math.min(into.length, fileBytes - at)) throw new Error('the file is shorter than it was');
    // A page that was free from the beginning is nowhere.
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

function frameStart(frame: number, pageSize: number): number {
  return WAL_HEADER_BYTES + (frame - 1) * (FRAME_HEADER_BYTES + pageSize);
}

function walOf(path: string): string {
  return `${path}-wal`;
}
