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
import { endianness } from 'node:os';
import type { Position } from '../../replication/position.ts';
import type { PageSource } from './page-walk.ts';

/** Of the WAL: what stands before the first frame, and in each frame before its page; and where its salts are, in both. */
const WAL_HEADER_BYTES = 32;
const FRAME_HEADER_BYTES = 24;
const SALT_BYTES = 8;
const SALT_IN_WAL_HEADER = 16;
const SALT_IN_FRAME_HEADER = 8;
/** And their sums. */
const SUM_IN_WAL_HEADER = 24;
const SUM_IN_FRAME_HEADER = 16;
/** So many are read in one go: 1 MiB. */
const FRAMES_AT_ONCE = 256;

/** Which bytes a frozen file has. It goes from the applier's thread to the main one. */
export interface FrozenPages {
  readonly position: Position;
  readonly pageSize: number;
  /** How long the file is by itself. */
  readonly fileBytes: number;
  /** Of each page the frame of the WAL that holds it, counted from 1; 0: it is in the file. */
  readonly frames: Uint32Array<ArrayBuffer>;
}

/** What stands in the WAL is not what SQLite has written there; what the file has is not concerned. */
export class WalDamaged extends Error {
  readonly code = 'PSYNCD_WAL_DAMAGED';
}

/**
 * Says where in the WAL the newest version of each page is. SQLite finds that in memory; here it comes from the frames themselves,
 * so each is checked: one that names another page than it holds would leave an older version of that page, whole and wrong.
 * (Measured: 0.1 s of the applier's thread for 64 MiB of WAL, which is about the most that there is.)
 * @param path of the keyspace file
 * @param wal how many frames are committed, and how many of them a checkpoint has moved into the file
 * @param pages how many pages the file has with them
 * @throws WalDamaged when the WAL is not what it was said to be
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
        // What is beyond the end was given back later.
        if (page <= pages) frames[page - 1] = first + index;
      }
    }
  } finally {
    closeSync(file);
  }
  return frames;
}

/** The running sum over the frames of a WAL (https://www.sqlite.org/fileformat2.html#checksum_algorithm). */
class WalSum {
  readonly #salt: Buffer;
  readonly #isNative: boolean;
  #one: number;
  #two: number;

  /** @param header of the WAL */
  constructor(header: Buffer) {
    this.#salt = Buffer.from(header.subarray(SALT_IN_WAL_HEADER, SALT_IN_WAL_HEADER + SALT_BYTES));
    this.#isNative = ((header.readUInt32BE(0) & 1) === 0) === (endianness() === 'LE');
    this.#one = header.readInt32BE(SUM_IN_WAL_HEADER);
    this.#two = header.readInt32BE(SUM_IN_WAL_HEADER + 4);
  }

  /** @param part has memory of its own @returns the words that are summed up */
  wordsOf(part: Buffer<ArrayBuffer>): Int32Array {
    if (this.#isNative) return new Int32Array(part.buffer, 0, part.length >> 2);
    const swapped = Buffer.allocUnsafeSlow(part.length);
    part.copy(swapped);
    swapped.swap32();
    return new Int32Array(swapped.buffer, 0, swapped.length >> 2);
  }

  /**
   * Adds the next frame.
   * @param words of the part in which it begins at `at`
   * @returns whether it is the one that was written there, in the present round
   */
  matches(part: Buffer, words: Int32Array, at: number, bytes: number): boolean {
    const salt = at + SALT_IN_FRAME_HEADER;
    if (this.#salt.compare(part, salt, salt + SALT_BYTES) !== 0) return false;
    this.#add(words, at, at + SALT_IN_FRAME_HEADER);
    this.#add(words, at + FRAME_HEADER_BYTES, at + bytes);
    const sum = at + SUM_IN_FRAME_HEADER;
    return part.readInt32BE(sum) === this.#one && part.readInt32BE(sum + 4) === this.#two;
  }

  #add(words: Int32Array, from: number, to: number): void {
    let one = this.#one;
    let two = this.#two;
    const end = to >> 2;
    for (let at = from >> 2; at < end; at += 2) {
      one = (one + (words[at] as number) + two) | 0;
      two = (two + (words[at + 1] as number) + one) | 0;
    }
    this.#one = one;
    this.#two = two;
  }
}

/** Reads the bytes for a check, on any thread, at once. What the file itself has is read through a descriptor that stays open. */
export class FrozenPageSource implements PageSource {
  readonly bytes: number;
  readonly #pages: FrozenPages;
  readonly #file: number;
  readonly #wal: number | null;

  /** @param path of the keyspace file @param file the same, open; it is not closed here */
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
    // A page that was free from the beginning is nowhere.
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
